package redmine

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/httpcore"
)

const (
	pageMax = 100 // what Redmine gives at most
	// overlap covers the second that updated_on is cut to, and the time from its
	// choice to its commit.
	overlap       = 5 * time.Second
	cursorVersion = 1
)

// cursor says that every issue whose updated_on is at most Settled was listed
// after it had come to rest. While a sweep runs, Newest is what Settled becomes
// at its end, as known at its beginning: later changes may lie behind it. Last is
// the last id that it listed.
type cursor struct {
	Version int   `json:"v"`
	Settled int64 `json:"s"` // Unix seconds, 0 for the beginning of time
	Newest  int64 `json:"n,omitempty"`
	Last    int   `json:"l,omitempty"`
}

func (cur cursor) encode() connectors.Cursor {
	b, _ := json.Marshal(cur) // three numbers always marshal
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
	case err != nil || cur.Version < 1 || cur.Settled < 0 || cur.Newest < 0 || cur.Last < 0 || cur.Last > 0 && cur.Newest == 0:
		return cur, c.fail("changes", connectors.ClassInvalid, "cursor", "not a cursor of this connector")
	case cur.Version > cursorVersion:
		return cur, c.fail("changes", connectors.ClassInvalid, "cursor", "the cursor is of a newer version of this program")
	}
	return cur, nil
}

// listed is one row of a listing.
type listed struct {
	ID      int       `json:"id"`
	Updated time.Time `json:"updated_on"`
}

type listing struct {
	Issues []listed `json:"issues"`
	Total  *int     `json:"total_count"`
}

// Changes lists what was updated since the cursor. Few changes fit one listing,
// newest first. More are swept by id: the set "updated since" only grows, at ids
// behind or ahead of the sweep, and what grows behind it was updated after the
// sweep began, so the next listing has it.
func (c *client) Changes(ctx context.Context, at connectors.Cursor, limit int) (connectors.Page, error) {
	cur, err := c.decodeCursor(at)
	if err != nil {
		return connectors.Page{}, err
	}
	if limit <= 0 || limit > pageMax {
		limit = pageMax
	}
	if cur.Newest == 0 {
		page, header, err := c.list(ctx, cur, "updated_on:desc,id:desc", limit)
		if err != nil || len(page.Issues) == 0 {
			return connectors.Page{Next: cur.encode()}, err
		}
		cur.Newest = max(cur.Settled, atRest(page.Issues[0].Updated.Unix(), header))
		if *page.Total <= len(page.Issues) {
			slices.Reverse(page.Issues)
			return finish(cur, page.Issues), nil
		}
	}
	page, _, err := c.list(ctx, cur, "id", limit)
	if err != nil {
		return connectors.Page{}, err
	}
	if len(page.Issues) == 0 || *page.Total <= len(page.Issues) { // the total counts from Last on
		return finish(cur, page.Issues), nil
	}
	cur.Last = page.Issues[len(page.Issues)-1].ID
	return connectors.Page{Refs: refs(page.Issues, cur.Settled, cur.Settled), Next: cur.encode(), More: true}, nil
}

// atRest is the last second that has settled when a listing is made: what the
// server's clock left behind by more than overlap. Without that clock the newest
// update stands in for it.
func atRest(newest int64, header http.Header) int64 {
	clock := newest
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		clock = date.Unix()
	}
	return max(1, min(newest, clock-int64(overlap/time.Second)))
}

// finish ends a sweep, or a listing that needed none.
func finish(cur cursor, rows []listed) connectors.Page {
	return connectors.Page{
		Refs: refs(rows, cur.Settled, cur.Newest),
		Next: cursor{Version: cursorVersion, Settled: cur.Newest}.encode(),
	}
}

// refs drops what had settled before and marks what has not yet.
func refs(rows []listed, before, settled int64) []connectors.Ref {
	var out []connectors.Ref
	for _, r := range rows {
		if second := r.Updated.Unix(); second > before {
			out = append(out, connectors.Ref{Key: connectors.Key(strconv.Itoa(r.ID)), Unsettled: second > settled})
		}
	}
	return out
}

// list asks for one page after the cursor.
func (c *client) list(ctx context.Context, cur cursor, sort string, limit int) (listing, http.Header, error) {
	f := newFilter(c.project, sort, limit)
	if cur.Settled > 0 {
		// ">=T" means "after T-1s", so it shows the settled second's fractions again.
		f.add("updated_on", ">=", time.Unix(cur.Settled+1, 0).UTC().Format(time.RFC3339))
	}
	if cur.Last > 0 {
		f.add("issue_id", ">=", strconv.Itoa(cur.Last+1))
	}
	var page listing
	const op = "changes"
	res, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: "issues.json", Query: url.Values(f)}, &page)
	if err != nil {
		return page, nil, err
	}
	if page.Issues == nil || page.Total == nil {
		return page, nil, c.fail(op, connectors.ClassMalformed, "issues", "the answer is no listing of issues")
	}
	for _, row := range page.Issues {
		if row.ID <= 0 || row.Updated.Unix() <= 0 {
			return page, nil, c.fail(op, connectors.ClassMalformed, "updated_on", "an issue has no id or no updated_on")
		}
	}
	return page, res.Header, nil
}

// filter is a query for issues, open and closed, of one project without its
// subprojects. Operators are stated, so that no value is read as one.
type filter url.Values

func newFilter(project, sort string, limit int) filter {
	f := filter{"project_id": {project}, "sort": {sort}, "limit": {strconv.Itoa(limit)}, "set_filter": {"1"}}
	f.add("status_id", "*")
	f.add("subproject_id", "!*")
	return f
}

func (f filter) add(field, operator string, values ...string) {
	f["f[]"] = append(f["f[]"], field)
	f["op["+field+"]"] = []string{operator}
	f["v["+field+"][]"] = values
}

// Find looks for issues whose correlation field is exactly the key.
func (c *client) Find(ctx context.Context, correlation string) ([]connectors.Key, error) {
	const op = "find"
	n, err := c.directory(ctx, op)
	if err != nil {
		return nil, err
	}
	id, err := c.correlationField(n, op)
	if err != nil || correlation == "" {
		return nil, err
	}
	f := newFilter(c.project, "id", pageMax)
	f.add("cf_"+strconv.Itoa(id), "=", correlation)
	var page struct {
		Issues []issue `json:"issues"`
	}
	if _, err := c.http.JSON(ctx, httpcore.Request{Op: op, Path: "issues.json", Query: url.Values(f)}, &page); err != nil {
		return nil, err
	}
	if page.Issues == nil { // absence lets a create be repeated, so it has to be said
		return nil, c.fail(op, connectors.ClassMalformed, "issues", "the answer is no listing of issues")
	}
	var keys []connectors.Key
	for _, i := range page.Issues {
		if i.custom(id) == correlation { // databases differ in folding case
			keys = append(keys, connectors.Key(strconv.Itoa(i.ID)))
		}
	}
	return keys, nil
}
