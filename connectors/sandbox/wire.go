package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// The JSON of the API, as API.md documents it.
type (
	listJSON struct {
		Tickets []refJSON `json:"tickets"`
		Next    string    `json:"next,omitempty"`
		More    bool      `json:"more,omitempty"`
	}
	refJSON struct {
		Key      string `json:"key"`
		Revision string `json:"revision,omitempty"`
	}
	ticketJSON struct {
		Key         string         `json:"key"`
		Number      string         `json:"number"`
		Revision    string         `json:"revision"`
		Correlation string         `json:"correlation,omitempty"`
		Fields      map[string]any `json:"fields"`
		Deleted     bool           `json:"deleted,omitempty"`
		Created     time.Time      `json:"created"`
		Updated     time.Time      `json:"updated"`
		CreatedBy   actorJSON      `json:"created_by"`
		Comments    []commentJSON  `json:"comments"`
		History     []changeJSON   `json:"history"`
	}
	actorJSON struct {
		Name       string `json:"name"`
		Email      string `json:"email,omitempty"`
		Self       bool   `json:"self,omitempty"`
		Automation bool   `json:"automation,omitempty"`
	}
	commentJSON struct {
		Key         string    `json:"key"`
		At          time.Time `json:"at"`
		Author      actorJSON `json:"author"`
		Body        string    `json:"body"`
		Internal    bool      `json:"internal"`
		Correlation string    `json:"correlation,omitempty"`
	}
	changeJSON struct {
		ID    string    `json:"id"`
		At    time.Time `json:"at"`
		Actor actorJSON `json:"actor"`
		Field string    `json:"field"`
		Old   any       `json:"old"`
		New   any       `json:"new"`
	}
	writeJSON struct {
		Fields      map[string]any `json:"fields,omitempty"`
		Correlation string         `json:"correlation,omitempty"`
		Body        string         `json:"body,omitempty"`
		Internal    bool           `json:"internal"`
	}
	receiptJSON struct {
		Key      string `json:"key"`
		Revision string `json:"revision"`
		Comment  string `json:"comment,omitempty"`
	}
	schemaJSON struct {
		Fields []fieldJSON `json:"fields"`
	}
	fieldJSON struct {
		Name     string   `json:"name"`
		Label    string   `json:"label"`
		Kind     string   `json:"kind"`
		Values   []string `json:"values,omitempty"`
		Required bool     `json:"required,omitempty"`
	}
	errorJSON struct {
		Code    string `json:"code"`
		Field   string `json:"field,omitempty"`
		Message string `json:"message"`
	}
)

func withUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

func userOf(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}

// encode is v in JSON: text, a list of texts, or null.
func encode(v value.Value) any {
	switch v.Kind() {
	case value.KindText:
		return v.AsText()
	case value.KindList:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = v.At(i).AsText()
		}
		return list
	}
	return nil
}

// decode is the reverse of encode; numbers and booleans become their text.
func decode(x any) (value.Value, error) {
	switch x := x.(type) {
	case nil:
		return value.Null(), nil
	case string:
		return value.Text(x), nil
	case json.Number:
		return value.Text(x.String()), nil
	case []any:
		list := make([]value.Value, len(x))
		for i, e := range x {
			text, ok := e.(string)
			if !ok {
				return value.Value{}, fmt.Errorf("a list must hold texts")
			}
			list[i] = value.Text(text)
		}
		return value.List(list...), nil
	}
	return value.Value{}, fmt.Errorf("want a text, a list of texts, or null")
}

func encodeFields(fields map[string]value.Value) map[string]any {
	m := make(map[string]any, len(fields))
	for name, v := range fields {
		m[name] = encode(v)
	}
	return m
}

// decodeFields names the field that it cannot decode.
func decodeFields(m map[string]any) (fields map[string]value.Value, bad string, err error) {
	fields = make(map[string]value.Value, len(m))
	for name, x := range m {
		if fields[name], err = decode(x); err != nil {
			return nil, name, err
		}
	}
	return fields, "", nil
}

func actorOf(a connectors.Actor) actorJSON {
	return actorJSON{Name: a.Name, Email: a.Email, Self: a.Self, Automation: a.Automation}
}

func (a actorJSON) actor() connectors.Actor {
	return connectors.Actor{Name: a.Name, Email: a.Email, Self: a.Self, Automation: a.Automation}
}

func ticketOf(rec connectors.Record) ticketJSON {
	t := ticketJSON{
		Key: string(rec.Key), Number: rec.Number, Revision: rec.Revision, Correlation: rec.Correlation,
		Fields: encodeFields(rec.Fields), Deleted: rec.Deleted, Created: rec.Created, Updated: rec.Updated,
		CreatedBy: actorOf(rec.CreatedBy), Comments: []commentJSON{}, History: []changeJSON{},
	}
	for _, c := range rec.Comments {
		t.Comments = append(t.Comments, commentJSON{c.Key, c.At, actorOf(c.Author), c.Body, c.Internal, c.Correlation})
	}
	for _, h := range rec.History {
		t.History = append(t.History, changeJSON{h.ID, h.At, actorOf(h.Actor), h.Field, encode(h.Old), encode(h.New)})
	}
	return t
}

func (t ticketJSON) record() (connectors.Record, error) {
	fields, bad, err := decodeFields(t.Fields)
	if err != nil {
		return connectors.Record{}, fmt.Errorf("field %s: %w", bad, err)
	}
	rec := connectors.Record{
		Key: connectors.Key(t.Key), Number: t.Number, Revision: t.Revision, Correlation: t.Correlation,
		Fields: fields, Deleted: t.Deleted, Created: t.Created, Updated: t.Updated, CreatedBy: t.CreatedBy.actor(),
	}
	for _, c := range t.Comments {
		rec.Comments = append(rec.Comments, connectors.Comment{
			Key: c.Key, At: c.At, Author: c.Author.actor(), Body: c.Body, Internal: c.Internal, Correlation: c.Correlation,
		})
	}
	for _, h := range t.History {
		before, err1 := decode(h.Old)
		after, err2 := decode(h.New)
		if err1 != nil || err2 != nil {
			return connectors.Record{}, fmt.Errorf("history of field %s has a value of unknown kind", h.Field)
		}
		rec.History = append(rec.History, connectors.Change{ID: h.ID, At: h.At, Actor: h.Actor.actor(), Field: h.Field, Old: before, New: after})
	}
	return rec, nil
}
