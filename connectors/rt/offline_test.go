package rt

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// answers is an RT that gives canned answers, by the last word of the path.
type answers struct {
	tag   string
	date  string
	files map[string][]byte
	put   []byte            // answer to a PUT
	on    func(word string) // called before an answer, if set
	asked []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = append(a.asked, r.URL.Path)
	header := http.Header{"Content-Type": {"application/json"}}
	if a.date != "" {
		header.Set("Date", a.date)
	}
	word := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if a.on != nil {
		a.on(word)
	}
	body, ok := a.files[word]
	switch {
	case r.Method == http.MethodPut:
		body = a.put
	case !ok:
		body = a.files["ticket"]
		header.Set("ETag", a.tag)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// offline is a connector that knows its names and two people already.
func offline(t testing.TB, a *answers) *client {
	t.Helper()
	opened, err := open(connectors.Settings{
		Name: "rt", URL: "http://rt.test", Scope: map[string]string{"queue": "sync"},
		Credential: connectors.NewSecret("1-27-abcdef"), RatePerSecond: 1e6, Transport: a, Now: func() time.Time { return noon },
	})
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*client)
	c.namesAt, c.peopleAt = noon, noon
	c.people = map[string]person{"6": {Login: nobody}, "29": {Login: "hana", Name: "Hana Globex", Email: "hana@globex.example"}}
	c.names = &names{
		queue: "3", self: "entente",
		field: map[string]string{"2": "EntenteKey", "3": "Description", "4": "Region", "5": "Tags"},
		id:    map[string]string{"EntenteKey": "2", "Description": "3", "Region": "4", "Tags": "5"},
	}
	return c
}

func samples(t testing.TB) *answers {
	t.Helper()
	a := &answers{tag: `"48"`, files: map[string][]byte{}}
	for _, name := range []string{"ticket", "history", "attachments"} {
		b, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		a.files[name] = b
	}
	return a
}

func TestRecord(t *testing.T) {
	a := samples(t)
	rec, err := offline(t, a).Read(t.Context(), "3")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.asked) != 3 {
		t.Errorf("a read takes %d calls: %v", len(a.asked), a.asked)
	}
	for field, want := range map[string]value.Value{
		"Subject": value.Text("VPN"), "Status": value.Text("open"), "Priority": value.Int(7), "Owner": value.Text("hana@globex.example"),
		"Description": value.Text("line\nline"), "Region": value.Null(), "Content": value.Text("first"),
	} {
		if got, ok := rec.Fields[field]; !ok || !got.Equal(want) {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	for _, hidden := range []string{"Tags", "EntenteKey"} {
		if _, ok := rec.Fields[hidden]; ok {
			t.Errorf("%s shows", hidden)
		}
	}
	if rec.Correlation != "abc" || rec.Revision != "48" {
		t.Errorf("correlation %q, revision %q", rec.Correlation, rec.Revision)
	}
	want := []struct {
		id, field string
		was, is   value.Value
	}{
		{"41", "Status", value.Text("new"), value.Text("open")},
		{"42", "Owner", value.Null(), value.Text("hana@globex.example")},
		{"44", "Description", value.Null(), value.Text("line\nline")},
	}
	if len(rec.History) != len(want) {
		t.Fatalf("%d changes, want %d", len(rec.History), len(want))
	}
	for i, w := range want {
		if h := rec.History[i]; h.ID != w.id || h.Field != w.field || !h.Old.Equal(w.was) || !h.New.Equal(w.is) {
			t.Errorf("change %d: %s %s from %v to %v", i, h.ID, h.Field, h.Old, h.New)
		}
	}
	if !rec.History[0].Actor.Automation || !rec.History[1].Actor.Self || rec.History[2].Actor.Self {
		t.Error("actors are mixed up")
	}
	if len(rec.Comments) != 2 || !rec.Comments[0].Internal || rec.Comments[0].Body != "internal\nnote" ||
		rec.Comments[1].Internal || rec.Comments[1].Body != "<b>only html</b>" {
		t.Errorf("comments %+v", rec.Comments)
	}
}

// TestReadAgain: a history that is ahead of the entity tag is read again.
func TestReadAgain(t *testing.T) {
	a := samples(t)
	a.tag = `"47"`
	if rec, err := offline(t, a).Read(t.Context(), "3"); err != nil || rec.Revision != "47" || len(a.asked) != 2*readTries+1 {
		t.Errorf("revision %q after %d calls, %v", rec.Revision, len(a.asked), err)
	}
}

func TestMalformed(t *testing.T) {
	for field, edit := range map[string][3]string{
		"id":       {"ticket", `{"id":3,`, `{"id":"x",`},
		"ETag":     {"ticket", "", ""},
		"Status":   {"ticket", `"Status":"open"`, `"Status":""`},
		"Owner":    {"ticket", `"Name":"hana"`, `"Name":""`},
		"Created":  {"ticket", `"Created":"2026-11-23T07:00:00Z"`, `"Created":"1970-01-01T00:00:00Z"`},
		"Priority": {"ticket", `"Priority":"7"`, `"Priority":"7.5"`},
		"history":  {"history", `"id":"44"`, `"id":"-1"`},
		"items":    {"attachments", `"items"`, `"others"`},
	} {
		a := samples(t)
		a.files[edit[0]] = []byte(strings.Replace(string(a.files[edit[0]]), edit[1], edit[2], 1))
		if field == "ETag" {
			a.tag = ""
		}
		_, err := offline(t, a).Read(t.Context(), "3")
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassMalformed || e.Field != field && field != "id" {
			t.Errorf("%s: %v", field, err)
		}
	}
	a := samples(t)
	a.files["ticket"] = []byte(strings.Replace(string(a.files["ticket"]), `{"id":3,`, `{"id":8,`, 1))
	if _, err := offline(t, a).Read(t.Context(), "3"); connectors.ClassOf(err) != connectors.ClassNotFound {
		t.Errorf("a merged ticket: %v", err)
	}
}

// TestFeed covers what settles, and where the feed reads on.
func TestFeed(t *testing.T) {
	at := func(id int64, ticket json.Number, ago time.Duration) row {
		return row{ID: "0", Ticket: ticket, Created: noon.Add(-ago), id: id}
	}
	rows := []row{at(11, "1", time.Hour), at(12, "2", time.Minute), at(14, "1", time.Second), at(15, "3", 2*overlap)}
	page := feedPage(cursor{Version: 1, Settled: 10, Position: 10}, rows, noon, 5)
	if len(page.Refs) != 3 || page.More || string(page.Next) != `{"v":1,"s":12,"p":12}` {
		t.Errorf("the end of the feed: %+v, next %s", page, page.Next)
	}
	page = feedPage(cursor{Version: 1, Settled: 10, Position: 10}, rows, noon, 4)
	if !page.More || string(page.Next) != `{"v":1,"s":12,"p":15}` {
		t.Errorf("a full page: %+v, next %s", page, page.Next)
	}
	page = feedPage(cursor{Version: 1, Settled: 12, Position: 15}, []row{at(16, "4", time.Hour)}, noon, 4)
	if page.More || string(page.Next) != `{"v":1,"s":12,"p":12}` {
		t.Errorf("the page after what has not settled: %+v, next %s", page, page.Next)
	}
}

func TestNewerCursorIsRefused(t *testing.T) {
	_, err := offline(t, &answers{}).Changes(t.Context(), connectors.Cursor(`{"v":2,"s":5,"p":5}`), 0)
	if connectors.ClassOf(err) != connectors.ClassInvalid || !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := connectors.Settings{Name: "rt", URL: "http://rt.test", Scope: map[string]string{"queue": "q"}, Credential: connectors.NewSecret("1-2-ab")}
	if _, err := open(good); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*connectors.Settings){
		"scope.queue":               func(s *connectors.Settings) { s.Scope = nil },
		"credential":                func(s *connectors.Settings) { s.Credential = connectors.NewSecret("root:secret") },
		"options.correlation_field": func(s *connectors.Settings) { s.Options = map[string]string{"correlation_field": "a} = ''"} },
		"url":                       func(s *connectors.Settings) { s.URL = "rt" },
	} {
		s := good
		spoil(&s)
		_, err := open(s)
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassInvalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestFindNeedsAListing: an answer that lists nothing is no proof of absence; a
// create would be repeated on it.
func TestFindNeedsAListing(t *testing.T) {
	find := func(body string) ([]connectors.Key, error) {
		return offline(t, &answers{files: map[string][]byte{"tickets": []byte(body)}}).Find(t.Context(), "abc")
	}
	for _, body := range []string{`{}`, `null`, `{"total":0}`, `{"items":null}`} {
		if keys, err := find(body); connectors.ClassOf(err) != connectors.ClassMalformed {
			t.Errorf("%s: %v, %v", body, keys, err)
		}
	}
	if keys, err := find(`{"items":[]}`); err != nil || len(keys) != 0 {
		t.Errorf("none: %v, %v", keys, err)
	}
}

// TestOwnerNeedsAListing: an answer that lists nobody does not say that there is
// nobody.
func TestOwnerNeedsAListing(t *testing.T) {
	for body, class := range map[string]connectors.Class{
		`{}`: connectors.ClassMalformed, `null`: connectors.ClassMalformed, `{"items":null}`: connectors.ClassMalformed,
		`{"items":[{"EmailAddress":"ada@acme.example"}]}`: connectors.ClassMalformed, `{"items":[]}`: connectors.ClassInvalid,
	} {
		conn := offline(t, &answers{files: map[string][]byte{"users": []byte(body)}})
		if login, err := conn.ownerName(t.Context(), "update", "ada@acme.example"); connectors.ClassOf(err) != class {
			t.Errorf("%s: %q, %v", body, login, err)
		}
	}
}

// TestCheckBesideRead: Check forgets the people that a read is just adding to.
func TestCheckBesideRead(t *testing.T) {
	a := samples(t)
	conn := offline(t, a)
	a.files["29"] = []byte(`{"Name":"hana","EmailAddress":"hana@globex.example"}`)
	a.on = func(word string) {
		if word == "29" {
			conn.mu.Lock()
			conn.people = nil
			conn.mu.Unlock()
		}
	}
	delete(conn.people, "29")
	if p, err := conn.person(t.Context(), "read", "29"); err != nil || p.Login != "hana" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestRefusalQuotesNoOtherValues: RT answers with a sentence a field, which tell
// old and new values; an error repeats only the refusal.
func TestRefusalQuotesNoOtherValues(t *testing.T) {
	a := samples(t)
	a.put = []byte(`["Subject changed from 'salary of Ann' to 'VPN'","Priority changed from '3' to '4'","Status 'rejected' isn't a valid status for this ticket."]`)
	_, err := offline(t, a).Write(t.Context(), connectors.Write{
		Kind: connectors.WriteUpdate, Key: "3",
		Fields: map[string]value.Value{"Subject": value.Text("VPN"), "Status": value.Text("rejected")},
	})
	var e *connectors.Error
	if !errors.As(err, &e) || e.Field != "Status" || !strings.Contains(e.Message, "valid status") || strings.Contains(e.Message, "salary") {
		t.Error(err)
	}
}

// TestReadIsBounded: a ticket whose messages would fill the memory is an error.
func TestReadIsBounded(t *testing.T) {
	a := samples(t)
	item := `{"TransactionId":"41"}`
	a.files["attachments"] = []byte(`{"items":[` + strings.Repeat(item+",", pageMax-1) + item + `]` + strings.Repeat(" ", 15<<20) + `}`)
	_, err := offline(t, a).Read(t.Context(), "3")
	if connectors.ClassOf(err) != connectors.ClassMalformed || !strings.Contains(err.Error(), "67108864 bytes") || len(a.asked) > 8 {
		t.Errorf("%v after %d calls", err, len(a.asked))
	}
}

// FuzzTicket: no answer panics, and every error is a connector's.
func FuzzTicket(f *testing.F) {
	a := samples(f)
	f.Add(a.files["ticket"], a.files["history"], a.files["attachments"])
	f.Fuzz(func(t *testing.T, ticket, history, attachments []byte) {
		a := &answers{tag: `"48"`, files: map[string][]byte{"ticket": ticket, "history": history, "attachments": attachments}}
		_, err := offline(t, a).Read(t.Context(), "3")
		wellFormed(t, err)
	})
}

// FuzzListing does the same for listings and cursors.
func FuzzListing(f *testing.F) {
	listing := []byte(`{"items":[{"id":"9","ObjectId":"3","Created":"2026-11-23T07:00:00Z"}]}`)
	f.Add(listing, []byte(`{"v":1,"s":1,"p":2}`))
	f.Add(listing, []byte(`{"v":1,"s":1,"p":2,"w":true,"t":3}`))
	f.Fuzz(func(t *testing.T, body, at []byte) {
		page, err := offline(t, &answers{files: map[string][]byte{"tickets": body, "transactions": body}}).Changes(t.Context(), at, 1)
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
