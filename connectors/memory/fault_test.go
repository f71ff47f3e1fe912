package memory_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt/value"
)

// clock is time that tests move.
type clock struct{ at time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)} }
func (c *clock) Now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func text(pairs ...string) map[string]value.Value {
	m := map[string]value.Value{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = value.Text(pairs[i+1])
	}
	return m
}

func write(t *testing.T, s *memory.System, w connectors.Write) (connectors.Receipt, connectors.Class) {
	t.Helper()
	r, err := s.Connector().Write(t.Context(), w)
	return r, connectors.ClassOf(err)
}

func create(t *testing.T, s *memory.System, correlation, title string) (connectors.Receipt, connectors.Class) {
	t.Helper()
	return write(t, s, connectors.Write{Kind: connectors.WriteCreate, Correlation: correlation, Fields: text("title", title)})
}

func update(t *testing.T, s *memory.System, key connectors.Key, pairs ...string) connectors.Class {
	t.Helper()
	_, class := write(t, s, connectors.Write{Kind: connectors.WriteUpdate, Key: key, Fields: text(pairs...)})
	return class
}

func list(t *testing.T, s *memory.System, cursor connectors.Cursor) ([]connectors.Key, connectors.Cursor) {
	t.Helper()
	page, err := s.Connector().Changes(t.Context(), cursor, 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []connectors.Key
	for _, r := range page.Refs {
		keys = append(keys, r.Key)
	}
	return keys, page.Next
}

func read(t *testing.T, s *memory.System, key connectors.Key) connectors.Record {
	t.Helper()
	rec, err := s.Connector().Read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestErrorsBeforeAndAfter(t *testing.T) {
	for _, class := range []connectors.Class{connectors.ClassUnavailable, connectors.ClassThrottled, connectors.ClassUnknown} {
		s := memory.New(memory.Config{Faults: []memory.Fault{{
			Kind: memory.FailBefore, Calls: []memory.Call{memory.CallCreate},
			Class: class, Times: 1, Duration: 3 * time.Second,
		}}})
		if _, got := create(t, s, "k", "a"); got != class || len(s.Keys()) != 0 {
			t.Errorf("before: class %q with %d records, want %q and none", got, len(s.Keys()), class)
		}
		if _, got := create(t, s, "k", "a"); got != "" {
			t.Errorf("a fault with Times 1 struck twice: %s", got)
		}
	}
	s := memory.New(memory.Config{Faults: []memory.Fault{{Kind: memory.FailAfter, Times: 1}}})
	if _, got := create(t, s, "k", "a"); got != connectors.ClassUnknown || len(s.Keys()) != 1 {
		t.Errorf("after: class %q with %d records", got, len(s.Keys()))
	}
	if keys, err := s.Connector().Find(t.Context(), "k"); err != nil || len(keys) != 1 {
		t.Errorf("the lost create is not found: %v %v", keys, err)
	}
	if s.Counts().Kinds[connectors.WriteCreate] != 1 {
		t.Error("a write with a lost answer must count")
	}
}

func TestHalfWrite(t *testing.T) {
	s := memory.New(memory.Config{})
	key := s.Create("jane", text("title", "a", "description", "a"), time.Time{})
	s.SetFaults(memory.Fault{Kind: memory.HalfWrite})
	if got := update(t, s, key, "title", "b", "description", "b"); got != connectors.ClassUnknown {
		t.Errorf("class %q", got)
	}
	if rec, _ := s.Get(key); rec.Fields["description"].AsText() != "b" || rec.Fields["title"].AsText() != "a" {
		t.Errorf("not half: %v", rec.Fields)
	}
}

func TestRevisions(t *testing.T) {
	s := memory.New(memory.Config{})
	key := s.Create("jane", text("title", "a"), time.Time{})
	for kind, check := range map[memory.Kind]func(a, b connectors.Record) bool{
		memory.RevisionNull:  func(a, b connectors.Record) bool { return a.Revision == "" && b.Revision == "" },
		memory.RevisionFlaky: func(a, b connectors.Record) bool { return a.Revision != b.Revision && a.Revision != "" },
		memory.Touch:         func(a, b connectors.Record) bool { return a.Revision != b.Revision },
	} {
		s.SetFaults(memory.Fault{Kind: kind})
		if a, b := read(t, s, key), read(t, s, key); !check(a, b) || !maps.EqualFunc(a.Fields, b.Fields, value.Value.Equal) {
			t.Errorf("%s: revisions %q and %q", kind, a.Revision, b.Revision)
		}
	}
	s.SetFaults(memory.Fault{Kind: memory.RevisionFlaky})
	if _, class := write(t, s, connectors.Write{Kind: connectors.WriteUpdate, Key: key, IfRevision: read(t, s, key).Revision, Fields: text("title", "b")}); class != "" {
		t.Errorf("a flaky revision is weak, not stale: %s", class)
	}
}

// TestLagLosesNothing: whatever the lag hides from a cursor shows later on from
// that same cursor.
func TestLagLosesNothing(t *testing.T) {
	for seed := range uint64(50) {
		c := newClock()
		s := memory.New(memory.Config{Now: c.Now, Seed: seed, Faults: []memory.Fault{{Kind: memory.Lag, Duration: time.Minute, Share: 0.7}}})
		seen := map[connectors.Key]bool{}
		var cursor connectors.Cursor
		for range 20 {
			s.Create("jane", text("title", "a"), time.Time{})
			c.advance(7 * time.Second)
			var keys []connectors.Key
			keys, cursor = list(t, s, cursor)
			for _, k := range keys {
				seen[k] = true
			}
		}
		c.advance(time.Minute)
		keys, _ := list(t, s, cursor)
		for _, k := range keys {
			seen[k] = true
		}
		if len(seen) != 20 {
			t.Fatalf("seed %d: %d of 20 records listed", seed, len(seen))
		}
	}
}

func TestListings(t *testing.T) {
	s := memory.New(memory.Config{})
	for range 3 {
		s.Create("jane", text("title", "a"), time.Time{})
	}
	s.SetFaults(memory.Fault{Kind: memory.ListSkip, Times: 1})
	if keys, _ := list(t, s, nil); len(keys) != 2 {
		t.Errorf("skip: %v", keys)
	}
	if keys, _ := list(t, s, nil); len(keys) != 3 {
		t.Errorf("a sweep finds all: %v", keys)
	}
	s.SetFaults(memory.Fault{Kind: memory.ListRepeat, Times: 1})
	if keys, _ := list(t, s, nil); len(keys) != 4 {
		t.Errorf("repeat: %v", keys)
	}
	s.SetFaults(memory.Fault{Kind: memory.Hidden, Key: "2"})
	if keys, _ := list(t, s, nil); slices.Contains(keys, "2") {
		t.Errorf("hidden: %v", keys)
	}
	if _, err := s.Connector().Read(t.Context(), "2"); connectors.ClassOf(err) != connectors.ClassNotFound {
		t.Errorf("hidden: %v", err)
	}
	s.SetFaults(memory.Fault{Kind: memory.Denied, Key: "2"})
	if _, err := s.Connector().Read(t.Context(), "2"); connectors.ClassOf(err) != connectors.ClassDenied {
		t.Errorf("denied: %v", err)
	}
	if class := update(t, s, "2", "title", "b"); class != connectors.ClassDenied {
		t.Errorf("denied write: %q", class)
	}
}

func TestContentFaults(t *testing.T) {
	for _, c := range []struct {
		fault     memory.Fault
		field, in string
		class     connectors.Class
		shown     string
	}{
		{memory.Fault{Kind: memory.Normalise, Form: memory.FormTrim}, "title", " x ", "", "x"},
		{memory.Fault{Kind: memory.Normalise, Form: memory.FormCRLF}, "description", "a\nb\r\nc", "", "a\r\nb\r\nc"},
		{memory.Fault{Kind: memory.Normalise, Form: memory.FormLF}, "description", "a\r\nb", "", "a\nb"},
		{memory.Fault{Kind: memory.Normalise, Form: memory.FormFold}, "title", "ÄB", "", "äb"},
		{memory.Fault{Kind: memory.Normalise, Form: memory.FormMarkup}, "description", "* a\n**b**", "", "- a\n__b__"},
		{memory.Fault{Kind: memory.ReadOnly}, "title", "x", connectors.ClassInvalid, "old"},
		{memory.Fault{Kind: memory.Refuse}, "title", "x", connectors.ClassInvalid, "old"},
		{memory.Fault{Kind: memory.Refuse, Value: value.Text("y")}, "title", "x", "", "x"},
		{memory.Fault{Kind: memory.Ignore}, "title", "x", "", "old"},
		{memory.Fault{Kind: memory.EnumGone, Value: value.Text("done")}, "status", "done", connectors.ClassInvalid, "open"},
		{memory.Fault{Kind: memory.EnumGone, Value: value.Text("open")}, "status", "done", "", "done"},
	} {
		t.Run(fmt.Sprintf("%s %s", c.fault.Kind, c.fault.Form), func(t *testing.T) {
			s := memory.New(memory.Config{})
			key := s.Create("jane", text("title", "old", "description", "old", "status", "open"), time.Time{})
			c.fault.Field = c.field
			s.SetFaults(c.fault)
			_, err := s.Connector().Write(t.Context(), connectors.Write{Kind: connectors.WriteUpdate, Key: key, Fields: text(c.field, c.in)})
			if connectors.ClassOf(err) != c.class || err != nil && !strings.Contains(err.Error(), "field "+c.field) {
				t.Errorf("%v, want class %q that names the field", err, c.class)
			}
			if got := read(t, s, key).Fields[c.field].AsText(); got != c.shown {
				t.Errorf("shows %q, want %q", got, c.shown)
			}
		})
	}
	half, _ := value.ParseDecimal("2.75")
	s := memory.New(memory.Config{Faults: []memory.Fault{{Kind: memory.Normalise, Field: "effort", Form: memory.FormRound}}})
	key := s.Create("jane", map[string]value.Value{"title": value.Text("a"), "effort": half}, time.Time{})
	if got := read(t, s, key).Fields["effort"].AsDecimal(); got != "2" {
		t.Errorf("rounded to %s", got)
	}
	if !slices.Contains(s.Capabilities().Normalises, "effort") {
		t.Error("a normaliser must be declared")
	}
}

func TestOthersAtWork(t *testing.T) {
	c := newClock()
	s := memory.New(memory.Config{Now: c.Now})
	key := s.Create("jane", text("title", "a", "description", "Hello"), time.Time{})
	s.SetFaults(memory.Fault{Kind: memory.UserEdit, Field: "title", Value: value.Text("theirs"), User: "joe", Times: 1})
	old := read(t, s, key).Revision
	if _, class := write(t, s, connectors.Write{Kind: connectors.WriteUpdate, Key: key, IfRevision: old, Fields: text("title", "ours")}); class != connectors.ClassConflict {
		t.Errorf("an edit slipped in, class %q", class)
	}
	if update(t, s, key, "title", "ours"); len(read(t, s, key).History) != 2 {
		t.Errorf("history %v", read(t, s, key).History)
	}

	s.SetFaults(memory.Fault{Kind: memory.Automation, Field: "title", Target: "status", Value: value.Text("waiting"), Duration: time.Minute})
	update(t, s, key, "title", "again")
	if got := read(t, s, key).Fields["status"]; !got.IsNull() {
		t.Errorf("the automation is early: %s", got)
	}
	c.advance(time.Minute)
	rec := read(t, s, key)
	last := rec.History[len(rec.History)-1]
	if rec.Fields["status"].AsText() != "waiting" || !last.Actor.Automation || last.Actor.Self {
		t.Errorf("automation: %v by %+v", rec.Fields["status"], last.Actor)
	}
	if err := s.Edit("jane", key, text("title", "by hand"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	if n := len(read(t, s, key).History); n != len(rec.History)+1 {
		t.Error("an automation answered a user")
	}
}

func TestTimeAndHistory(t *testing.T) {
	c := newClock()
	s := memory.New(memory.Config{Now: c.Now, Faults: []memory.Fault{{Kind: memory.ClockCoarse, Duration: time.Minute}}})
	key := s.Create("jane", text("title", "a"), time.Time{})
	c.advance(10 * time.Second)
	before := read(t, s, key)
	if err := s.Edit("jane", key, text("title", "b"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	after := read(t, s, key)
	if before.Revision != after.Revision || after.Updated.Second() != 0 {
		t.Errorf("not coarse: %q %q", before.Revision, after.Revision)
	}
	page, err := s.Connector().Changes(t.Context(), nil, 0)
	if err != nil || !page.Refs[0].Unsettled {
		t.Error("a record that may change unseen must be unsettled")
	}
	c.advance(time.Minute)
	if page, _ = s.Connector().Changes(t.Context(), nil, 0); page.Refs[0].Unsettled {
		t.Error("the grain has passed")
	}
	if caps := s.Capabilities(); caps.Conditional || caps.WriteRevision {
		t.Error("coarse revisions prove nothing")
	}

	s.SetFaults(memory.Fault{Kind: memory.HistoryGap, Times: 1})
	entries := len(read(t, s, key).History)
	for _, title := range []string{"c", "d"} {
		if err := s.Edit("jane", key, text("title", title), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(read(t, s, key).History); got != entries+1 {
		t.Errorf("%d entries, want one of two", got-entries)
	}
	s.SetFaults(memory.Fault{Kind: memory.ClockSkew, Duration: -time.Hour})
	if offset, ok := s.Connector().ClockOffset(); !ok || offset != -time.Hour {
		t.Errorf("offset %s", offset)
	}
}

func TestDisasters(t *testing.T) {
	s := memory.New(memory.Config{})
	key := s.Create("jane", text("title", "a"), time.Time{})
	backup := s.Snapshot()
	old := read(t, s, key)
	if err := s.Edit("jane", key, text("title", "b"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	later := s.Create("jane", text("title", "later"), time.Time{})
	_, cursor := list(t, s, nil)
	s.Restore(backup)
	if rec := read(t, s, key); rec.Revision != old.Revision || rec.Fields["title"].AsText() != "a" {
		t.Errorf("restored to %q %v", rec.Revision, rec.Fields["title"])
	}
	if _, ok := s.Get(later); ok {
		t.Error("a later record survives a restore")
	}
	if keys, _ := list(t, s, cursor); len(keys) != 0 {
		t.Errorf("a cursor from after the backup lists %v", keys)
	}
	if again := s.Create("jane", text("title", "other"), time.Time{}); again != later {
		t.Errorf("keys must be given out a second time: %s", again)
	}
	if n := s.DeleteAll(); n != 2 || len(s.Keys()) != 0 {
		t.Errorf("deleted %d", n)
	}
	if keys, _ := list(t, s, nil); len(keys) != 2 {
		t.Errorf("tombstones are evidence: %v", keys)
	}
}

// TestCounts: echoes and duplicates show; users and other accounts do not.
func TestCounts(t *testing.T) {
	s := memory.New(memory.Config{})
	r, _ := create(t, s, "", "a")
	update(t, s, r.Key, "title", "b")
	update(t, s, r.Key, "title", "b")
	update(t, s, r.Key, "status", "nonsense")
	if err := s.Edit("jane", r.Key, text("title", "c"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ConnectorOf("jane").Write(t.Context(), connectors.Write{Kind: connectors.WriteUpdate, Key: r.Key, Fields: text("title", "d")}); err != nil {
		t.Fatal(err)
	}
	c := s.Counts()
	if c.Writes() != 3 || c.Records[r.Key][connectors.WriteUpdate] != 2 || c.Vain[r.Key] != 1 || c.Fields[r.Key]["title"] != 3 {
		t.Errorf("%+v", c)
	}
}

// TestSameSeedSameRun: faults by chance come from the seed and the calls alone.
func TestSameSeedSameRun(t *testing.T) {
	run := func(seed uint64) (trace string) {
		s := memory.New(memory.Config{Seed: seed, Faults: []memory.Fault{
			{Kind: memory.FailBefore, Share: 0.3},
			{Kind: memory.FailAfter, Share: 0.3},
			{Kind: memory.Lag, Duration: 10 * time.Millisecond},
			{Kind: memory.Automation, Share: 0.5, Value: value.Text("auto")},
		}})
		for i := range 50 {
			fields := map[string]value.Value{"title": value.Text(fmt.Sprint(i)), "status": value.Text("open"), "description": value.Text("x")}
			r, err := s.Connector().Write(context.Background(), connectors.Write{Kind: connectors.WriteCreate, Fields: fields})
			page, _ := s.Connector().Changes(context.Background(), nil, 0)
			trace += fmt.Sprintln(r, connectors.ClassOf(err), page)
		}
		for _, key := range s.Keys() {
			r, _ := s.Get(key)
			trace += fmt.Sprintln(r.Fields)
		}
		return trace
	}
	first, again := run(7), run(7)
	if first != again {
		t.Error("one seed, two runs")
	}
	if first == run(8) {
		t.Error("the seed does not matter")
	}
}

func TestConcurrentUse(t *testing.T) {
	s := memory.New(memory.Config{Faults: []memory.Fault{{Kind: memory.FailAfter, Share: 0.2}, {Kind: memory.Automation, Field: "title", Target: "status", Value: value.Text("open")}}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := s.Connector()
			key := s.Create("jane", text("title", "a"), time.Time{})
			for j := range 50 {
				_, _ = c.Write(context.Background(), connectors.Write{Kind: connectors.WriteUpdate, Key: key, Fields: text("title", fmt.Sprint(i, j))})
				_, _ = c.Changes(context.Background(), nil, 3)
				_, _ = c.Read(context.Background(), key)
				s.Capabilities()
				s.Counts()
			}
		})
	}
	wg.Wait()
	if len(s.Keys()) != 8 {
		t.Errorf("%d records", len(s.Keys()))
	}
}
