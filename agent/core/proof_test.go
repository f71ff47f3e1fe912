package core_test

import (
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
)

// share lets a ticket of one site reach the other agent, which has not begun to
// work on it.
func share(from, to *site, pairs ...string) {
	from.sys.Create("jane", fields(pairs...), time.Time{})
	from.list()
	for from.work() {
		continue
	}
	for from.publish() {
		continue
	}
	for to.feed() {
		continue
	}
}

// until works until an event of the kind waits to be taken in.
func until[E core.Event](t *testing.T, s *site) {
	t.Helper()
	for range 100 {
		if len(s.answers) > 0 {
			if _, ok := s.answers[0].(E); ok {
				return
			}
		}
		if !s.work() {
			s.step(core.Woken{NowMillis: s.w.now})
		}
		s.w.now += 100
	}
	t.Fatal("it never came")
}

// A look-up that began before absence could be proof proves nothing when its
// answer comes after that.
func TestAnOldAnswerIsNoProof(t *testing.T) {
	w, acme, globex, _, _ := calm(t, func(c *connectors.Capabilities) { c.StaleMax = 30 * time.Second })
	globex.sys.SetFaults(memory.Fault{Kind: memory.FailAfter, Calls: []memory.Call{memory.CallCreate}, Times: 1},
		memory.Fault{Kind: memory.Lag, Duration: 25 * time.Second})
	share(acme, globex, "title", "second", "status", "open")
	until[core.Found](t, globex)
	w.now += 60_000
	w.rest()
	globex.wrote(connectors.WriteCreate, 1)
}

// Where creates carry no key, what our own account made is the create that is in
// doubt, whatever people made of it since and history does not tell.
func TestACreateWithoutAKeyIsToldByItsMaker(t *testing.T) {
	w, acme, globex, _, _ := calm(t, func(c *connectors.Capabilities) { c.Correlation, c.History = false, false })
	globex.sys.SetFaults(memory.Fault{Kind: memory.FailAfter, Calls: []memory.Call{memory.CallCreate}, Times: 1})
	share(acme, globex, "title", "second", "status", "open")
	acme.sys.Create("jane", fields("title", "third", "status", "open"), time.Time{})
	until[core.Written](t, globex)
	keys := globex.sys.Keys()
	globex.edit(keys[len(keys)-1], "title", "changed", "status", "done")
	w.rest()
	globex.wrote(connectors.WriteCreate, 2)
	if n, m := len(globex.sys.Keys()), len(acme.sys.Keys()); n != 3 || m != 3 {
		t.Errorf("%d and %d tickets, people made 3", m, n)
	}
	for _, key := range acme.sys.Keys()[1:2] {
		acme.shows(key, "title", "changed")
	}
}

// What a system that declares to normalise makes of a write is its spelling, with
// neither history nor a revision to prove it.
func TestASpellingIsNoEdit(t *testing.T) {
	w, acme, globex, a, b := calm(t, func(c *connectors.Capabilities) {
		c.History, c.WriteRevision, c.Conditional, c.Revisions = false, false, false, false
	})
	fold := memory.Fault{Kind: memory.Normalise, Field: "description", Form: memory.FormFold}
	globex.sys.SetFaults(fold)
	globex.cfg.Systems = map[string]core.System{"desk": {Capabilities: globex.sys.Capabilities(), Binding: testBinding{}}}
	acme.edit(a, "description", "It **Smokes**")
	w.rest()
	globex.shows(b, "description", "it **smokes**")
	acme.shows(a, "description", "It **Smokes**")
	acme.wrote(connectors.WriteUpdate, 0)
}

// An automation that only respells our write answers no comment of that second.
func TestARespellingAnswersNoComment(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil, memory.Fault{
		Kind: memory.Automation, Field: "description", Form: memory.FormMarkup, Duration: 700 * time.Millisecond,
	})
	_, err := acme.sys.AddComment("jane", a, "look", false, time.Time{})
	w.must(err)
	acme.edit(a, "description", "**now**")
	w.rest()
	globex.shows(b, "description", "__now__")
	acme.shows(a, "description", "**now**")
	acme.wrote(connectors.WriteUpdate, 0)
}

// Two edits by a clock that ran away, refused in either order, are both said again.
func TestRefusalsOutOfOrderHoldNothing(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	w.ahead, w.hub.drift = 60_000, 5000
	acme.edit(a, "title", "one")
	acme.observe(a)
	w.now -= 1000 // in the same millisecond
	acme.edit(a, "title", "two")
	acme.observe(a)
	all := acme.pending()
	if len(all) != 2 {
		t.Fatalf("%d ops wait", len(all))
	}
	first, second := w.hub.publish(all[0], w.now), w.hub.publish(all[1], w.now)
	for _, r := range []core.OpResult{second, first} {
		acme.step(core.Acked{NowMillis: acme.clock(), HubMillis: w.now, Pact: "ops", Epoch: w.hub.epoch, Results: []core.OpResult{r}})
		if h := acme.holds(); len(h) > 0 {
			t.Fatalf("held: %v", h)
		}
	}
	w.rest()
	globex.shows(b, "title", "two")
}

// A write that never came is not taken for done because what stood there before
// says the same in another spelling.
func TestUnchangedIsNoSpelling(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil, memory.Fault{Kind: memory.Normalise, Field: "description", Form: memory.FormTrim})
	globex.cfg.Systems = map[string]core.System{"desk": {Capabilities: globex.sys.Capabilities(), Binding: testBinding{}}}
	globex.sys.SetFaults(memory.Fault{
		Kind: memory.FailBefore, Class: connectors.ClassUnknown, Calls: []memory.Call{memory.CallUpdate}, Times: 1,
	})
	acme.edit(a, "description", "[smokes]")
	w.rest()
	globex.shows(b, "description", "[smokes]")
}

// A clock that was ahead of the hub's, and was set right, makes stamps of its own
// time again, and what was put off by it is not put off for years.
func TestAClockThatWasSetRight(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	w.ahead, w.hub.drift = 10*365*24*3600*1000, 5000
	acme.sys.SetFaults(memory.Fault{Kind: memory.FailBefore, Class: connectors.ClassUnavailable, Calls: []memory.Call{memory.CallRead}, Times: 1})
	acme.edit(a, "title", "early")
	acme.observe(a) // fails, and is put off by the wrong clock
	w.ahead = 0
	w.rest()
	globex.shows(b, "title", "early")

	w.ahead = 60_000
	acme.edit(a, "title", "ahead")
	w.rest() // refused, and said again
	globex.shows(b, "title", "ahead")
	w.ahead = 0
	acme.greet()
	acme.edit(a, "title", "right")
	w.rest()
	if at := acme.register(a, "title").Op.Stamp.Millis(); at < w.now-60_000 {
		t.Errorf("the stamp is %d ms behind", w.now-at)
	}
}
