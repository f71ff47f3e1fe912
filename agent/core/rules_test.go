package core_test

import (
	"context"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// calm is a world without chance: two healthy sites that share one ticket.
func calm(t *testing.T, change func(*connectors.Capabilities), faults ...memory.Fault) (w *world, acme, globex *site, a, b connectors.Key) {
	t.Helper()
	caps := memory.All()
	if change != nil {
		change(&caps)
	}
	w = newWorld(t, 1, caps)
	acme, globex = w.sites[0], w.sites[1]
	a = acme.sys.Create("jane", fields("title", "printer", "description", "smokes", "status", "new"), time.Time{})
	w.rest()
	keys := globex.sys.Keys()
	if len(keys) != 1 {
		t.Fatalf("globex shows %d tickets", len(keys))
	}
	for _, s := range w.sites {
		s.sys.SetFaults(faults...)
		s.sys.ResetCounts()
		s.notices = nil
	}
	return w, acme, globex, a, keys[0]
}

func fields(pairs ...string) map[string]value.Value {
	m := map[string]value.Value{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = value.Text(pairs[i+1])
	}
	return m
}

func (s *site) edit(key connectors.Key, pairs ...string) {
	s.w.t.Helper()
	s.w.now += 1000
	s.w.must(s.sys.Edit("jane", key, fields(pairs...), time.Time{}))
}

func (s *site) shows(key connectors.Key, field, want string) {
	s.w.t.Helper()
	rec, _ := s.sys.Get(key)
	if got := rec.Fields[field].AsText(); got != want {
		s.w.fatalf("%s shows %s = %q, want %q", s.name, field, got, want)
	}
}

func (s *site) wrote(kind connectors.WriteKind, want int) {
	s.w.t.Helper()
	if got := s.sys.Counts().Kinds[kind]; got != want {
		s.w.fatalf("%s wrote %d times (%s), want %d", s.name, got, kind, want)
	}
}

func (s *site) holds() map[string]core.Hold {
	out := map[string]core.Hold{}
	s.view(func(tx store.Tx) error {
		all, err := core.Holds(tx, "")
		for _, h := range all {
			out[string(h.Field)] = h
		}
		return err
	})
	return out
}

func (s *site) pending() []outbox.Entry {
	var all []outbox.Entry
	s.view(func(tx store.Tx) (err error) { all, err = outbox.List(tx, "ops"); return err })
	return all
}

func (s *site) register(key connectors.Key, f crdt.Field) *crdt.Register {
	s.w.t.Helper()
	var id crdt.RecordID
	s.view(func(tx store.Tx) (err error) { id, _, err = shadow.ByKey(tx, "desk", key); return err })
	r := s.w.hub.regs[crdt.Key{Pact: "ops", Type: "ticket", Record: id, Field: f}]
	if r == nil {
		s.w.fatalf("no register %s", f)
	}
	return r
}

// observe lets one agent read one record now, without any write of its own.
func (s *site) observe(key connectors.Key) {
	s.step(core.Hinted{NowMillis: s.w.now, System: "desk", Keys: []connectors.Key{key}})
	for range 2 {
		s.work()
	}
}

// doTask executes the one call that is under way and drops its answer.
func (s *site) doTask() {
	s.w.t.Helper()
	if len(s.tasks) != 1 {
		s.w.fatalf("%s has %d calls under way", s.name, len(s.tasks))
	}
	next, _ := s.tasks[0]()
	s.tasks = nil
	if next != nil {
		s.tasks = []task{next}
	}
}

// untilWrite runs one agent until a write is about to be executed.
func (s *site) untilWrite(key connectors.Key) {
	s.w.t.Helper()
	s.step(core.Hinted{NowMillis: s.w.now, System: "desk", Keys: []connectors.Key{key}})
	before := s.writes
	for s.feed() {
	}
	for len(s.tasks) > 0 || len(s.answers) > 0 {
		if len(s.answers) == 0 && s.flying() {
			if s.writes != before {
				s.w.fatalf("too far")
			}
			return
		}
		s.work()
	}
	s.w.fatalf("%s wants to write nothing", s.name)
}

func (s *site) flying() bool {
	var st core.SystemStatus
	s.view(func(tx store.Tx) (err error) { st, err = core.StatusOf(tx, "desk"); return err })
	return st.Intents > 0
}

func TestRule1BaseIsWhatWasShown(t *testing.T) {
	w, acme, _, a, _ := calm(t, nil)
	first := acme.register(a, "title")
	acme.edit(a, "title", "second")
	acme.observe(a)
	acme.edit(a, "title", "third")
	acme.observe(a)
	ops := acme.pending()
	if len(ops) != 2 {
		t.Fatalf("%d ops", len(ops))
	}
	second, third := ops[0].Op, ops[1].Op
	if second.Base != (crdt.Base{Pred: first.Op.ID(), Birth: first.Birth}) {
		t.Errorf("second is based on %+v, shown was %s born at %s", second.Base, first.Op.ID(), first.Birth)
	}
	if third.Base != (crdt.Base{Pred: second.ID(), Birth: first.Birth}) {
		t.Errorf("an edit on an own unacknowledged op inherits its birth: %+v", third.Base)
	}
	if second.Evidence.Class != crdt.EvidenceHistory || second.Stamp.Millis() != w.now-1000 || third.Stamp.Millis() != w.now {
		t.Errorf("stamps %d %d carry the time of the edit, now %d", second.Stamp.Millis(), third.Stamp.Millis(), w.now)
	}
}

func TestRule2OwnOpComingBackWritesNothing(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "title", "second")
	w.rest()
	globex.shows(b, "title", "second")
	acme.wrote(connectors.WriteUpdate, 0)
	globex.wrote(connectors.WriteUpdate, 1)
}

func TestRule3RefusedStampIsSaidAgain(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	w.hub.drift, w.ahead = 5000, 600_000
	acme.edit(a, "title", "from the future")
	acme.edit(a, "title", "from the future, twice")
	w.rest()
	globex.shows(b, "title", "from the future, twice")
	if got := acme.register(a, "title").Op.Stamp.Millis(); got > w.now {
		t.Errorf("stamp is %d ms ahead", got-w.now)
	}
	if len(acme.holds()) > 0 || len(w.hub.lost) > 0 {
		t.Errorf("holds %v, conflicts %v", acme.holds(), w.hub.lost)
	}
}

func TestRule3RefusedForGoodIsHeldUntilTheNextEdit(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "title", "refused")
	acme.observe(a)
	op := acme.pending()[0].Op
	w.hub.authors[op.Author] = max(w.hub.authors[op.Author], op.Seq)
	w.hub.refused[op.ID()] = "pact.writer"
	w.rest()
	h, ok := acme.holds()["title"]
	if !ok || h.Code != "pact.writer" || !h.Outgoing {
		t.Fatalf("holds %+v", acme.holds())
	}
	globex.edit(b, "title", "theirs", "description", "burns")
	w.rest()
	acme.shows(a, "title", "refused") // nothing overwrites a held edit
	acme.shows(a, "description", "burns")
	acme.edit(a, "title", "better")
	w.rest()
	globex.shows(b, "title", "better")
	if len(acme.holds()) > 0 {
		t.Errorf("holds %+v", acme.holds())
	}
	if !w.hub.lost["theirs"] {
		t.Error("the edit that nobody here had seen is in no conflict record")
	}
}

func TestRule5CrashAroundAWrite(t *testing.T) {
	noHistory := func(c *connectors.Capabilities) { c.History = false }
	for _, tc := range []struct {
		name          string
		caps          func(*connectors.Capabilities)
		happened      bool
		userEdit      bool
		writes        int
		shows         string
		conflictAbout string
	}{
		{name: "not written", writes: 1, shows: "second"},
		{name: "written", happened: true, writes: 1, shows: "second"},
		{name: "not written, no history", caps: noHistory, writes: 1, shows: "second"},
		{name: "written, no history", caps: noHistory, happened: true, writes: 1, shows: "second"},
		{name: "edited instead", userEdit: true, writes: 0, shows: "mine", conflictAbout: "second"},
		{name: "written, then edited", happened: true, userEdit: true, writes: 1, shows: "mine"},
		{name: "edited, no history", caps: noHistory, happened: true, userEdit: true, writes: 1, shows: "mine", conflictAbout: "second"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, acme, globex, a, b := calm(t, tc.caps)
			acme.edit(a, "title", "second")
			acme.observe(a)
			for acme.publish() {
			}
			globex.untilWrite(b)
			if tc.happened {
				globex.doTask()
			}
			if tc.userEdit {
				globex.edit(b, "title", "mine")
			}
			w.now += 1000
			globex.open()
			w.rest()
			globex.shows(b, "title", tc.shows)
			acme.shows(a, "title", tc.shows)
			globex.wrote(connectors.WriteUpdate, tc.writes)
			if got := w.hub.lost[tc.conflictAbout]; got != (tc.conflictAbout != "") || len(w.hub.lost) > 1 {
				t.Errorf("conflicts %v, want %q", w.hub.lost, tc.conflictAbout)
			}
		})
	}
}

func TestRule6ValueRunOverIsKept(t *testing.T) {
	w, acme, globex, a, b := calm(t, func(c *connectors.Capabilities) { c.Conditional, c.WriteRevision = false, false })
	acme.edit(a, "title", "second")
	acme.observe(a)
	for acme.publish() {
	}
	globex.untilWrite(b)
	globex.edit(b, "title", "run over") // between the read and the write
	w.rest()
	// The later edit wins, though our write had covered it for a moment.
	globex.shows(b, "title", "run over")
	acme.shows(a, "title", "run over")
	if !w.hub.lost["second"] {
		t.Errorf("conflicts %v", w.hub.lost)
	}
}

func TestRule6CompareAndSetCapturesFirst(t *testing.T) {
	w, acme, globex, a, b := calm(t, func(c *connectors.Capabilities) { c.History = false })
	acme.edit(a, "title", "second")
	acme.observe(a)
	for acme.publish() {
	}
	globex.untilWrite(b)
	globex.edit(b, "title", "between")
	w.rest()
	globex.shows(b, "title", "between")
	acme.shows(a, "title", "between")
	globex.wrote(connectors.WriteUpdate, 0)
}

func TestRule7AutomationAfterOurWriteStaysHome(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil, memory.Fault{
		Kind: memory.Automation, Field: "description", Form: memory.FormFold, Duration: 2 * time.Second,
	})
	acme.edit(a, "description", "LOUD")
	w.rest()
	w.now += 5000
	w.rest()
	globex.shows(b, "description", "loud")
	acme.shows(a, "description", "LOUD")
	acme.wrote(connectors.WriteUpdate, 0)
	globex.wrote(connectors.WriteUpdate, 1)
	globex.edit(b, "description", "loud and clear")
	w.rest()
	acme.shows(a, "description", "loud and clear")
}

// A rule of the system that answers a comment, as Request Tracker opens a
// ticket that is answered, is an edit like any other: it has nothing to do with
// how the system spells what we wrote.
func TestRule7AutomationThatAnswersACommentTravels(t *testing.T) {
	for _, local := range []bool{true, false} {
		w, acme, globex, a, b := calm(t, nil)
		acme.edit(a, "status", "open")
		w.rest()
		globex.shows(b, "status", "open")
		w.now += 1000
		sys, key := globex.sys, b
		if !local {
			sys, key = acme.sys, a
		}
		_, err := sys.AddComment("jane", key, "any news?", false, time.Time{})
		w.must(err)
		w.rest()
		w.now += 1000
		w.must(globex.sys.Edit("automation", b, fields("status", "new"), time.Time{}))
		w.rest()
		acme.shows(a, "status", "new")
		globex.shows(b, "status", "new")
	}
}

func TestRule7OurOwnAccountStaysHome(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	w.now += 1000
	// A write of ours that timed out long ago lands at last.
	_, err := globex.conn.Write(context.Background(), connectors.Write{
		Kind: connectors.WriteUpdate, Key: b, Fields: fields("title", "late"),
	})
	w.must(err)
	w.rest()
	acme.shows(a, "title", "printer")
	if len(globex.pending()) > 0 || globex.register(b, "title").Op.Author.Site != "acme" {
		t.Error("our own write became an edit")
	}
}

func TestRule7RepeatedPairIsAnEcho(t *testing.T) {
	bare := func(c *connectors.Capabilities) {
		c.History, c.Conditional, c.WriteRevision, c.Revisions = false, false, false, false
	}
	fold := memory.Fault{Kind: memory.Normalise, Field: "description", Form: memory.FormMarkup}
	w, acme, _, a, _ := calm(t, bare, fold)
	for _, s := range w.sites { // the system does not declare what it does
		sys := s.cfg.Systems["desk"]
		sys.Capabilities.Normalises = nil
		s.cfg.Systems["desk"] = sys
	}
	acme.edit(a, "description", "**bold**")
	w.rest() // it comes to rest at all
	if n := w.writes(); n > 4 {
		t.Errorf("%d writes for one edit", n)
	}
}

func TestRule9DeleteWithoutGrantIsHeld(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	w.must(acme.sys.Delete(a))
	w.rest()
	if h := acme.holds()[""]; h.Code != "record.deleted_here" {
		t.Errorf("holds %+v", acme.holds())
	}
	globex.edit(b, "title", "goes on")
	w.rest()
	if len(globex.sys.Keys()) != 1 {
		t.Error("a deletion travelled without a grant")
	}
}

func TestRule9GrantedDeleteNamesWhatWasShown(t *testing.T) {
	w, acme, globex, a, _ := calm(t, nil)
	for _, s := range w.sites {
		p := tickets()
		p.Deletes = []crdt.Site{"acme"}
		s.cfg.Pacts["ops"] = p
	}
	title := acme.register(a, "title")
	w.must(acme.sys.Delete(a))
	w.rest()
	life, err := crdt.DecodeLife(acme.register(a, crdt.FieldLife).Op.Value)
	if err != nil || !life.Deleted || life.Seen["title"].Birth != title.Birth {
		t.Errorf("life %+v (%v), title was born at %s", life, err, title.Birth)
	}
	if len(globex.sys.Keys()) != 1 || globex.holds()[""].Code != "record.deleted_elsewhere" {
		t.Errorf("globex has %d tickets, holds %+v", len(globex.sys.Keys()), globex.holds())
	}
}

func TestRule11EqualValuesDoNotConflict(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "status", "open")
	acme.observe(a)
	for acme.publish() {
	}
	globex.edit(b, "status", "waiting") // the same in the pact's words
	w.rest()
	acme.shows(a, "status", "open")
	globex.shows(b, "status", "waiting")
	acme.wrote(connectors.WriteUpdate, 0)
	globex.wrote(connectors.WriteUpdate, 0)
	if len(w.hub.losers) > 0 && len(w.hub.lost) > 0 {
		t.Errorf("conflicts %v", w.hub.lost)
	}
}
