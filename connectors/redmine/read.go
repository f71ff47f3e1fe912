package redmine

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

// issue as the API shows it.
type issue struct {
	ID          int           `json:"id"`
	Project     named         `json:"project"`
	Tracker     named         `json:"tracker"`
	Status      named         `json:"status"`
	Priority    named         `json:"priority"`
	Author      named         `json:"author"`
	Assignee    *named        `json:"assigned_to"`
	Subject     string        `json:"subject"`
	Description string        `json:"description"`
	DueDate     string        `json:"due_date"`
	DoneRatio   *int64        `json:"done_ratio"`
	Custom      []customValue `json:"custom_fields"`
	Created     time.Time     `json:"created_on"`
	Updated     time.Time     `json:"updated_on"`
	Journals    []journal     `json:"journals"`
	Allowed     []named       `json:"allowed_statuses"`
}

type customValue struct {
	ID       int             `json:"id"`
	Name     string          `json:"name"`
	Multiple bool            `json:"multiple"`
	Value    json.RawMessage `json:"value"`
}

// single returns the text of a field with one value.
func (v customValue) single() (string, bool) {
	var s *string
	if v.Multiple || len(v.Value) > 0 && json.Unmarshal(v.Value, &s) != nil {
		return "", false
	}
	if s == nil {
		return "", true
	}
	return *s, true
}

func (i issue) custom(id int) string {
	for _, v := range i.Custom {
		if v.ID == id {
			s, _ := v.single()
			return s
		}
	}
	return ""
}

type journal struct {
	ID      int       `json:"id"`
	User    named     `json:"user"`
	Notes   string    `json:"notes"`
	Created time.Time `json:"created_on"`
	Private bool      `json:"private_notes"`
	Details []detail  `json:"details"`
}

type detail struct {
	Property string  `json:"property"`
	Name     string  `json:"name"`
	Old      *string `json:"old_value"`
	New      *string `json:"new_value"`
}

// Read is one call, plus one for each person not met before.
func (c *client) Read(ctx context.Context, key connectors.Key) (connectors.Record, error) {
	op := "read issue " + clip(string(key))
	n, err := c.directory(ctx, op)
	if err != nil {
		return connectors.Record{}, err
	}
	i, err := c.get(ctx, op, n, key, "journals")
	if err != nil {
		return connectors.Record{}, err
	}
	return c.record(ctx, op, n, i)
}

// get returns an issue of the project; one of another project is not found.
func (c *client) get(ctx context.Context, op string, n *names, key connectors.Key, include string) (issue, error) {
	path, ok := issuePath(key)
	if !ok {
		return issue{}, c.fail(op, connectors.ClassNotFound, "", "no issue has such a key")
	}
	var answer struct{ Issue issue }
	if _, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: path, Query: url.Values{"include": {include}}}, &answer); err != nil {
		return issue{}, err
	}
	i := answer.Issue
	for field, bad := range map[string]bool{
		"id": strconv.Itoa(i.ID) != string(key), "project": i.Project.ID <= 0, "status": i.Status.Name == "",
		"created_on": i.Created.IsZero(), "updated_on": i.Updated.IsZero(),
	} {
		if bad {
			return issue{}, c.fail(op, connectors.ClassMalformed, field, field+" of the issue is missing or wrong")
		}
	}
	if i.Project.ID != n.project {
		return issue{}, c.fail(op, connectors.ClassNotFound, "", "the issue is in another project")
	}
	return i, nil
}

func (c *client) record(ctx context.Context, op string, n *names, i issue) (connectors.Record, error) {
	id := strconv.Itoa(i.ID)
	rec := connectors.Record{
		Key: connectors.Key(id), Number: "#" + id, URL: c.root + "/issues/" + id,
		Revision: revision(i), Created: i.Created.UTC(), Updated: i.Updated.UTC(),
	}
	if field, ok := n.custom.id[c.correlation]; ok {
		rec.Correlation = i.custom(field)
	}
	var err error
	if rec.CreatedBy, err = c.actor(ctx, op, n, i.Author); err != nil {
		return rec, err
	}
	if rec.Fields, err = c.fields(ctx, op, i); err != nil {
		return rec, err
	}
	for _, j := range i.Journals {
		if err := c.addJournal(ctx, op, n, &rec, j); err != nil {
			return rec, err
		}
	}
	return rec, nil
}

// revision moves with every journal entry; updated_on alone stays within a second.
func revision(i issue) string {
	last := 0
	for _, j := range i.Journals {
		last = max(last, j.ID)
	}
	return i.Updated.UTC().Format(time.RFC3339) + "/" + strconv.Itoa(last)
}

func (c *client) fields(ctx context.Context, op string, i issue) (map[string]value.Value, error) {
	due, ok := date(i.DueDate)
	if !ok {
		return nil, c.fail(op, connectors.ClassMalformed, fieldDueDate, "due_date is no date")
	}
	f := map[string]value.Value{
		fieldSubject: text(i.Subject), fieldDescription: text(i.Description), fieldStatus: text(i.Status.Name),
		fieldPriority: text(i.Priority.Name), fieldTracker: text(i.Tracker.Name),
		fieldDoneRatio: value.Null(), fieldDueDate: due, fieldAssignee: value.Null(),
	}
	if i.DoneRatio != nil {
		f[fieldDoneRatio] = value.Int(*i.DoneRatio)
	}
	if i.Assignee != nil {
		p, err := c.person(ctx, op, i.Assignee.ID)
		if err != nil {
			return nil, err
		}
		if f[fieldAssignee] = text(p.email); p.email == "" {
			delete(f, fieldAssignee) // somebody, but who is not shown
		}
	}
	for _, v := range i.Custom {
		if s, ok := v.single(); ok && v.Name != c.correlation && !standard(v.Name) {
			f[v.Name] = text(s)
		}
	}
	return f, nil
}

func (c *client) actor(ctx context.Context, op string, n *names, who named) (connectors.Actor, error) {
	p, err := c.person(ctx, op, who.ID)
	return connectors.Actor{Name: who.Name, Email: p.email, Self: who.ID == n.self}, err
}

func (c *client) addJournal(ctx context.Context, op string, n *names, rec *connectors.Record, j journal) error {
	if j.ID <= 0 || j.Created.IsZero() {
		return c.fail(op, connectors.ClassMalformed, "journals", "a journal entry has no id or no created_on")
	}
	who, err := c.actor(ctx, op, n, j.User)
	if err != nil {
		return err
	}
	at, id := j.Created.UTC(), strconv.Itoa(j.ID)
	for k, d := range j.Details {
		field := c.journalField(n, d, rec)
		if field == "" {
			continue
		}
		was, okOld, err := c.past(ctx, op, n, field, d.Old)
		if err != nil {
			return err
		}
		is, okNew, err := c.past(ctx, op, n, field, d.New)
		if err != nil {
			return err
		}
		if okOld && okNew && !was.Equal(is) {
			rec.History = append(rec.History, connectors.Change{ID: id + "." + strconv.Itoa(k), At: at, Actor: who, Field: field, Old: was, New: is})
		}
	}
	if j.Notes != "" {
		rec.Comments = append(rec.Comments, connectors.Comment{
			Key: id, At: at, Author: who, Body: strings.ReplaceAll(j.Notes, "\r\n", "\n"), Internal: j.Private,
		})
	}
	return nil
}

// journalField returns the local field of a detail, "" for what is not synced.
func (c *client) journalField(n *names, d detail, rec *connectors.Record) string {
	switch d.Property {
	case "attr":
		return fieldOf[d.Name]
	case "cf":
		id, _ := strconv.Atoi(d.Name)
		name := n.custom.name[id]
		if _, shown := rec.Fields[name]; shown && !standard(name) {
			return name
		}
	}
	return ""
}

// past turns a journal's value into the terms of fields. ok is false for a
// person who is not shown, and for what does not fit the field.
func (c *client) past(ctx context.Context, op string, n *names, field string, old *string) (v value.Value, ok bool, err error) {
	if old == nil || *old == "" {
		return value.Null(), true, nil
	}
	id, errID := strconv.Atoi(*old)
	name := func(x index) value.Value {
		if name, known := x.name[id]; known {
			return text(name)
		}
		return value.Text("#" + *old) // since deleted
	}
	switch field {
	case fieldStatus:
		return name(n.statuses), true, nil
	case fieldPriority:
		return name(n.priorities), true, nil
	case fieldTracker:
		return name(n.trackers), true, nil
	case fieldDoneRatio:
		return value.Int(int64(id)), errID == nil, nil
	case fieldDueDate:
		v, ok := date(*old)
		return v, ok, nil
	case fieldAssignee:
		p, err := c.person(ctx, op, id)
		return text(p.email), p.email != "", err
	}
	return text(*old), true, nil
}

// clip keeps an odd key from filling an error.
func clip(s string) string { return s[:min(len(s), 20)] }
