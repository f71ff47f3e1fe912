package redmine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// answers is a Redmine that gives one answer to every call.
type answers struct {
	status int
	date   string
	body   []byte
	asked  []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.asked = append(a.asked, r.Method+" "+r.URL.RequestURI()); a.status == 0 {
		a.status = http.StatusOK
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if a.date != "" {
		header.Set("Date", a.date)
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// offline is a connector that knows its names and two people already.
func offline(t testing.TB, a *answers) *client {
	t.Helper()
	return offlineOver(t, a)
}

func offlineOver(t testing.TB, a http.RoundTripper) *client {
	t.Helper()
	opened, err := open(connectors.Settings{
		Name: "redmine", URL: "http://redmine.test", Scope: map[string]string{"project": "sync"},
		Credential: connectors.NewSecret("k"), RatePerSecond: 1e6, Transport: a, Now: func() time.Time { return noon },
	})
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*client)
	c.names.at, c.names.peopleAt = noon, noon
	c.names.people = map[int]person{5: {"Ada Acme", "ada@acme.example"}, 6: {"Entente Sync", ""}}
	c.names.names = &names{
		project: 1, self: 6,
		statuses:   newIndex([]named{{1, "New"}, {2, "In Progress"}}),
		priorities: newIndex([]named{{2, "Normal"}}),
		trackers:   newIndex([]named{{1, "Bug"}}),
		custom:     newIndex([]named{{1, "Entente key"}, {2, "Region"}, {3, "Tags"}}),
	}
	return c
}

func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/issue.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecord(t *testing.T) {
	rec, err := offline(t, &answers{body: sample(t)}).Read(t.Context(), "12")
	if err != nil {
		t.Fatal(err)
	}
	due, _ := date("2026-11-30")
	for field, want := range map[string]value.Value{
		"subject": value.Text("Printer on fire"), "description": value.Text("It burns.\nSince noon."), "status": value.Text("In Progress"),
		"assigned_to": value.Text("ada@acme.example"), "done_ratio": value.Int(10), "due_date": due, "Region": value.Null(),
	} {
		if got, ok := rec.Fields[field]; !ok || !got.Equal(want) {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	for _, hidden := range []string{"Tags", "Entente key"} {
		if _, ok := rec.Fields[hidden]; ok {
			t.Errorf("%s shows", hidden)
		}
	}
	if rec.Correlation != "abc" || rec.Revision != "2026-11-23T07:05:00Z/41" {
		t.Errorf("correlation %q, revision %q", rec.Correlation, rec.Revision)
	}
	want := []struct {
		id, field string
		was, is   value.Value
	}{
		{"40.0", "status", value.Text("New"), value.Text("In Progress")},
		{"40.1", "assigned_to", value.Null(), value.Text("ada@acme.example")},
		{"40.2", "Region", value.Text("south"), value.Null()},
		{"41.0", "priority", value.Text("#99"), value.Text("Normal")},
	}
	if len(rec.History) != len(want) {
		t.Fatalf("%d changes, want %d", len(rec.History), len(want))
	}
	for i, w := range want {
		if h := rec.History[i]; h.ID != w.id || h.Field != w.field || !h.Old.Equal(w.was) || !h.New.Equal(w.is) {
			t.Errorf("change %d: %s %s from %v to %v", i, h.ID, h.Field, h.Old, h.New)
		}
	}
	if rec.History[0].Actor.Self || !rec.History[3].Actor.Self {
		t.Error("own changes are not told from others")
	}
	if n := len(rec.Comments); n != 1 || !rec.Comments[0].Internal || rec.Comments[0].Body != "Which one?\nHere?" {
		t.Errorf("%d comments", n)
	}
}

func TestMalformedIssue(t *testing.T) {
	for field, edit := range map[string][2]string{
		"id":         {`"id":12,`, `"id":13,`},
		"project":    {`"project":{"id":1,`, `"project":{"id":0,`},
		"status":     {`"name":"In Progress"`, `"name":""`},
		"updated_on": {`"updated_on":"2026-11-23T07:05:00Z",`, ``},
		"due_date":   {`2026-11-30`, `soon`},
		"journals":   {`{"id":40,`, `{"id":0,`},
	} {
		body := strings.Replace(string(sample(t)), edit[0], edit[1], 1)
		_, err := offline(t, &answers{body: []byte(body)}).Read(t.Context(), "12")
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassMalformed || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, body := range []string{``, `[]`, `{"issue":7}`, `{"issue":{"id":"x"}}`, `<html>`} {
		if _, err := offline(t, &answers{body: []byte(body)}).Read(t.Context(), "12"); connectors.ClassOf(err) != connectors.ClassMalformed {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// TestSettled covers what a listing says about the time after it.
func TestSettled(t *testing.T) {
	const body = `{"issues":[{"id":2,"updated_on":"2026-11-23T12:00:00Z"},{"id":1,"updated_on":"2026-11-23T11:00:00Z"}],"total_count":2}`
	for _, c := range []struct {
		name, date string
		unsettled  bool // of issue 2
		next       time.Time
	}{
		{"just now", "Mon, 23 Nov 2026 12:00:02 GMT", true, noon.Add(-3 * time.Second)},
		{"at rest", "Mon, 23 Nov 2026 12:01:00 GMT", false, noon},
		{"no clock", "", true, noon.Add(-overlap)},
	} {
		server := &answers{body: []byte(body), date: c.date}
		conn := offline(t, server)
		page, err := conn.Changes(t.Context(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Refs) != 2 || page.Refs[0].Key != "1" || page.Refs[0].Unsettled || page.Refs[1].Unsettled != c.unsettled || page.More {
			t.Errorf("%s: %+v", c.name, page)
		}
		if cur, err := conn.decodeCursor(page.Next); err != nil || cur.Settled != c.next.Unix() {
			t.Errorf("%s: settled at %s, %v", c.name, time.Unix(cur.Settled, 0).UTC(), err)
		}
		again, err := conn.Changes(t.Context(), page.Next, 0)
		if err != nil || len(again.Refs) > 0 != c.unsettled {
			t.Errorf("%s: listed again: %v, %v", c.name, again.Refs, err)
		}
	}
}

func TestNewerCursorIsRefused(t *testing.T) {
	_, err := offline(t, &answers{}).Changes(t.Context(), connectors.Cursor(`{"v":2,"s":5}`), 0)
	if connectors.ClassOf(err) != connectors.ClassInvalid || !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
}

func TestRefusalNamesField(t *testing.T) {
	for message, field := range map[string]string{
		"Subject cannot be blank": "subject", "Region is not included in the list": "Region",
		"Due date must be greater than start date": "due_date", "Something else": "",
	} {
		conn := offline(t, &answers{status: http.StatusUnprocessableEntity, body: []byte(`{"errors":["` + message + `"]}`)})
		_, err := conn.Write(t.Context(), connectors.Write{Kind: connectors.WriteCreate, Fields: map[string]value.Value{}})
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassInvalid || e.Field != field {
			t.Errorf("%s: %v", message, err)
		}
	}
}

// TestFindNeedsAListing: an answer that lists nothing is no proof of absence; a
// create would be repeated on it.
func TestFindNeedsAListing(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `{"total_count":0}`, `{"issues":null}`} {
		if keys, err := offline(t, &answers{body: []byte(body)}).Find(t.Context(), "abc"); connectors.ClassOf(err) != connectors.ClassMalformed {
			t.Errorf("%s: %v, %v", body, keys, err)
		}
	}
	if keys, err := offline(t, &answers{body: []byte(`{"issues":[]}`)}).Find(t.Context(), "abc"); err != nil || len(keys) != 0 {
		t.Errorf("none: %v, %v", keys, err)
	}
}

// TestAssigneeNeedsAListing: an answer that lists nobody does not say that there
// is nobody.
func TestAssigneeNeedsAListing(t *testing.T) {
	for body, class := range map[string]connectors.Class{
		`{}`: connectors.ClassMalformed, `null`: connectors.ClassMalformed, `{"memberships":null}`: connectors.ClassMalformed,
		`{"memberships":[{"user":{"id":7}}],"total_count":1}`: connectors.ClassMalformed, `{"memberships":[]}`: connectors.ClassInvalid,
	} {
		if id, err := offline(t, &answers{body: []byte(body)}).assignee(t.Context(), "update", "eve@acme.example"); connectors.ClassOf(err) != class {
			t.Errorf("%s: %v, %v", body, id, err)
		}
	}
}

// crowd is a project of many members, all of whom show an e-mail address.
type crowd struct{ members, asked int }

func (w *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	w.asked++
	var body string
	if _, member, ok := strings.Cut(r.URL.Path, "/users/"); ok {
		body = `{"user":{"mail":"u` + strings.TrimSuffix(member, ".json") + `@acme.example"}}`
	} else {
		from, err := strconv.Atoi(r.URL.Query().Get("offset"))
		if err != nil {
			return nil, err
		}
		var page []string
		for id := from + 1; id <= min(from+membersPage, w.members); id++ {
			page = append(page, fmt.Sprintf(`{"user":{"id":%d}}`, id))
		}
		body = fmt.Sprintf(`{"memberships":[%s],"total_count":%d}`, strings.Join(page, ","), w.members)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// TestLookupsAreBounded: one write does not ask for everybody, the next goes on
// from there, and who was found is found again without a call.
func TestLookupsAreBounded(t *testing.T) {
	w := &crowd{members: 300}
	conn := offlineOver(t, w)
	conn.names.people = nil
	_, err := conn.assignee(t.Context(), "update", "U250@acme.example")
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != connectors.ClassInvalid || e.Field != fieldAssignee || w.asked > lookupsMax {
		t.Fatalf("%d calls: %v", w.asked, err)
	}
	if id, err := conn.assignee(t.Context(), "update", "U250@acme.example"); id != 250 || err != nil {
		t.Fatalf("%v, %v", id, err)
	}
	before := w.asked
	for _, email := range []string{"u250@acme.example", "u1@acme.example"} {
		if _, err := conn.assignee(t.Context(), "update", email); err != nil || w.asked != before {
			t.Errorf("%d calls for %s: %v", w.asked-before, email, err)
		}
	}
}

// TestSweepSettlesAtItsBeginning: what was updated behind a running sweep, in the
// second of the newest update that it began with, is listed afterwards.
func TestSweepSettlesAtItsBeginning(t *testing.T) {
	server := &answers{
		date: "Mon, 23 Nov 2026 12:00:00 GMT",
		body: []byte(`{"issues":[{"id":2,"updated_on":"2026-11-23T12:00:00Z"}],"total_count":2}`),
	}
	conn := offline(t, server)
	page, err := conn.Changes(t.Context(), nil, 1)
	if err != nil || !page.More {
		t.Fatalf("%+v, %v", page, err)
	}
	server.date, server.body = "Mon, 23 Nov 2026 12:10:00 GMT", []byte(`{"issues":[],"total_count":0}`)
	if page, err = conn.Changes(t.Context(), page.Next, 1); err != nil || page.More {
		t.Fatalf("%+v, %v", page, err)
	}
	server.body = []byte(`{"issues":[{"id":1,"updated_on":"2026-11-23T12:00:00Z"}],"total_count":1}`)
	if page, err = conn.Changes(t.Context(), page.Next, 1); err != nil || len(page.Refs) != 1 {
		t.Errorf("the update behind the sweep is not listed: %+v, %v", page, err)
	}
}

// TestSweepGoesOnAfterAShortPage: only the total tells the end, since a server may
// give fewer rows than were asked for.
func TestSweepGoesOnAfterAShortPage(t *testing.T) {
	server := &answers{body: []byte(`{"issues":[{"id":2,"updated_on":"2026-11-23T11:00:00Z"}],"total_count":3}`)}
	page, err := offline(t, server).Changes(t.Context(), nil, 100)
	if err != nil || !page.More || len(page.Refs) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
}

// FuzzIssue: no answer panics, and every error is a connector's.
func FuzzIssue(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(`{"issue":{"id":12,"custom_fields":[{"id":1,"value":{}}],"journals":[{}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		server := &answers{body: body}
		_, err := offline(t, server).Read(t.Context(), "12")
		wellFormed(t, err)
	})
}

// FuzzListing does the same for listings and cursors.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"issues":[{"id":1,"updated_on":"2026-11-23T11:00:00Z"}],"total_count":9}`), []byte(`{"v":1,"s":1,"n":2,"l":3}`))
	f.Fuzz(func(t *testing.T, body, at []byte) {
		page, err := offline(t, &answers{body: body}).Changes(t.Context(), at, 1)
		if wellFormed(t, err); err == nil && len(page.Next) == 0 {
			t.Error("no cursor")
		}
	})
}

func wellFormed(t *testing.T, err error) {
	t.Helper()
	var e *connectors.Error
	if err != nil && !errors.As(err, &e) {
		t.Errorf("not a connector's error: %v", err)
	}
}

// TestRefusedLoad: a refusal while names are loaded looks at the names.
func TestRefusedLoad(t *testing.T) {
	conn := offline(t, &answers{status: http.StatusUnprocessableEntity, body: []byte(`{"errors":["Subject cannot be blank"]}`)})
	conn.names.forget()
	if err := conn.Check(t.Context()); connectors.ClassOf(err) != connectors.ClassInvalid {
		t.Error(err)
	}
}
