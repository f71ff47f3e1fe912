package rt

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
)

const (
	pageMax       = 100 // what RT gives at most
	overlap       = 15 * time.Second
	cursorVersion = 1
)

// cursor says that every transaction up to Settled was listed after all that
// could still be committed below it had been. Position is where to read on. While
// the backfill runs, Sweeping is true and Ticket is the last one listed.
type cursor struct {
	Version  int   `json:"v"`
	Settled  int64 `json:"s"`
	Position int64 `json:"p"`
	Sweeping bool  `json:"w,omitempty"`
	Ticket   int64 `json:"t,omitempty"`
}

func (cur cursor) encode() connectors.Cursor {
	b, _ := json.Marshal(cur) // numbers always marshal
	return b
}

func (c *client) decodeCursor(b connectors.Cursor) (cursor, error) {
	cur := cursor{Version: cursorVersion}
	if len(b) == 0 {
		return cur, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	switch err := d.Decode(&cur); {
	case err != nil || cur.Version < 1 || cur.Settled < 0 || cur.Position < cur.Settled || cur.Ticket < 0:
		return cur, c.fail("changes", connectors.ClassInvalid, "cursor", "not a cursor of this connector")
	case cur.Version > cursorVersion:
		return cur, c.fail("changes", connectors.ClassInvalid, "cursor", "the cursor is of a newer version of this program")
	}
	return cur, nil
}

// row is one ticket or transaction of a listing.
type row struct {
	ID      json.Number `json:"id"`
	Ticket  json.Number `json:"ObjectId"`
	Created time.Time   `json:"Created"`
	id      int64
}

// Changes lists the tickets by number at first, and then those whose
// transactions are new. The first call does both ends: it notes where the feed
// stands before it lists any ticket.
func (c *client) Changes(ctx context.Context, at connectors.Cursor, limit int) (connectors.Page, error) {
	cur, err := c.decodeCursor(at)
	if err != nil {
		return connectors.Page{}, err
	}
	n, err := c.directory(ctx, "changes")
	if err != nil {
		return connectors.Page{}, err
	}
	if limit <= 0 || limit > pageMax {
		limit = pageMax
	}
	if len(at) == 0 {
		if cur.Settled, err = c.feedEnd(ctx, n); err != nil {
			return connectors.Page{}, err
		}
		cur.Position, cur.Sweeping = cur.Settled, true
	}
	if cur.Sweeping {
		return c.sweep(ctx, n, cur, limit)
	}
	rows, clock, err := c.transactions(ctx, n, cur.Position, "ASC", limit)
	if err != nil {
		return connectors.Page{}, err
	}
	return feedPage(cur, rows, clock, limit), nil
}

// feedEnd is a position of the feed that nothing can be committed below.
func (c *client) feedEnd(ctx context.Context, n *names) (int64, error) {
	rows, clock, err := c.transactions(ctx, n, 0, "DESC", pageMax)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		if settled(r, clock) {
			return r.id, nil
		}
	}
	if len(rows) == pageMax {
		return rows[len(rows)-1].id - 1, nil
	}
	return 0, nil
}

func settled(r row, clock time.Time) bool { return !r.Created.After(clock.Add(-overlap)) }

// feedPage turns transactions after the cursor's position into references.
func feedPage(cur cursor, rows []row, clock time.Time, limit int) connectors.Page {
	page := connectors.Page{More: len(rows) == limit}
	place := map[json.Number]int{}
	for _, r := range rows {
		i, ok := place[r.Ticket]
		if !ok {
			i = len(page.Refs)
			place[r.Ticket] = i
			page.Refs = append(page.Refs, connectors.Ref{Key: connectors.Key(r.Ticket)})
		}
		page.Refs[i].Revision = r.ID.String()
		if cur.Settled == cur.Position && settled(r, clock) {
			cur.Settled = r.id
		}
		cur.Position = r.id
	}
	if !page.More {
		cur.Position = cur.Settled
	}
	page.Next = cur.encode()
	return page
}

func (c *client) sweep(ctx context.Context, n *names, cur cursor, limit int) (connectors.Page, error) {
	query := "Queue = " + n.queue + " AND id > " + strconv.FormatInt(cur.Ticket, 10)
	rows, _, err := c.list(ctx, "tickets", query, "ASC", "", limit)
	if err != nil {
		return connectors.Page{}, err
	}
	page := connectors.Page{More: len(rows) == limit}
	for _, r := range rows {
		page.Refs = append(page.Refs, connectors.Ref{Key: connectors.Key(r.ID)})
		cur.Ticket = r.id
	}
	if !page.More {
		cur = cursor{Version: cursorVersion, Settled: cur.Settled, Position: cur.Position}
	}
	page.Next = cur.encode()
	return page, nil
}

// transactions lists those of the queue's tickets after an id. clock is the
// server's, or without a Date header the newest time shown.
func (c *client) transactions(ctx context.Context, n *names, after int64, order string, limit int) ([]row, time.Time, error) {
	query := "ObjectType = 'RT::Ticket' AND TicketType = 'ticket' AND TicketQueue = " + n.queue +
		" AND Type != 'EmailRecord' AND Type != 'CommentEmailRecord' AND id > " + strconv.FormatInt(after, 10)
	rows, header, err := c.list(ctx, "transactions", query, order, "ObjectId,Created", limit)
	if err != nil {
		return nil, time.Time{}, err
	}
	clock, errDate := http.ParseTime(header.Get("Date"))
	for _, r := range rows {
		if !isKey(connectors.Key(r.Ticket)) || r.Created.Unix() <= 0 {
			return nil, clock, c.fail("changes", connectors.ClassMalformed, "ObjectId", "a transaction has no ticket or no time")
		}
		if errDate != nil && r.Created.After(clock) {
			clock = r.Created
		}
	}
	return rows, clock, nil
}

func (c *client) list(ctx context.Context, what, query, order, fields string, limit int) ([]row, http.Header, error) {
	var page struct {
		Items *[]row `json:"items"`
	}
	const op = "changes"
	q := url.Values{"query": {query}, "orderby": {"id"}, "order": {order}, "per_page": {strconv.Itoa(limit)}}
	if fields != "" {
		q.Set("fields", fields)
	}
	res, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: at(what), Query: q}, &page)
	if err != nil {
		return nil, nil, err
	}
	if page.Items == nil {
		return nil, nil, c.fail(op, connectors.ClassMalformed, "items", "the answer is no listing")
	}
	rows := *page.Items
	for i := range rows {
		if rows[i].id, err = strconv.ParseInt(rows[i].ID.String(), 10, 64); err != nil || rows[i].id <= 0 {
			return nil, nil, c.fail(op, connectors.ClassMalformed, "id", "an item of the listing has no number")
		}
	}
	return rows, res.Header, nil
}

// Find looks for tickets whose correlation field is exactly the key.
func (c *client) Find(ctx context.Context, correlation string) ([]connectors.Key, error) {
	const op = "find"
	n, err := c.directory(ctx, op)
	if err != nil {
		return nil, err
	}
	if _, err := c.correlationField(n, op); err != nil || correlation == "" {
		return nil, err
	}
	var page struct {
		Items []struct {
			ID     json.Number   `json:"id"`
			Custom []customValue `json:"CustomFields"`
		} `json:"items"`
	}
	q := url.Values{
		"query":    {"Queue = " + n.queue + " AND CF.{" + c.correlation + "} = " + quote(correlation)},
		"per_page": {strconv.Itoa(pageMax)}, "fields": {"CustomFields"},
	}
	if _, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: at("tickets"), Query: q}, &page); err != nil {
		return nil, err
	}
	if page.Items == nil { // absence lets a create be repeated, so it has to be said
		return nil, c.fail(op, connectors.ClassMalformed, "items", "the answer is no listing")
	}
	var keys []connectors.Key
	for _, t := range page.Items {
		for _, v := range t.Custom {
			if s, ok := v.single(); ok && v.Name == c.correlation && s == correlation { // RT folds case
				keys = append(keys, connectors.Key(t.ID))
			}
		}
	}
	return keys, nil
}
