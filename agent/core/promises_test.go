package core_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
)

func TestUnmappedValueHoldsOneField(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "status", "escalated", "title", "second")
	w.rest()
	globex.shows(b, "title", "second") // the rest flows
	globex.shows(b, "status", "new")
	if h := acme.holds()["status"]; h.Code != "value.unmapped" || !h.Outgoing || len(acme.holds()) != 1 {
		t.Fatalf("holds %+v", acme.holds())
	}
	globex.edit(b, "status", "done")
	w.rest()
	acme.shows(a, "status", "escalated") // a held edit is not overwritten
	acme.edit(a, "status", "open")
	w.rest()
	globex.shows(b, "status", "open")
	if len(acme.holds()) > 0 {
		t.Errorf("holds %+v", acme.holds())
	}
}

// TestOversizeValueHoldsOneField: of a text that is too large for the pact, and of
// one that only its envelope makes too large for an op.
func TestOversizeValueHoldsOneField(t *testing.T) {
	for code, size := range map[string]int{"pact.value": crdt.ValueBytesMax + 1, "op.oversize": crdt.ValueBytesMax} {
		t.Run(code, func(t *testing.T) {
			w, acme, globex, a, b := calm(t, nil)
			large := strings.Repeat("x", size)
			acme.edit(a, "description", large, "title", "second")
			w.rest()
			globex.shows(b, "title", "second")
			globex.shows(b, "description", "smokes")
			h := acme.holds()["description"]
			if h.Code != code || !h.Outgoing || len(acme.holds()) != 1 || len(acme.pending()) > 0 {
				t.Errorf("%d ops wait, hold %+v", len(acme.pending()), h)
			}
			if !sizeAndLimit.MatchString(h.Message) {
				t.Errorf("the message tells no size and limit: %s", h.Message)
			}
			globex.edit(b, "description", "theirs")
			w.rest()
			acme.shows(a, "description", large) // a held edit is not overwritten
			acme.edit(a, "description", "short again")
			w.rest()
			globex.shows(b, "description", "short again")
			if len(acme.holds()) > 0 {
				t.Errorf("holds %+v", acme.holds())
			}
		})
	}
}

var sizeAndLimit = regexp.MustCompile(`has 655\d\d bytes, limit 65536`)

func TestUndecidedCommentIsHeldAndTheRestFlows(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	for _, body := range []string{"?", "still smokes"} {
		_, err := acme.sys.AddComment("jane", a, body, false, time.Time{})
		w.must(err)
	}
	acme.edit(a, "title", "second")
	w.rest()
	globex.shows(b, "title", "second")
	rec, _ := globex.sys.Get(b)
	if len(rec.Comments) != 1 || !strings.Contains(rec.Comments[0].Body, "still smokes") {
		t.Errorf("globex shows %d comments", len(rec.Comments))
	}
	if h := acme.holds()["comments"]; h.Code != "value.expression" || !h.Outgoing || h.Key != a || len(acme.holds()) != 1 {
		t.Errorf("holds %+v", acme.holds())
	}
}

func TestFieldsAreTriedOneByOneWhenNoneIsNamed(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "title", "second", "description", "burns", "status", "open")
	acme.observe(a)
	for acme.publish() {
	}
	refuse := func() { // whatever names several fields is refused without a name
		for i, ev := range globex.answers {
			if e, ok := ev.(core.Written); ok && e.Fault != nil && e.Fault.Class == connectors.ClassInvalid {
				e.Fault.Field = ""
				globex.answers[i] = e
			}
		}
	}
	globex.sys.SetFaults(memory.Fault{Kind: memory.Refuse, Field: "title"})
	for range 40 {
		globex.feed()
		refuse()
		globex.work()
		w.now += 100
	}
	refuse()
	w.rest()
	globex.shows(b, "description", "burns")
	globex.shows(b, "status", "open")
	globex.shows(b, "title", "printer")
	if h := globex.holds()["title"]; h.Code != "system.invalid" || len(globex.holds()) != 1 {
		t.Errorf("holds %+v", globex.holds())
	}
}

func TestRefusedFieldIsParkedAndTheRestWritten(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	globex.sys.SetFaults(memory.Fault{Kind: memory.Refuse, Field: "title"})
	acme.edit(a, "title", "second", "description", "burns")
	w.rest()
	globex.shows(b, "title", "printer")
	globex.shows(b, "description", "burns")
	if h := globex.holds()["title"]; h.Code != "system.invalid" || h.Outgoing {
		t.Fatalf("holds %+v", globex.holds())
	}
	globex.sys.SetFaults()
	acme.edit(a, "title", "third") // a newer value takes the parked one's place
	w.rest()
	globex.shows(b, "title", "third")
	if len(globex.holds()) > 0 {
		t.Errorf("holds %+v", globex.holds())
	}
}

func TestReleasedHoldIsTriedAgain(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	globex.sys.SetFaults(memory.Fault{Kind: memory.Refuse, Field: "title"})
	acme.edit(a, "title", "second")
	w.rest()
	h := globex.holds()["title"]
	globex.sys.SetFaults()
	globex.step(core.Released{NowMillis: w.now, System: h.System, Record: h.Record, Field: h.Field})
	w.rest()
	globex.shows(b, "title", "second")
}

func TestOneBirthAfterALostAnswer(t *testing.T) {
	w, acme, globex, _, _ := calm(t, nil)
	globex.sys.SetFaults(memory.Fault{Kind: memory.FailAfter, Calls: []memory.Call{memory.CallCreate}, Times: 1})
	acme.sys.Create("jane", fields("title", "second ticket"), time.Time{})
	w.rest()
	if n := len(globex.sys.Keys()); n != 2 {
		t.Errorf("globex has %d tickets", n)
	}
	globex.wrote(connectors.WriteCreate, 1)
}

func TestOneCommentAfterALostAnswer(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	globex.sys.SetFaults(memory.Fault{Kind: memory.FailAfter, Calls: []memory.Call{memory.CallComment}, Times: 1})
	_, err := acme.sys.AddComment("jane", a, "still smokes", false, time.Time{})
	w.must(err)
	_, err = acme.sys.AddComment("jane", a, "not for you", true, time.Time{})
	w.must(err)
	w.rest()
	rec, _ := globex.sys.Get(b)
	if len(rec.Comments) != 1 || !strings.Contains(rec.Comments[0].Body, "still smokes") {
		t.Errorf("comments %+v", rec.Comments)
	}
	globex.wrote(connectors.WriteComment, 1)
}

// TestHubTellsNewestIncarnations: after more lives than a greeting tells of, a
// restored hub is not offered what it has.
func TestHubTellsNewestIncarnations(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	for i := range core.AuthorsTold + 2 {
		acme.open()
		acme.edit(a, "title", strconv.Itoa(i))
		w.rest()
	}
	described := acme.register(a, "description").Op.ID()
	if n := len(w.hub.authors); n <= core.AuthorsTold {
		t.Fatalf("the hub knows %d authors", n)
	}
	w.restoreHub(w.hub.clone())
	w.rest()
	acme.edit(a, "title", "last")
	w.rest()
	globex.shows(b, "title", "last")
	if now := acme.register(a, "description").Op.ID(); now != described {
		t.Errorf("description was said again: %s instead of %s", now, described)
	}
}

func TestAbsenceIsNotDeletion(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.sys.SetFaults(memory.Fault{Kind: memory.Hidden, Key: a})
	acme.observe(a)
	if h := acme.holds()[""]; h.Code != "record.not_found" {
		t.Fatalf("holds %+v", acme.holds())
	}
	acme.sys.SetFaults()
	w.now += 10 * 60_000
	globex.edit(b, "title", "second")
	w.rest()
	acme.shows(a, "title", "second")
	if len(acme.holds()) > 0 {
		t.Errorf("holds %+v", acme.holds())
	}
}

func TestBrakeStopsCreates(t *testing.T) {
	w, acme, globex, _, _ := calm(t, nil)
	globex.cfg.CreatesMax = 3
	for i := range 6 {
		acme.sys.Create("jane", fields("title", strings.Repeat("x", i+1)), time.Time{})
	}
	for range 20 { // it does not come to rest: six wait for the hour
		for _, s := range w.sites {
			s.list()
			for s.feed() || s.publish() || s.work() {
			}
			w.now += 2000
			s.step(core.Woken{NowMillis: w.now})
		}
	}
	if n := len(globex.sys.Keys()); n != 3 {
		t.Fatalf("globex has %d tickets", n)
	}
	h := globex.holds()[""]
	if h.Code != "brake.create" {
		t.Fatalf("holds %+v", globex.holds())
	}
	globex.cfg.CreatesMax = 100
	globex.step(core.Released{NowMillis: w.now, System: "desk", Record: h.Record})
	w.rest()
	if n := len(globex.sys.Keys()); n != 7 {
		t.Errorf("globex has %d tickets after the brake was released", n)
	}
}

func TestEqualSeedsGiveEqualTraces(t *testing.T) {
	run := func() []string {
		w := newWorld(t, 5, memory.All(), doubtful...)
		w.chaos(300, true)
		return w.trace
	}
	if a, b := run(), run(); !slices.Equal(a, b) {
		t.Error("two runs of one seed differ")
	}
}

// Redmine gives a new issue its first status, whatever the create says, and
// allows the wanted one as an update only. That is no spelling of what was written.
func TestWhatACreateDropsIsWrittenAsAnUpdate(t *testing.T) {
	w, acme, globex, _, _ := calm(t, nil)
	globex.sys.SetFaults(memory.Fault{Kind: memory.Ignore, Calls: []memory.Call{memory.CallCreate}, Field: "status"})
	acme.sys.Create("jane", fields("title", "second", "status", "open"), time.Time{})
	w.rest()
	keys := globex.sys.Keys()
	globex.shows(keys[len(keys)-1], "status", "open")
	globex.wrote(connectors.WriteUpdate, 1)
	acme.wrote(connectors.WriteUpdate, 0)
}

// weighed is a store that remembers its heaviest transaction.
type weighed struct {
	store.Store
	bytes, heaviest int
}

type weighedTx struct {
	store.Tx
	store *weighed
}

func (s *weighed) Update(fn func(store.Tx) error) error {
	s.bytes = 0
	err := s.Store.Update(func(tx store.Tx) error { return fn(weighedTx{tx, s}) })
	s.heaviest = max(s.heaviest, s.bytes)
	return err
}

func (tx weighedTx) Set(key, value []byte) error {
	tx.store.bytes += len(key) + len(value)
	return tx.Tx.Set(key, value)
}

// A transaction of a small store holds about a megabyte.
func TestManyCommentsAreSaidInSmallTransactions(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	scale := &weighed{Store: acme.store}
	acme.store = scale
	for range 60 {
		_, err := acme.sys.AddComment("jane", a, strings.Repeat("long ", 8000), false, time.Time{})
		w.must(err)
	}
	w.rest()
	if rec, _ := globex.sys.Get(b); len(rec.Comments) != 60 {
		t.Errorf("globex shows %d comments", len(rec.Comments))
	}
	if scale.heaviest > 700<<10 {
		t.Errorf("the heaviest transaction wrote %d bytes", scale.heaviest)
	}
}

// One absurd record must not stop an agent: its text is held, and goes into no
// transaction.
func TestHugeTextGoesIntoNoTransaction(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	scale := &weighed{Store: acme.store}
	acme.store = scale
	huge := strings.Repeat("x", 5<<20)
	acme.edit(a, "description", huge, "title", "second")
	acme.sys.Create("jane", fields("title", "third", "description", huge, "status", "new"), time.Time{})
	_, err := acme.sys.AddComment("jane", a, huge, false, time.Time{})
	w.must(err)
	w.rest()
	globex.shows(b, "title", "second")
	if n := len(globex.sys.Keys()); n != 2 {
		t.Errorf("globex shows %d tickets", n)
	}
	if scale.heaviest > 1<<20 {
		t.Errorf("the heaviest transaction wrote %d bytes", scale.heaviest)
	}
}

// Where a look-up may be stale for half a minute, nothing is created again before
// that is over, however often the look-up finds nothing.
func TestAbsenceIsNotBelievedBeforeItIsProof(t *testing.T) {
	late := memory.Fault{Kind: memory.Lag, Duration: 25 * time.Second}
	lost := func(call memory.Call) memory.Fault {
		return memory.Fault{Kind: memory.FailAfter, Calls: []memory.Call{call}, Times: 1}
	}
	for range 5 { // the lag is drawn
		w, acme, globex, _, _ := calm(t, func(c *connectors.Capabilities) { c.StaleMax = 30 * time.Second })
		globex.sys.SetFaults(lost(memory.CallCreate), late)
		acme.sys.Create("jane", fields("title", "second", "status", "open"), time.Time{})
		w.rest()
		globex.wrote(connectors.WriteCreate, 1)
		if n := len(globex.sys.Keys()); n != 2 {
			t.Errorf("globex shows %d tickets, want 2", n)
		}
	}
}
