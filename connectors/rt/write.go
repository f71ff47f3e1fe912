package rt

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
	"github.com/entente-sync/entente/crdt/value"
)

// Write performs w. An update or delete with IfRevision is refused by RT when
// the ticket moved; a comment never is.
func (c *client) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	op := w.Kind.String()
	if w.Key != "" {
		op += " ticket " + clip(string(w.Key))
	}
	if w.Kind != connectors.WriteCreate && !isKey(w.Key) {
		return connectors.Receipt{}, c.fail(op, connectors.ClassNotFound, "", "no ticket has such a key")
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
	case connectors.WriteDelete:
		return c.delete(ctx, op, n, w)
	}
	return connectors.Receipt{}, c.fail(op, connectors.ClassInvalid, "", "this connector can't "+w.Kind.String())
}

func (c *client) create(ctx context.Context, op string, n *names, w connectors.Write) (connectors.Receipt, error) {
	body, custom, err := c.encode(ctx, op, n, w.Fields)
	if err != nil {
		return connectors.Receipt{}, connectors.NotWritten(err)
	}
	if w.Correlation != "" {
		id, err := c.correlationField(n, op)
		if err != nil {
			return connectors.Receipt{}, err
		}
		custom[id] = w.Correlation
	}
	maps.DeleteFunc(custom, func(_ string, v any) bool { return v == nil })
	body["Queue"], body["CustomFields"] = n.queue, custom
	var made reference
	r := httpcore.Request{Op: op, Method: http.MethodPost, Path: api + "/ticket", Body: body}
	if _, err := c.http.JSON(ctx, r, &made); err != nil {
		return connectors.Receipt{}, err
	}
	if !isKey(connectors.Key(made.ID)) {
		return connectors.Receipt{}, c.fail(op, connectors.ClassUnknown, "id", "the answer names no ticket")
	}
	return connectors.Receipt{Key: connectors.Key(made.ID)}, nil
}

// update reads the ticket first only to empty a custom field: emptying an empty
// one would leave a trace. The fields besides the one that an error names were
// then written.
func (c *client) update(ctx context.Context, op string, n *names, w connectors.Write) (connectors.Receipt, error) {
	body, custom, err := c.encode(ctx, op, n, w.Fields)
	if err != nil {
		return connectors.Receipt{}, connectors.NotWritten(err)
	}
	if slices.Contains(slices.Collect(maps.Values(custom)), nil) {
		t, err := c.get(ctx, op, n, w.Key)
		if err != nil {
			return connectors.Receipt{}, connectors.NotWritten(err)
		}
		for _, v := range t.Custom {
			if s, ok := v.single(); ok && s == "" && custom[v.ID.String()] == nil {
				delete(custom, v.ID.String())
			}
		}
	}
	if len(custom) > 0 {
		body["CustomFields"] = custom
	}
	count := len(body) + max(0, len(custom)-1)
	return connectors.Receipt{Key: w.Key}, c.put(ctx, op, w, body, count)
}

func (c *client) delete(ctx context.Context, op string, n *names, w connectors.Write) (connectors.Receipt, error) {
	t, err := c.get(ctx, op, n, w.Key)
	if err != nil {
		return connectors.Receipt{}, connectors.NotWritten(err)
	}
	if t.Status == statusDeleted {
		return connectors.Receipt{}, c.fail(op, connectors.ClassNotFound, "", "the ticket is deleted already")
	}
	w.Fields = map[string]value.Value{fieldStatus: value.Text(statusDeleted)}
	return connectors.Receipt{Key: w.Key}, c.put(ctx, op, w, map[string]any{fieldStatus: statusDeleted}, 1)
}

// done are the sentences of a change that happened.
var done = []string{" changed from ", " changed to ", " added", " is no longer a value for custom field "}

// put updates, and unless RT reports count changes reads what became of them.
func (c *client) put(ctx context.Context, op string, w connectors.Write, body map[string]any, count int) error {
	r := httpcore.Request{Op: op, Method: http.MethodPut, Path: api + "/ticket/" + string(w.Key), Body: body, Header: http.Header{}}
	if w.IfRevision != "" {
		tag, _ := json.Marshal(w.IfRevision) // a text always marshals
		r.Header.Set("If-Match", string(tag))
	}
	res, err := c.http.Do(ctx, r)
	if err != nil {
		return err
	}
	var sentences []string
	_ = res.Decode(&sentences) // what is no list of sentences says nothing, so that the ticket is read
	all := len(sentences)
	// What is left are refusals; sentences of changes quote old values, and go into no error.
	sentences = slices.DeleteFunc(sentences, func(s string) bool {
		return slices.ContainsFunc(done, func(d string) bool { return strings.Contains(s, d) })
	})
	if len(sentences) == 0 && all == count {
		return nil
	}
	return c.dropped(ctx, r, w, sentences)
}

// dropped reports a field that shows another value than w gave it, in the words
// of the refusals, unless history knows that it was given. If nothing can be read, nothing is reported:
// the write may well have happened, and whoever reads next will see.
func (c *client) dropped(ctx context.Context, r httpcore.Request, w connectors.Write, refusals []string) error {
	rec, err := c.Read(ctx, w.Key)
	if err != nil {
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(w.Fields)) {
		want := w.Fields[field]
		shown, ok := rec.Fields[field]
		if !ok || field == fieldSubject || same(shown, want) {
			continue
		}
		given := slices.ContainsFunc(rec.History, func(h connectors.Change) bool {
			return h.Actor.Self && h.Field == field && same(h.New, want)
		})
		if given {
			continue
		}
		class, why := connectors.ClassInvalid, strings.Join(refusals, "; ")
		if strings.Contains(why, "Permission Denied") {
			class = connectors.ClassDenied
		}
		return c.http.Fail(r, class, field, "RT did not take the value: "+why)
	}
	return nil
}

func same(shown, want value.Value) bool {
	if shown.Equal(want) {
		return true
	}
	a, okA := plain(shown)
	b, okB := plain(want)
	return okA && okB && text(a).Equal(text(b))
}

func (c *client) comment(ctx context.Context, op string, w connectors.Write) (connectors.Receipt, error) {
	if w.Comment.Body == "" || w.Comment.Body == "0" { // which Perl takes for nothing
		return connectors.Receipt{}, c.fail(op, connectors.ClassInvalid, "", "RT would drop a comment without text")
	}
	verb := "correspond"
	if w.Comment.Internal {
		verb = "comment"
	}
	res, err := c.http.Do(ctx, httpcore.Request{
		Op: op, Method: http.MethodPost, Path: api + "/ticket/" + string(w.Key) + "/" + verb,
		Body: map[string]any{"Content": w.Comment.Body, "ContentType": "text/plain"},
	})
	if err != nil {
		return connectors.Receipt{}, err
	}
	receipt := connectors.Receipt{Key: w.Key}
	if id := path.Base(res.Header.Get("Location")); isKey(connectors.Key(id)) {
		receipt.Comment = id
	}
	return receipt, nil
}

// encode turns local fields into the API's, all of them or an error that names
// the first that can't be. custom goes by number; nil empties.
func (c *client) encode(ctx context.Context, op string, n *names, fields map[string]value.Value) (body, custom map[string]any, err error) {
	body, custom = map[string]any{}, map[string]any{}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		v := fields[field]
		s, ok := plain(v)
		refuse := func(why string) error { return c.fail(op, connectors.ClassInvalid, field, why) }
		switch {
		case !ok:
			return nil, nil, refuse("a " + v.Kind().String() + " can't be written to this field")
		case field == fieldSubject:
			body[field] = s
		case field == fieldStatus:
			if !slices.Contains(c.statuses, s) {
				return nil, nil, refuse("the status is none of the queue's (option statuses)")
			}
			body[field] = s
		case field == fieldPriority:
			if v.Kind() != value.KindInt {
				return nil, nil, refuse("a priority is a whole number, and can't be empty")
			}
			body[field] = v.AsInt()
		case field == fieldOwner:
			if body[field], err = c.ownerName(ctx, op, s); err != nil {
				return nil, nil, err
			}
		default:
			id, known := n.id[field]
			if !known || field == c.correlation {
				return nil, nil, refuse("the queue has no such field, or it can't be written")
			}
			if custom[id] = s; s == "" {
				custom[id] = nil
			}
		}
	}
	return body, custom, nil
}

func (c *client) ownerName(ctx context.Context, op, email string) (string, error) {
	if email == "" {
		return nobody, nil
	}
	login, err := c.loginByEmail(ctx, op, email)
	if err == nil && login == "" {
		err = c.fail(op, connectors.ClassInvalid, fieldOwner, "no account of RT has this e-mail address")
	}
	return login, err
}

// plain is v as RT writes it; false for what has no such form.
func plain(v value.Value) (string, bool) {
	switch v.Kind() {
	case value.KindNull:
		return "", true
	case value.KindText:
		return v.AsText(), true
	case value.KindInt, value.KindDecimal, value.KindDate, value.KindBool:
		return v.String(), true
	}
	return "", false
}
