package rt

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
	"github.com/entente-sync/entente/crdt/value"
)

// ticket as the API shows it.
type ticket struct {
	ID       json.Number   `json:"id"`
	Type     string        `json:"Type"`
	Subject  string        `json:"Subject"`
	Status   string        `json:"Status"`
	Priority json.Number   `json:"Priority"`
	Owner    person        `json:"Owner"`
	Creator  person        `json:"Creator"`
	Queue    reference     `json:"Queue"`
	Custom   []customValue `json:"CustomFields"`
	Created  time.Time     `json:"Created"`
	Updated  time.Time     `json:"LastUpdated"`
	tag      string        // entity tag, as it came
}

type reference struct {
	ID json.Number `json:"id"`
}

func (t ticket) revision() string { return strings.Trim(strings.TrimPrefix(t.tag, "W/"), `"`) }

type customValue struct {
	ID     json.Number       `json:"id"`
	Name   string            `json:"name"`
	Values []json.RawMessage `json:"values"`
}

// single returns the text of a field with at most one value.
func (v customValue) single() (string, bool) {
	if len(v.Values) == 0 {
		return "", true
	}
	var s *string
	if len(v.Values) > 1 || json.Unmarshal(v.Values[0], &s) != nil {
		return "", false
	}
	if s == nil {
		return "", true
	}
	return *s, true
}

type transaction struct {
	ID      json.Number `json:"id"`
	Type    string      `json:"Type"`
	Kind    string      `json:"type"` // always "transaction"; without it Go would take it for Type
	Field   string      `json:"Field"`
	Old     string      `json:"OldValue"`
	New     string      `json:"NewValue"`
	Created time.Time   `json:"Created"`
	Creator person      `json:"Creator"`
}

type attachment struct {
	Transaction json.Number `json:"TransactionId"`
	Type        string      `json:"ContentType"`
	File        string      `json:"Filename"`
	Content     *string     `json:"Content"`
}

const readTries = 3

// withoutMail leaves out records of mails sent: they need a right of their own,
// and RT cuts pages before it drops what the account may not see.
const withoutMail = `[{"field":"Type","operator":"!=","value":"EmailRecord","entry_aggregator":"AND"},` +
	`{"field":"Type","operator":"!=","value":"CommentEmailRecord","entry_aggregator":"AND"}]`

// Read is three calls: ticket, history, messages. It reads again when somebody
// wrote in between, so that fields, history and revision belong together.
func (c *client) Read(ctx context.Context, key connectors.Key) (connectors.Record, error) {
	op := "read ticket " + clip(string(key))
	n, err := c.directory(ctx, op)
	if err != nil {
		return connectors.Record{}, err
	}
	for try := 1; ; try++ {
		t, err := c.get(ctx, op, n, key)
		if err != nil {
			return connectors.Record{}, err
		}
		history, err := pages[transaction](ctx, c, op, at("ticket", string(key), "history"), url.Values{
			"fields": {"Type,Field,OldValue,NewValue,Created,Creator"}, "fields[Creator]": {"Name,RealName,EmailAddress"},
			"query": {withoutMail},
		})
		if err != nil {
			return connectors.Record{}, err
		}
		if last := len(history) - 1; try < readTries && last >= 0 && history[last].ID.String() != t.revision() {
			continue
		}
		return c.record(ctx, op, n, t, history)
	}
}

// get returns a ticket of the queue; one of another queue is not found.
func (c *client) get(ctx context.Context, op string, n *names, key connectors.Key) (ticket, error) {
	if !isKey(key) {
		return ticket{}, c.fail(op, connectors.ClassNotFound, "", "no ticket has such a key")
	}
	var t ticket
	res, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: at("ticket", string(key)), Query: url.Values{
		"fields[Owner]": {"Name,RealName,EmailAddress"}, "fields[Creator]": {"Name,RealName,EmailAddress"},
	}}, &t)
	if err != nil {
		return t, err
	}
	t.tag = res.Header.Get("ETag")
	for field, bad := range map[string]bool{
		"id": !isKey(connectors.Key(t.ID)), "ETag": t.revision() == "", fieldStatus: t.Status == "", fieldOwner: t.Owner.Login == "",
		"Queue": t.Queue.ID == "", "Created": t.Created.Unix() <= 0, "LastUpdated": t.Updated.Unix() <= 0,
	} {
		if bad {
			return t, c.fail(op, connectors.ClassMalformed, field, field+" of the ticket is missing or wrong")
		}
	}
	switch {
	case t.ID.String() != string(key):
		return t, c.fail(op, connectors.ClassNotFound, "", "the ticket was merged into "+t.ID.String())
	case t.Queue.ID.String() != n.queue || t.Type != "ticket":
		return t, c.fail(op, connectors.ClassNotFound, "", "the ticket is not in the queue")
	}
	return t, nil
}

const (
	pagesMax     = 200      // a ticket with more transactions than that is no ticket
	listBytesMax = 64 << 20 // of all pages: what one ticket may take of the memory
)

// pages reads a whole listing.
func pages[T any](ctx context.Context, c *client, op, path string, query url.Values) ([]T, error) {
	var all []T
	size := 0
	query.Set("per_page", strconv.Itoa(pageMax))
	for page := 1; page <= pagesMax; page++ {
		var answer struct {
			Items *[]T `json:"items"`
		}
		query.Set("page", strconv.Itoa(page))
		res, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: path, Query: query}, &answer)
		if err != nil {
			return nil, err
		}
		if size += len(res.Body); size > listBytesMax {
			return nil, c.fail(op, connectors.ClassMalformed, "items", "the listing has more than "+strconv.Itoa(listBytesMax)+" bytes")
		}
		if answer.Items == nil {
			return nil, c.fail(op, connectors.ClassMalformed, "items", "the answer is no listing")
		}
		all = append(all, *answer.Items...)
		if len(*answer.Items) < pageMax {
			return all, nil
		}
	}
	return nil, c.fail(op, connectors.ClassMalformed, "items", "the listing does not end")
}

func (c *client) record(ctx context.Context, op string, n *names, t ticket, history []transaction) (connectors.Record, error) {
	rec := connectors.Record{
		Key: connectors.Key(t.ID), Number: "#" + t.ID.String(), URL: c.root + "/Ticket/Display.html?id=" + t.ID.String(),
		Revision: t.revision(), Deleted: t.Status == statusDeleted,
		Created: t.Created.UTC(), Updated: t.Updated.UTC(), CreatedBy: actor(n, t.Creator),
	}
	priority, err := t.Priority.Int64()
	if err != nil {
		return rec, c.fail(op, connectors.ClassMalformed, fieldPriority, "Priority is no number")
	}
	rec.Fields = map[string]value.Value{
		fieldSubject: text(t.Subject), fieldStatus: text(t.Status), fieldPriority: value.Int(priority), fieldContent: value.Null(),
	}
	if v, ok := owner(t.Owner); ok {
		rec.Fields[fieldOwner] = v
	}
	for name := range n.id {
		rec.Fields[name] = value.Null()
	}
	for _, v := range t.Custom {
		if _, known := n.id[v.Name]; !known {
			continue
		}
		s, ok := v.single()
		if rec.Fields[v.Name] = text(s); !ok {
			delete(rec.Fields, v.Name)
		}
		if v.Name == c.correlation {
			rec.Correlation = s
		}
	}
	delete(rec.Fields, c.correlation)
	bodies, err := c.bodies(ctx, op, string(rec.Key))
	if err != nil {
		return rec, err
	}
	for _, tx := range history {
		if err := c.addTransaction(ctx, op, n, &rec, tx, bodies); err != nil {
			return rec, err
		}
	}
	return rec, nil
}

// bodies returns the texts of messages by transaction: the first plain part, or
// else the first part of text.
func (c *client) bodies(ctx context.Context, op, ticket string) (map[string]string, error) {
	parts, err := pages[attachment](ctx, c, op, at("ticket", ticket, "attachments"), url.Values{
		"fields": {"TransactionId,ContentType,Filename,Content"},
		"query":  {`[{"field":"ContentType","operator":"STARTSWITH","value":"text/"}]`},
	})
	if err != nil {
		return nil, err
	}
	bodies, plain := map[string]string{}, map[string]bool{}
	for _, p := range parts {
		id := p.Transaction.String()
		_, has := bodies[id]
		if p.Content == nil || p.File != "" || has && (plain[id] || p.Type != "text/plain") {
			continue
		}
		bodies[id], plain[id] = strings.ReplaceAll(*p.Content, "\r\n", "\n"), p.Type == "text/plain"
	}
	return bodies, nil
}

func actor(n *names, p person) connectors.Actor {
	name := p.Name
	if name == "" {
		name = p.Login
	}
	return connectors.Actor{Name: name, Email: strings.ToLower(p.Email), Self: p.Login == n.self, Automation: p.Login == robot}
}

func (c *client) addTransaction(ctx context.Context, op string, n *names, rec *connectors.Record, tx transaction, bodies map[string]string) error {
	id := tx.ID.String()
	if !isKey(connectors.Key(id)) || tx.Created.Unix() <= 0 || tx.Creator.Login == "" {
		return c.fail(op, connectors.ClassMalformed, "history", "a transaction has no number, time or creator")
	}
	who, at := actor(n, tx.Creator), tx.Created.UTC()
	field := tx.Field
	switch tx.Type {
	case "Create":
		rec.Fields[fieldContent] = text(bodies[id])
		return nil
	case "Correspond", "Comment":
		rec.Comments = append(rec.Comments, connectors.Comment{Key: id, At: at, Author: who, Body: bodies[id], Internal: tx.Type == "Comment"})
		return nil
	case "CustomField":
		field = n.field[tx.Field]
	case "Set", "Status", "Take", "Untake", "Steal", "Give", "Force":
	default: // SetWatcher doubles Set for the owner
		return nil
	}
	if _, shown := rec.Fields[field]; !shown || field == fieldContent {
		return nil
	}
	was, okOld, err := c.past(ctx, op, field, tx.Old)
	if err != nil {
		return err
	}
	is, okNew, err := c.past(ctx, op, field, tx.New)
	if err == nil && okOld && okNew && !was.Equal(is) {
		rec.History = append(rec.History, connectors.Change{ID: id, At: at, Actor: who, Field: field, Old: was, New: is})
	}
	return err
}

// past turns a transaction's value into the terms of fields; ok is false for a
// person who is not shown.
func (c *client) past(ctx context.Context, op, field, old string) (v value.Value, ok bool, err error) {
	switch field {
	case fieldPriority:
		n, err := strconv.ParseInt(old, 10, 64)
		return value.Int(n), err == nil, nil
	case fieldOwner:
		p, err := c.person(ctx, op, old)
		v, ok := owner(p)
		return v, ok, err
	}
	return text(old), true, nil
}

// clip keeps an odd key from filling an error.
func clip(s string) string { return s[:min(len(s), 20)] }
