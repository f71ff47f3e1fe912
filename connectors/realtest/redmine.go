package realtest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed scripts/redmine.ru
var redmineBoot []byte

const (
	redmineRoot     = "/usr/share/redmine"
	redmineDatabase = "/var/lib/dbconfig-common/sqlite3/redmine/instances/default/redmine_default"
)

// RedmineServer is a running Redmine. Its methods are safe for concurrent use.
type RedmineServer struct {
	*instance
	URL      string
	Project  string  // identifier of the project to sync
	KeyField string  // custom field for the correlation key
	Service  Account // for the connector: a member, not an administrator
	Human    Account // for a person's edits: a member too
	Admin    Account // for what only an administrator may
	api      api
}

// StartRedmine starts a Redmine with a project, a custom text field for the
// correlation key, a list field "Region" (north, south), and three accounts. ctx
// bounds the start only. It returns ErrAbsent where Redmine can't be started.
func StartRedmine(ctx context.Context) (*RedmineServer, error) {
	if err := need("redmine", redmineRoot, redmineDatabase, "/usr/bin/puma"); err != nil {
		return nil, err
	}
	in, err := newInstance("redmine")
	if err != nil {
		return nil, err
	}
	s := &RedmineServer{
		instance: in, Project: "sync", KeyField: "Entente key",
		Service: Account{"entente", "Entente Sync", "entente@acme.example", secret(20)},
		Human:   Account{"ada", "Ada Acme", "ada@acme.example", secret(20)},
		Admin:   Account{"root2", "Rita Root", "root@acme.example", secret(20)},
	}
	if err = s.prepare(); err == nil {
		err = in.start(ctx, s.server, "/login")
	}
	if err != nil {
		in.letGo(true)
		return nil, fmt.Errorf("start redmine: %w", err)
	}
	s.URL = in.url()
	s.api = api{root: s.URL, header: "X-Redmine-API-Key"}
	return s, nil
}

func (s *RedmineServer) prepare() error {
	type person struct {
		Login   string `json:"login"`
		First   string `json:"first"`
		Last    string `json:"last"`
		Email   string `json:"email"`
		Token   string `json:"token"`
		Admin   bool   `json:"admin"`
		Faraway bool   `json:"faraway"`
	}
	people := make([]person, 0, 3)
	for _, a := range []Account{s.Service, s.Human, s.Admin} {
		first, last, _ := strings.Cut(a.Name, " ")
		people = append(people, person{a.Login, first, last, a.Email, a.Token, a == s.Admin, a == s.Service})
	}
	plan, err := json.Marshal(map[string]any{"project": s.Project, "key_field": s.KeyField, "people": people})
	if err != nil {
		return err
	}
	if err := s.mkdir("config", "files", "public/plugin_assets"); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"plan.json":             string(plan),
		"config.ru":             string(redmineBoot),
		"config/secret_key.txt": secret(32),
		"config/database.yml": "production:\n  adapter: sqlite3\n  encoding: utf8\n  timeout: 20000\n  pool: 8\n  database: " +
			s.path("db.sqlite") + "\n",
	} {
		if err := s.write(name, []byte(content)); err != nil {
			return err
		}
	}
	// Debian's Redmine keeps everything of an instance below instances/NAME, which
	// may as well climb out of there.
	s.env = append(s.env, "RAILS_ENV=production", "REDMINE_INSTANCE="+strings.Repeat("../", 16)+strings.TrimPrefix(s.dir, "/"))
	return nil
}

func (s *RedmineServer) server(port int) (*exec.Cmd, error) {
	// config.ru fills the database, and can do so only once.
	if err := s.copyDatabase(redmineDatabase, "db.sqlite"); err != nil {
		return nil, err
	}
	address := "tcp://127.0.0.1:" + strconv.Itoa(port)
	// Not through bundle exec: it looks for gems that Debian does not ship.
	cmd := s.command("/usr/bin/puma", "-q", "-b", address, "-t", "1:4", s.path("config.ru"))
	cmd.Dir = redmineRoot
	cmd.Env = append(cmd.Env, fmt.Sprintf("PUMA_INHERIT_0=%d:%s", listenerFile, address))
	return cmd, nil
}

// NewProject makes another project with the same members and key field, for a
// test that needs an empty one.
func (s *RedmineServer) NewProject(ctx context.Context, identifier string) error {
	err := s.api.call(ctx, s.Admin, http.MethodPost, "/projects.json", nil, map[string]any{"project": map[string]any{
		"name": identifier, "identifier": identifier, "is_public": false, "tracker_ids": []int{1, 2, 3},
		"issue_custom_field_ids": []int{1}, // the key field is the first
	}}, nil)
	if err != nil {
		return err
	}
	var old struct {
		Memberships []struct {
			User  struct{ ID int }
			Roles []struct{ ID int }
		}
	}
	if err := s.api.call(ctx, s.Admin, http.MethodGet, "/projects/"+s.Project+"/memberships.json", nil, nil, &old); err != nil {
		return err
	}
	for _, m := range old.Memberships {
		member := map[string]any{"user_id": m.User.ID, "role_ids": []int{m.Roles[0].ID}}
		err := s.api.call(ctx, s.Admin, http.MethodPost, "/projects/"+identifier+"/memberships.json", nil, map[string]any{"membership": member}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// Create makes an issue in the project as who; fields are the API's own
// ("subject", "status_id"). It returns the issue's id.
func (s *RedmineServer) Create(ctx context.Context, who Account, fields map[string]any) (string, error) {
	all := map[string]any{"project_id": s.Project, "tracker_id": 1}
	for k, v := range fields {
		all[k] = v
	}
	var made struct{ Issue struct{ ID int } }
	err := s.api.call(ctx, who, http.MethodPost, "/issues.json", nil, map[string]any{"issue": all}, &made)
	return strconv.Itoa(made.Issue.ID), err
}

// Edit changes fields of an issue as who.
func (s *RedmineServer) Edit(ctx context.Context, who Account, issue string, fields map[string]any) error {
	return s.api.call(ctx, who, http.MethodPut, "/issues/"+issue+".json", nil, map[string]any{"issue": fields}, nil)
}

// Comment appends a note to an issue as who.
func (s *RedmineServer) Comment(ctx context.Context, who Account, issue, body string, internal bool) error {
	return s.Edit(ctx, who, issue, map[string]any{"notes": body, "private_notes": internal})
}

// Issue returns an issue with its journals, as the API shows it to who.
func (s *RedmineServer) Issue(ctx context.Context, who Account, issue string) (map[string]any, error) {
	var out struct{ Issue map[string]any }
	err := s.api.call(ctx, who, http.MethodGet, "/issues/"+issue+".json", url.Values{"include": {"journals"}}, nil, &out)
	return out.Issue, err
}

// Issues returns all issues of the project, open and closed, oldest first.
func (s *RedmineServer) Issues(ctx context.Context, who Account) ([]map[string]any, error) {
	var all []map[string]any
	for {
		var page struct {
			Issues     []map[string]any
			TotalCount int `json:"total_count"`
		}
		query := url.Values{
			"project_id": {s.Project}, "status_id": {"*"}, "sort": {"id"}, "limit": {"100"}, "offset": {strconv.Itoa(len(all))},
		}
		if err := s.api.call(ctx, who, http.MethodGet, "/issues.json", query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Issues...)
		if len(all) >= page.TotalCount || len(page.Issues) == 0 {
			return all, nil
		}
	}
}

// Delete destroys an issue, as only the administrator may.
func (s *RedmineServer) Delete(ctx context.Context, issue string) error {
	return s.api.call(ctx, s.Admin, http.MethodDelete, "/issues/"+issue+".json", nil, nil, nil)
}

// LogFile is where the application logs its requests.
func (s *RedmineServer) LogFile() string { return filepath.Join(s.dir, "log", "production.log") }
