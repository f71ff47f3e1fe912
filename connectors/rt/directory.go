package rt

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
	"github.com/entente-sync/entente/crdt/value"
)

// Local fields. Custom fields go by their own names.
const (
	fieldSubject  = "Subject"
	fieldStatus   = "Status"
	fieldPriority = "Priority"
	fieldOwner    = "Owner"
	fieldContent  = "Content" // the first message, read-only
)

var standard = []string{fieldSubject, fieldStatus, fieldPriority, fieldOwner, fieldContent}

const (
	namesTTL  = time.Minute
	peopleTTL = 10 * time.Minute
	nobody    = "Nobody"
	robot     = "RT_System"
)

// names is what one load found; never changed afterwards.
type names struct {
	queue string // number
	self  string // account name
	field map[string]string
	id    map[string]string
}

type person struct {
	Login string `json:"Name"`
	Name  string `json:"RealName"`
	Email string `json:"EmailAddress"`
}

// directory returns names not older than namesTTL.
func (c *client) directory(ctx context.Context, op string) (*names, error) {
	select {
	case c.loading <- struct{}{}:
		defer func() { <-c.loading }()
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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names, c.namesAt = n, c.now()
	return n, nil
}

func (c *client) fresh() *names {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.namesAt) >= namesTTL {
		return nil
	}
	return c.names
}

func (c *client) load(ctx context.Context, op string) (*names, error) {
	var me person
	if _, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: at("user", c.user)}, &me); err != nil {
		return nil, err
	}
	var queue struct {
		ID     json.Number `json:"id"`
		Fields []struct {
			ID   json.Number `json:"id"`
			Name string      `json:"name"`
		} `json:"TicketCustomFields"`
	}
	if _, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: at("queue", c.queue)}, &queue); err != nil {
		return nil, err
	}
	if me.Login == "" {
		return nil, c.fail(op, connectors.ClassMalformed, "Name", "the account's name is missing in the answer")
	}
	if !isKey(connectors.Key(queue.ID)) {
		return nil, c.fail(op, connectors.ClassMalformed, "id", "the queue's number is missing in the answer")
	}
	n := &names{queue: queue.ID.String(), self: me.Login, field: map[string]string{}, id: map[string]string{}}
	for _, f := range queue.Fields {
		if !slices.Contains(standard, f.Name) {
			n.field[f.ID.String()], n.id[f.Name] = f.Name, f.ID.String()
		}
	}
	return n, nil
}

func (c *client) correlationField(n *names, op string) (string, error) {
	id, ok := n.id[c.correlation]
	if !ok {
		return "", c.fail(op, connectors.ClassInvalid, c.correlation,
			"the queue shows no custom field for the correlation key: an administrator must add it (option correlation_field)")
	}
	return id, nil
}

// Discover lists the standard fields and the queue's custom fields.
func (c *client) Discover(ctx context.Context) (connectors.Schema, error) {
	n, err := c.directory(ctx, "discover")
	if err != nil {
		return connectors.Schema{}, err
	}
	fields := []connectors.FieldSchema{
		{Name: fieldSubject, Label: "Subject", Kind: connectors.FieldText},
		{Name: fieldStatus, Label: "Status", Kind: connectors.FieldEnum, Values: slices.Clone(c.statuses)},
		{Name: fieldPriority, Label: "Priority", Kind: connectors.FieldNumber},
		{Name: fieldOwner, Label: "Owner", Kind: connectors.FieldPerson},
		{Name: fieldContent, Label: "First message", Kind: connectors.FieldRichText, ReadOnly: true},
	}
	for name := range n.id {
		if name != c.correlation {
			fields = append(fields, connectors.FieldSchema{Name: name, Label: name, Kind: connectors.FieldText, Custom: true})
		}
	}
	slices.SortFunc(fields, func(a, b connectors.FieldSchema) int { return strings.Compare(a.Name, b.Name) })
	return connectors.Schema{Fields: fields}, nil
}

// person returns an account by name or number.
func (c *client) person(ctx context.Context, op, id string) (person, error) {
	c.mu.Lock()
	if c.now().Sub(c.peopleAt) >= peopleTTL {
		c.people, c.peopleAt = map[string]person{}, c.now()
	}
	p, ok := c.people[id]
	c.mu.Unlock()
	if ok {
		return p, nil
	}
	_, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: at("user", id)}, &p)
	if err != nil && connectors.ClassOf(err) != connectors.ClassNotFound && connectors.ClassOf(err) != connectors.ClassDenied {
		return person{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.people == nil { // forgotten meanwhile
		c.people, c.peopleAt = map[string]person{}, c.now()
	}
	c.people[id] = p
	return p, nil
}

// loginByEmail returns the account name of the one with the address, "" if
// there is none.
func (c *client) loginByEmail(ctx context.Context, op, email string) (string, error) {
	var found struct {
		Items []person `json:"items"`
	}
	query, err := json.Marshal([]map[string]string{{"field": "EmailAddress", "value": email}})
	if err != nil {
		return "", c.fail(op, connectors.ClassInvalid, fieldOwner, "no e-mail address")
	}
	r := httpcore.Request{Op: op, Path: at("users"), Query: url.Values{"query": {string(query)}, "fields": {"Name,RealName,EmailAddress"}}}
	if _, err := c.http.JSON(ctx, r, &found); err != nil {
		return "", err
	}
	if found.Items == nil {
		return "", c.fail(op, connectors.ClassMalformed, "items", "items is missing in the answer")
	}
	for _, p := range found.Items {
		if strings.EqualFold(p.Email, email) {
			if p.Login == "" {
				return "", c.fail(op, connectors.ClassMalformed, "Name", "the account's name is missing in the answer")
			}
			return p.Login, nil
		}
	}
	return "", nil
}

// owner is the value of the field for an account; false for somebody whose
// address is not shown.
func owner(p person) (value.Value, bool) {
	if p.Login == nobody {
		return value.Null(), true
	}
	return text(strings.ToLower(p.Email)), p.Email != ""
}

// text is a text as we show it: LF, and null if empty.
func text(s string) value.Value {
	if s == "" {
		return value.Null()
	}
	return value.Text(strings.ReplaceAll(s, "\r\n", "\n"))
}
