package core_test

import (
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
)

// A listed record that the system will not show at first is asked for again.
func TestNewRecordThatIsNotShownAtFirst(t *testing.T) {
	for _, kind := range []memory.Kind{memory.Hidden, memory.Denied} {
		w := newWorld(t, 1, memory.All())
		acme, globex := w.sites[0], w.sites[1]
		acme.sys.SetFaults(memory.Fault{Kind: kind, Calls: []memory.Call{memory.CallRead}, Times: 1})
		acme.sys.Create("jane", fields("title", "printer", "status", "new"), time.Time{})
		w.rest()
		if n := len(globex.sys.Keys()); n != 1 {
			t.Errorf("%s: globex shows %d tickets", kind, n)
		}
	}
}

// A revision that is a coarse time does not stand for what was read within its grain.
func TestEditWithinTheGrainOfARevision(t *testing.T) {
	w := newWorld(t, 1, memory.All(), memory.Fault{Kind: memory.ClockCoarse, Duration: time.Second})
	acme, globex := w.sites[0], w.sites[1]
	key := acme.sys.Create("jane", fields("title", "printer", "status", "new"), time.Time{})
	acme.list()
	for acme.work() {
		continue
	}
	w.must(acme.sys.Edit("jane", key, fields("title", "plotter"), time.Time{}))
	w.now += 5000
	w.rest()
	globex.shows(globex.sys.Keys()[0], "title", "plotter")
}

// A record that is deleted between our write and its read-back leaves no write open.
func TestDeleteBeforeTheReadBack(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "title", "plotter")
	for range 1000 {
		if globex.sys.Counts().Kinds[connectors.WriteUpdate] > 0 {
			break
		}
		acme.list()
		acme.work()
		acme.publish()
		globex.feed()
		globex.work()
	}
	w.must(globex.sys.Delete(b))
	for range 4 {
		globex.list()
		for globex.work() {
			continue
		}
		w.now += 10_000
		globex.step(core.Woken{NowMillis: globex.clock()})
	}
	globex.wrote(connectors.WriteUpdate, 1)
	globex.tx(func(tx store.Tx) error {
		if st, err := core.StatusOf(tx, "desk"); err != nil || st.Intents > 0 {
			t.Errorf("%d writes are open (%v)", st.Intents, err)
		}
		return nil
	})
}
