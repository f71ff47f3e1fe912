package redmine

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
	"github.com/entente-sync/entente/crdt/value"
)

// Write performs w. IfRevision is not looked at: Redmine has no such condition.
func (c *client) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	op := w.Kind.String()
	if w.Key != "" {
		op += " issue " + clip(string(w.Key))
	}
	n, err := c.directory(ctx, op)
	if err != nil {
		return connectors.Receipt{}, connectors.NotWritten(err)
	}
	switch w.Kind {
	case connectors.WriteCreate:
		return c.create(ctx, op, n, w)
	case connectors.WriteUpdate:
		return c.update(ctx, op, n, w)
	case connectors.WriteComment:
		return c.comment(ctx, op, w)
	}
	return connectors.Receipt{}, c.fail(op, connectors.ClassInvalid, "", "this connector can't "+w.Kind.String())
}

func (c *client) create(ctx context.Context, op string, n *names, w connectors.Write) (connectors.Receipt, error) {
	body, err := c.encode(ctx, op, n, w.Fields)
	if err != nil {
		return connectors.Receipt{}, connectors.NotWritten(err)
	}
	body["project_id"] = n.project
	if w.Correlation != "" {
		id, err := c.correlationField(n, op)
		if err != nil {
			return connectors.Receipt{}, err
		}
		custom, _ := body["custom_fields"].([]customWrite)
		body["custom_fields"] = append(custom, customWrite{id, w.Correlation})
	}
	var made struct{ Issue struct{ ID int } }
	r := httpcore.Request{Op: op, Method: http.MethodPost, Path: "issues.json", Body: map[string]any{"issue": body}}
	if _, err := c.http.JSON(ctx, r, &made); err != nil {
		return connectors.Receipt{}, err
	}
	if made.Issue.ID <= 0 {
		return connectors.Receipt{}, c.fail(op, connectors.ClassUnknown, "id", "the answer names no issue")
	}
	return connectors.Receipt{Key: connectors.Key(strconv.Itoa(made.Issue.ID))}, nil
}

// update refuses a status that the workflow forbids before it writes anything,
// and reads again what it wrote: Redmine drops what it does not allow silently.
// The fields besides the one that the error names were then written.
func (c *client) update(ctx context.Context, op string, n *names, w connectors.Write) (connectors.Receipt, error) {
	body, err := c.encode(ctx, op, n, w.Fields)
	if err != nil {
		return connectors.Receipt{}, connectors.NotWritten(err)
	}
	if status, ok := w.Fields[fieldStatus]; ok {
		if err := c.allowed(ctx, op, n, w.Key, status.AsText()); err != nil {
			return connectors.Receipt{}, connectors.NotWritten(err)
		}
	}
	if err := c.put(ctx, op, w.Key, body); err != nil {
		return connectors.Receipt{}, err
	}
	return connectors.Receipt{Key: w.Key}, c.dropped(ctx, op, n, w)
}

func (c *client) comment(ctx context.Context, op string, w connectors.Write) (connectors.Receipt, error) {
	if w.Comment.Body == "" {
		return connectors.Receipt{}, c.fail(op, connectors.ClassInvalid, "", "an empty note would not be kept")
	}
	err := c.put(ctx, op, w.Key, map[string]any{"notes": w.Comment.Body, "private_notes": w.Comment.Internal})
	return connectors.Receipt{Key: w.Key}, err
}

func (c *client) put(ctx context.Context, op string, key connectors.Key, body map[string]any) error {
	path, ok := issuePath(key)
	if !ok {
		return c.fail(op, connectors.ClassNotFound, "", "no issue has such a key")
	}
	_, err := c.http.Do(ctx, httpcore.Request{Op: op, Method: http.MethodPut, Path: path, Body: map[string]any{"issue": body}})
	return err
}

func (c *client) allowed(ctx context.Context, op string, n *names, key connectors.Key, status string) error {
	i, err := c.get(ctx, op, n, key, "allowed_statuses")
	if err != nil {
		return err
	}
	if i.Status.Name == status || slices.ContainsFunc(i.Allowed, func(a named) bool { return a.Name == status }) {
		return nil
	}
	return c.fail(op, connectors.ClassInvalid, fieldStatus, "the workflow does not let the account move the issue from its status to this one")
}

// dropped reports a field that shows another value than w gave it, unless
// history knows that it was given. Texts may come back normalised, so only their
// vanishing counts. If nothing can be read, nothing is reported: the write
// happened.
func (c *client) dropped(ctx context.Context, op string, n *names, w connectors.Write) error {
	i, err := c.get(ctx, op, n, w.Key, "journals")
	if err != nil {
		return nil
	}
	rec, err := c.record(ctx, op, n, i)
	if err != nil {
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(w.Fields)) {
		want := w.Fields[field]
		shown, ok := rec.Fields[field]
		if !ok || field == fieldSubject || field == fieldDescription || same(shown, want) {
			continue
		}
		given := slices.ContainsFunc(rec.History, func(h connectors.Change) bool {
			return h.Actor.Self && h.Field == field && same(h.New, want)
		})
		if !given {
			return c.fail(op, connectors.ClassInvalid, field, "Redmine did not take the value: role, tracker or workflow closes the field")
		}
	}
	return nil
}

// same compares what was written with what is shown, which for a custom field
// is always text.
func same(shown, want value.Value) bool {
	if shown.Equal(want) {
		return true
	}
	a, okA := plain(shown)
	b, okB := plain(want)
	return okA && okB && text(a).Equal(text(b))
}

type customWrite struct {
	ID    int    `json:"id"`
	Value string `json:"value"`
}

// encode turns local fields into the API's, all of them or an error that names
// the first that can't be.
func (c *client) encode(ctx context.Context, op string, n *names, fields map[string]value.Value) (map[string]any, error) {
	body := map[string]any{}
	var custom []customWrite
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		s, ok := plain(fields[field])
		if !ok {
			return nil, c.fail(op, connectors.ClassInvalid, field, "a "+fields[field].Kind().String()+" can't be written to this field")
		}
		var err error
		switch field {
		case fieldSubject, fieldDescription, fieldDoneRatio, fieldDueDate:
			body[field] = s
		case fieldStatus:
			body["status_id"], err = c.option(op, n.statuses, field, s)
		case fieldPriority:
			body["priority_id"], err = c.option(op, n.priorities, field, s)
		case fieldTracker:
			body["tracker_id"], err = c.option(op, n.trackers, field, s)
		case fieldAssignee:
			body["assigned_to_id"], err = c.assignee(ctx, op, s)
		default:
			id, ok := n.custom.id[field]
			if !ok || field == c.correlation {
				return nil, c.fail(op, connectors.ClassInvalid, field, "the project has no such field")
			}
			custom = append(custom, customWrite{id, s})
		}
		if err != nil {
			return nil, err
		}
	}
	if custom != nil {
		body["custom_fields"] = custom
	}
	return body, nil
}

func (c *client) option(op string, x index, field, name string) (int, error) {
	id, ok := x.id[name]
	if !ok {
		return 0, c.fail(op, connectors.ClassInvalid, field, "Redmine has no such option for "+field)
	}
	return id, nil
}

func (c *client) assignee(ctx context.Context, op, email string) (any, error) {
	if email == "" {
		return "", nil
	}
	id, err := c.userByEmail(ctx, op, email)
	if err == nil && id == 0 {
		err = c.fail(op, connectors.ClassInvalid, fieldAssignee, "no member of the project shows this e-mail address")
	}
	return id, err
}

// plain is v as Redmine writes it; false for what has no such form.
func plain(v value.Value) (string, bool) {
	switch v.Kind() {
	case value.KindNull:
		return "", true
	case value.KindText:
		return v.AsText(), true
	case value.KindInt:
		return strconv.FormatInt(v.AsInt(), 10), true
	case value.KindDecimal:
		return v.AsDecimal(), true
	case value.KindDate:
		return v.String(), true
	case value.KindBool:
		if v.AsBool() {
			return "1", true
		}
		return "0", true
	}
	return "", false
}
