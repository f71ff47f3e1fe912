package redmine

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
)

const (
	namesTTL  = time.Minute
	peopleTTL = 10 * time.Minute
)

// named is how the API refers to things.
type named struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// index translates between ids and names.
type index struct {
	list []string // in Redmine's order
	id   map[string]int
	name map[int]string
}

func newIndex(things []named) index {
	x := index{id: map[string]int{}, name: map[int]string{}}
	for _, t := range things {
		x.list = append(x.list, t.Name)
		x.id[t.Name], x.name[t.ID] = t.ID, t.Name
	}
	return x
}

// names is what one load found; never changed afterwards.
type names struct {
	project                                int
	self                                   int
	statuses, priorities, trackers, custom index
}

// directory caches names and people. loading holds one token: a load is not
// done twice at a time, and not under mu, which a refusal takes too.
type directory struct {
	loading  chan struct{}
	mu       sync.Mutex
	names    *names
	at       time.Time
	people   map[int]person
	members  map[string]int // of the project, by e-mail, as far as they were looked up; lives with people
	peopleAt time.Time
}

type person struct {
	name, email string
}

func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names, d.people, d.members = nil, nil, nil
}

// expire forgets people after peopleTTL. The caller holds mu.
func (d *directory) expire(now time.Time) {
	if now.Sub(d.peopleAt) >= peopleTTL {
		d.people, d.members = nil, nil
	}
}

// labels are the words that refusals may begin with, and their fields.
func (d *directory) labels() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names == nil {
		return labelOf
	}
	all := map[string]string{}
	for _, name := range d.names.custom.list {
		all[name] = name
	}
	for label, field := range labelOf {
		all[label] = field
	}
	return all
}

// directory returns names not older than namesTTL.
func (c *client) directory(ctx context.Context, op string) (*names, error) {
	select {
	case c.names.loading <- struct{}{}:
		defer func() { <-c.names.loading }()
	case <-ctx.Done():
		e := c.http.Fail(httpcore.Request{Op: op}, connectors.ClassUnavailable, "", "")
		e.Err = ctx.Err()
		return nil, e
	}
	if n := c.fresh(); n != nil {
		return n, nil
	}
	n, err := c.load(ctx, op)
	if err != nil {
		return nil, err
	}
	c.names.mu.Lock()
	defer c.names.mu.Unlock()
	c.names.names, c.names.at = n, c.now()
	return n, nil
}

func (c *client) fresh() *names {
	c.names.mu.Lock()
	defer c.names.mu.Unlock()
	if c.now().Sub(c.names.at) >= namesTTL {
		return nil
	}
	return c.names.names
}

func (c *client) load(ctx context.Context, op string) (*names, error) {
	get := func(path string, query url.Values, out any) error {
		_, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: path, Query: query}, out)
		return err
	}
	var me struct{ User named }
	if err := get("users/current.json", nil, &me); err != nil {
		return nil, err
	}
	var project struct {
		Project struct {
			ID       int     `json:"id"`
			Trackers []named `json:"trackers"`
			Custom   []named `json:"issue_custom_fields"`
		} `json:"project"`
	}
	if err := get(httpcore.Path("projects", c.project+".json"), url.Values{"include": {"trackers,issue_custom_fields"}}, &project); err != nil {
		return nil, err
	}
	var statuses struct {
		All []named `json:"issue_statuses"`
	}
	if err := get("issue_statuses.json", nil, &statuses); err != nil {
		return nil, err
	}
	var priorities struct {
		All []named `json:"issue_priorities"`
	}
	if err := get("enumerations/issue_priorities.json", nil, &priorities); err != nil {
		return nil, err
	}
	// A field that is on for all projects shows only in issues.
	var newest struct{ Issues []issue }
	if err := get("issues.json", url.Values(newFilter(c.project, "id:desc", 1)), &newest); err != nil {
		return nil, err
	}
	for _, i := range newest.Issues {
		for _, v := range i.Custom {
			if field := (named{v.ID, v.Name}); !slices.Contains(project.Project.Custom, field) {
				project.Project.Custom = append(project.Project.Custom, field)
			}
		}
	}
	for field, bad := range map[string]bool{
		"user.id": me.User.ID <= 0, "project.id": project.Project.ID <= 0,
		"issue_statuses": len(statuses.All) == 0, "issue_priorities": len(priorities.All) == 0,
	} {
		if bad {
			return nil, c.fail(op, connectors.ClassMalformed, field, field+" is missing in the answer")
		}
	}
	return &names{
		project: project.Project.ID, self: me.User.ID, statuses: newIndex(statuses.All), priorities: newIndex(priorities.All),
		trackers: newIndex(project.Project.Trackers), custom: newIndex(project.Project.Custom),
	}, nil
}

// correlationField returns the id of the custom field for correlation keys.
func (c *client) correlationField(n *names, op string) (int, error) {
	id, ok := n.custom.id[c.correlation]
	if !ok {
		return 0, c.fail(op, connectors.ClassInvalid, c.correlation,
			"the project shows no custom field for the correlation key: an administrator must add it to the project by name (option correlation_field)")
	}
	return id, nil
}

// person returns what the account may know of a user; groups and hidden users
// have no e-mail.
func (c *client) person(ctx context.Context, op string, id int) (person, error) {
	if p, ok := c.known(id); ok {
		return p, nil
	}
	var answer struct {
		User *struct {
			First string `json:"firstname"`
			Last  string `json:"lastname"`
			Mail  string `json:"mail"`
		} `json:"user"`
	}
	_, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: httpcore.Path("users", strconv.Itoa(id)+".json")}, &answer)
	if err != nil && connectors.ClassOf(err) != connectors.ClassNotFound && connectors.ClassOf(err) != connectors.ClassDenied {
		return person{}, err
	}
	var p person // as it stays for somebody who is hidden
	if err == nil {
		if answer.User == nil {
			return person{}, c.fail(op, connectors.ClassMalformed, "user", "user is missing in the answer")
		}
		p = person{name: strings.TrimSpace(answer.User.First + " " + answer.User.Last), email: strings.ToLower(answer.User.Mail)}
	}
	c.names.mu.Lock()
	defer c.names.mu.Unlock()
	if c.names.people == nil {
		c.names.people, c.names.peopleAt = map[int]person{}, c.now()
	}
	c.names.people[id] = p
	return p, nil
}

func (c *client) known(id int) (person, bool) {
	c.names.mu.Lock()
	defer c.names.mu.Unlock()
	c.names.expire(c.now())
	p, ok := c.names.people[id]
	return p, ok
}

const (
	membersPage = 100
	// lookupsMax bounds what one write asks for to find one e-mail address.
	lookupsMax = 200
)

// userByEmail looks among the project's members, one by one: without being an
// administrator there is no search. 0 means that no member has the address.
func (c *client) userByEmail(ctx context.Context, op, email string) (int, error) {
	email = strings.ToLower(email)
	if id, ok := c.member(email); ok {
		return id, nil
	}
	asked := 0
	for offset := 0; ; {
		var page struct {
			Memberships []struct {
				User *named `json:"user"`
			} `json:"memberships"`
			Total int `json:"total_count"`
		}
		query := url.Values{"limit": {strconv.Itoa(membersPage)}, "offset": {strconv.Itoa(offset)}}
		if asked++; asked > lookupsMax {
			return 0, c.tooMany(op)
		}
		if _, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: httpcore.Path("projects", c.project, "memberships.json"), Query: query}, &page); err != nil {
			return 0, err
		}
		if page.Memberships == nil {
			return 0, c.fail(op, connectors.ClassMalformed, "memberships", "memberships is missing in the answer")
		}
		for _, m := range page.Memberships {
			if m.User == nil {
				continue
			}
			if _, ok := c.known(m.User.ID); !ok {
				if asked++; asked > lookupsMax {
					return 0, c.tooMany(op)
				}
			}
			p, err := c.person(ctx, op, m.User.ID)
			if err != nil {
				return 0, err
			}
			c.remember(p.email, m.User.ID)
			if p.email == email {
				return m.User.ID, nil
			}
		}
		offset += len(page.Memberships)
		if len(page.Memberships) == 0 || page.Total > 0 && offset >= page.Total {
			return 0, nil
		}
	}
}

func (c *client) member(email string) (int, bool) {
	c.names.mu.Lock()
	defer c.names.mu.Unlock()
	c.names.expire(c.now())
	id, ok := c.names.members[email]
	return id, ok
}

func (c *client) remember(email string, id int) {
	c.names.mu.Lock()
	defer c.names.mu.Unlock()
	if c.names.members == nil {
		c.names.members = map[string]int{}
	}
	if email != "" {
		c.names.members[email] = id
	}
}

func (c *client) tooMany(op string) error {
	return c.fail(op, connectors.ClassInvalid, fieldAssignee, "the e-mail address was not found in "+strconv.Itoa(lookupsMax)+
		" look-ups among the project's members; those are kept for "+peopleTTL.String()+", so trying again within that time looks at the next ones")
}
