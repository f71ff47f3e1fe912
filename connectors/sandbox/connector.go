package sandbox

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
	"github.com/entente-sync/entente/connectors/memory"
)

// cursorVersion is the first byte of a cursor; the rest is the API's own.
const cursorVersion = 1

const rateDefault = 200 // calls a second: the sandbox is in the same process

// Spec is the connector to a sandbox.
func Spec() connectors.Spec {
	return connectors.Spec{Name: "sandbox", Capabilities: memory.All(), Open: Open}
}

// Open checks the settings; it does not dial.
func Open(s connectors.Settings) (connectors.Connector, error) {
	client, err := httpcore.New(httpcore.Config{
		Settings: s, Authorize: httpcore.Bearer, RatePerSecond: rateDefault, Classify: classify,
	})
	if err != nil {
		return nil, err
	}
	return &connector{client}, nil
}

type connector struct{ client *httpcore.Client }

const tickets = "api/v1/tickets"

// classify takes field and words from the API's own error.
func classify(r *httpcore.Response, e *connectors.Error) {
	var body struct {
		Error errorJSON `json:"error"`
	}
	if r.Decode(&body) == nil {
		e.Field, e.Message = body.Error.Field, body.Error.Message
	}
}

func (c *connector) Changes(ctx context.Context, cursor connectors.Cursor, limit int) (connectors.Page, error) {
	r := httpcore.Request{Op: "list changes", Path: tickets, Query: url.Values{}}
	if len(cursor) > 0 {
		if cursor[0] != cursorVersion {
			return connectors.Page{}, c.client.Fail(r, connectors.ClassInvalid, "", "cursor of an unknown version")
		}
		r.Query.Set("since", string(cursor[1:]))
	}
	if limit > 0 {
		r.Query.Set("limit", strconv.Itoa(limit))
	}
	var list listJSON
	if _, err := c.client.JSON(ctx, r, &list); err != nil {
		return connectors.Page{}, err
	}
	if list.Next == "" || list.Tickets == nil {
		return connectors.Page{}, c.client.Fail(r, connectors.ClassMalformed, "next", "the answer is no listing with a cursor")
	}
	page := connectors.Page{Next: append(connectors.Cursor{cursorVersion}, list.Next...), More: list.More}
	for _, t := range list.Tickets {
		page.Refs = append(page.Refs, connectors.Ref{Key: connectors.Key(t.Key), Revision: t.Revision})
	}
	return page, nil
}

func (c *connector) Read(ctx context.Context, key connectors.Key) (connectors.Record, error) {
	r := httpcore.Request{Op: "read ticket " + string(key), Path: httpcore.Path("api", "v1", "tickets", string(key))}
	var t ticketJSON
	if _, err := c.client.JSON(ctx, r, &t); err != nil {
		return connectors.Record{}, err
	}
	if t.Key != string(key) {
		return connectors.Record{}, c.client.Fail(r, connectors.ClassMalformed, "key", "the answer is not that ticket")
	}
	rec, err := t.record()
	if err != nil {
		return connectors.Record{}, c.client.Fail(r, connectors.ClassMalformed, "", err.Error())
	}
	return rec, nil
}

func (c *connector) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	r := httpcore.Request{Op: w.Kind.String() + " ticket " + string(w.Key), Path: httpcore.Path("api", "v1", "tickets", string(w.Key)), Header: http.Header{}}
	if w.IfRevision != "" {
		r.Header.Set("If-Match", strconv.Quote(w.IfRevision))
	}
	switch w.Kind {
	case connectors.WriteCreate:
		r.Method, r.Path = http.MethodPost, tickets
		r.Body = writeJSON{Fields: encodeFields(w.Fields), Correlation: w.Correlation}
	case connectors.WriteUpdate:
		r.Method = http.MethodPatch
		r.Body = writeJSON{Fields: encodeFields(w.Fields)}
	case connectors.WriteComment:
		r.Method, r.Path = http.MethodPost, r.Path+"/comments"
		r.Body = writeJSON{Body: w.Comment.Body, Internal: w.Comment.Internal, Correlation: w.Correlation}
	case connectors.WriteDelete:
		r.Method = http.MethodDelete
	default:
		return connectors.Receipt{}, c.client.Fail(r, connectors.ClassInvalid, "", "unknown kind of write")
	}
	var receipt receiptJSON
	if _, err := c.client.JSON(ctx, r, &receipt); err != nil {
		return connectors.Receipt{}, err
	}
	if receipt.Key == "" || w.Kind != connectors.WriteCreate && receipt.Key != string(w.Key) {
		return connectors.Receipt{}, c.client.Fail(r, connectors.ClassUnknown, "key", "the answer does not say which ticket was written")
	}
	return connectors.Receipt{Key: connectors.Key(receipt.Key), Revision: receipt.Revision, Comment: receipt.Comment}, nil
}

func (c *connector) Find(ctx context.Context, correlation string) ([]connectors.Key, error) {
	r := httpcore.Request{Op: "find by correlation", Path: tickets, Query: url.Values{"correlation": {correlation}}}
	var list listJSON
	if _, err := c.client.JSON(ctx, r, &list); err != nil {
		return nil, err
	}
	if list.Tickets == nil { // absence lets a create be repeated, so it has to be said
		return nil, c.client.Fail(r, connectors.ClassMalformed, "tickets", "the answer is no listing")
	}
	var keys []connectors.Key
	for _, t := range list.Tickets {
		keys = append(keys, connectors.Key(t.Key))
	}
	return keys, nil
}

func (c *connector) Discover(ctx context.Context) (connectors.Schema, error) {
	var in schemaJSON
	if _, err := c.client.JSON(ctx, httpcore.Request{Op: "discover", Path: "api/v1/schema"}, &in); err != nil {
		return connectors.Schema{}, err
	}
	var schema connectors.Schema
	for _, f := range in.Fields {
		schema.Fields = append(schema.Fields, connectors.FieldSchema{
			Name: f.Name, Label: f.Label, Kind: connectors.FieldKind(f.Kind), Values: f.Values, Required: f.Required,
		})
	}
	slices.SortFunc(schema.Fields, func(a, b connectors.FieldSchema) int { return cmp.Compare(a.Name, b.Name) })
	return schema, nil
}

func (c *connector) Check(ctx context.Context) error {
	_, err := c.client.JSON(ctx, httpcore.Request{Op: "check", Path: "api/v1/me"}, &actorJSON{})
	return err
}

func (c *connector) ClockOffset() (time.Duration, bool) { return c.client.ClockOffset() }

func (c *connector) Close() error { return c.client.Close() }
