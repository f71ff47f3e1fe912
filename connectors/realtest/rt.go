package realtest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
)

//go:embed scripts/rt.pl
var rtSetup []byte

const (
	rtProgram  = "/usr/share/request-tracker5/libexec/rt-server"
	rtDatabase = "/var/lib/dbconfig-common/sqlite3/request-tracker5/rtdb"
)

// RTServer is a running Request Tracker. Its methods are safe for concurrent use.
type RTServer struct {
	*instance
	URL      string
	Queue    string  // name of the queue to sync
	KeyField string  // custom field for the correlation key
	Service  Account // for the connector: rights on the queue, no administrator
	Human    Account // for a person's edits: the same rights
	Admin    Account // for what only an administrator may
	api      api
}

// StartRT starts a Request Tracker with a queue, custom fields for the
// correlation key, "Description" (text) and "Region" (north, south), and three
// accounts. ctx bounds the start only. It returns ErrAbsent where RT can't be
// started.
func StartRT(ctx context.Context) (*RTServer, error) {
	if err := need("request-tracker5", rtProgram, rtDatabase); err != nil {
		return nil, err
	}
	in, err := newInstance("rt")
	if err != nil {
		return nil, err
	}
	s := &RTServer{
		instance: in, Queue: "sync", KeyField: "EntenteKey",
		Service: Account{Login: "entente", Name: "Entente Sync", Email: "entente@globex.example"},
		Human:   Account{Login: "hana", Name: "Hana Globex", Email: "hana@globex.example"},
		Admin:   Account{Login: "rita", Name: "Rita Root", Email: "rita@globex.example"},
	}
	if err = s.prepare(ctx); err == nil {
		err = in.start(ctx, s.server, "/NoAuth/Helpers/CSSVars")
	}
	if err != nil {
		in.letGo(true)
		return nil, fmt.Errorf("start request tracker: %w", err)
	}
	s.URL = in.url()
	s.api = api{root: s.URL + "/REST/2.0", header: "Authorization", prefix: "token "}
	return s, nil
}

func (s *RTServer) prepare(ctx context.Context) error {
	people := make([]map[string]any, 0, 3)
	for _, a := range []Account{s.Service, s.Human, s.Admin} {
		zone := "UTC"
		if a == s.Human {
			zone = "Asia/Tokyo"
		}
		people = append(people, map[string]any{
			"login": a.Login, "name": a.Name, "email": a.Email, "timezone": zone, "admin": a == s.Admin,
		})
	}
	plan, err := json.Marshal(map[string]any{"queue": s.Queue, "key_field": s.KeyField, "people": people})
	if err != nil {
		return err
	}
	if err := s.mkdir("site.d", "mason", "session", "var"); err != nil {
		return err
	}
	if err := s.copyDatabase(rtDatabase, "rtdb"); err != nil {
		return err
	}
	s.env = append(s.env, "RT_SITE_CONFIG="+s.path("site.pm"), "RT_SITE_CONFIG_DIR="+s.path("site.d"))
	for name, content := range map[string][]byte{"plan.json": plan, "setup.pl": rtSetup, "site.pm": s.config(1)} {
		if err := s.write(name, content); err != nil {
			return err
		}
	}
	out, err := s.script(ctx, "/usr/bin/perl", s.path("setup.pl"), s.path("plan.json"))
	if err != nil {
		return err
	}
	tokens := map[string]string{}
	if err := json.Unmarshal(out, &tokens); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	for _, a := range []*Account{&s.Service, &s.Human, &s.Admin} {
		a.Token = tokens[a.Login]
	}
	return nil
}

// config is the whole site configuration: the machine's own is not read.
func (s *RTServer) config(port int) []byte {
	return fmt.Appendf(nil, `$RT::MasonDataDir = '%[1]s/mason';
$RT::MasonSessionDir = '%[1]s/session';
$RT::VarPath = '%[1]s/var';
Set($rtname, 'globex.example');
Set($Organization, 'globex.example');
Set($WebDomain, '127.0.0.1');
Set($WebPort, %[2]d);
Set($WebPath, '');
Set($WebBaseURL, 'http://127.0.0.1:%[2]d');
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '%[1]s/rtdb');
Set($DatabaseUser, '');
Set($DatabasePassword, '');
Set($Timezone, 'Europe/Berlin');
Set($MailCommand, 'testfile');
Set($SendmailPath, '/bin/true');
Set($BcryptCost, 10); # 12 costs 0.2 s on every call with a token
Set($LogToSyslog, undef);
Set($LogToFile, undef);
Set($LogToSTDERR, 'warning');
1;
`, s.dir, port)
}

func (s *RTServer) server(port int) (*exec.Cmd, error) {
	if err := s.write("site.pm", s.config(port)); err != nil {
		return nil, err
	}
	cmd := s.command(rtProgram, "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--max-workers", "4")
	// How Starlet is told of a listener that it inherits (Server::Starter).
	cmd.Env = append(cmd.Env, fmt.Sprintf("SERVER_STARTER_PORT=127.0.0.1:%d=%d", port, listenerFile))
	return cmd, nil
}

// NewQueue makes another queue with the same rights and custom fields, for a
// test that needs an empty one.
func (s *RTServer) NewQueue(ctx context.Context, name string) error {
	_, err := s.script(ctx, "/usr/bin/perl", s.path("setup.pl"), s.path("plan.json"), name)
	return err
}

// Create makes a ticket in the queue as who; fields are the API's own. It
// returns the ticket's id.
func (s *RTServer) Create(ctx context.Context, who Account, fields map[string]any) (string, error) {
	all := map[string]any{"Queue": s.Queue}
	for k, v := range fields {
		all[k] = v
	}
	var made struct{ ID json.Number }
	err := s.api.call(ctx, who, http.MethodPost, "/ticket", nil, all, &made)
	return made.ID.String(), err
}

// Edit changes fields of a ticket as who ("Status", "CustomFields").
func (s *RTServer) Edit(ctx context.Context, who Account, ticket string, fields map[string]any) error {
	return s.api.call(ctx, who, http.MethodPut, "/ticket/"+ticket, nil, fields, nil)
}

// Comment appends an internal comment, or public correspondence, as who.
func (s *RTServer) Comment(ctx context.Context, who Account, ticket, body string, internal bool) error {
	verb := "correspond"
	if internal {
		verb = "comment"
	}
	return s.api.call(ctx, who, http.MethodPost, "/ticket/"+ticket+"/"+verb, nil,
		map[string]any{"Content": body, "ContentType": "text/plain"}, nil)
}

// Ticket returns a ticket as the API shows it to who.
func (s *RTServer) Ticket(ctx context.Context, who Account, ticket string) (map[string]any, error) {
	var out map[string]any
	err := s.api.call(ctx, who, http.MethodGet, "/ticket/"+ticket, nil, nil, &out)
	return out, err
}

// History returns a ticket's transactions with the given fields, oldest first,
// at most 100 of them.
func (s *RTServer) History(ctx context.Context, who Account, ticket, fields string) ([]map[string]any, error) {
	var out struct{ Items []map[string]any }
	err := s.api.call(ctx, who, http.MethodGet, "/ticket/"+ticket+"/history", url.Values{"fields": {fields}, "per_page": {"100"}}, nil, &out)
	return out.Items, err
}

// Tickets returns the tickets of the queue with Subject, Status and custom
// fields, oldest first, at most 100 of them.
func (s *RTServer) Tickets(ctx context.Context, who Account) ([]map[string]any, error) {
	var out struct{ Items []map[string]any }
	err := s.api.call(ctx, who, http.MethodGet, "/tickets", url.Values{
		"query": {"Queue = '" + s.Queue + "'"}, "orderby": {"id"}, "order": {"ASC"}, "per_page": {"100"},
		"fields": {"Subject,Status,Priority,LastUpdated,CustomFields"},
	}, nil, &out)
	return out.Items, err
}
