package core_test

import (
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
)

// handle says a word on the one hold of a field.
func (s *site) handle(field string, skip bool) core.Answer {
	s.w.t.Helper()
	h := s.holds()[field]
	for _, effect := range s.effects(core.Handled{
		NowMillis: s.clock(), System: "desk", Record: h.Record, Field: crdt.Field(field), Skip: skip, By: "ana", Reason: "why",
	}) {
		if a, ok := effect.(core.Answer); ok {
			return a
		}
	}
	s.w.fatalf("no answer")
	return core.Answer{}
}

func (s *site) causes() (out []core.Cause) {
	s.view(func(tx store.Tx) (err error) { out, err = core.Causes(tx); return err })
	return out
}

func (s *site) notes(kind core.NoticeKind) (n int) {
	for _, note := range s.notices {
		if note.Kind == kind {
			n++
		}
	}
	return n
}

// A known hold goes on, through any number of reads, and asks nobody.
func TestAckedHoldStays(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "status", "escalated")
	w.rest()
	if got := acme.handle("status", false); got != (core.Answer{}) {
		t.Fatalf("%+v", got)
	}
	acme.edit(a, "title", "second")
	w.rest()
	globex.shows(b, "status", "new")
	causes := acme.causes()
	if len(causes) != 1 || causes[0].Holds != 1 || causes[0].Handled != 1 || causes[0].Code != "value.unmapped" || !causes[0].Outgoing ||
		causes[0].Example.Key != a {
		t.Errorf("%+v", causes)
	}
	h := acme.holds()["status"]
	acme.view(func(tx store.Tx) error {
		word, ok, err := core.WordOn(tx, &h)
		if !ok || word.Skip || word.By != "ana" || word.Reason != "why" || word.AtMillis == 0 {
			t.Errorf("%+v %v", word, ok)
		}
		return err
	})
	acme.edit(a, "status", "open") // mended
	w.rest()
	globex.shows(b, "status", "open")
	acme.edit(a, "status", "escalated") // the same again is a new hold
	w.rest()
	if causes := acme.causes(); len(causes) != 1 || causes[0].Handled != 0 {
		t.Errorf("%+v", causes)
	}
}

// A skipped local edit stays at home, and stops nothing any more.
func TestSkippedEditStaysAtHome(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "status", "escalated")
	w.rest()
	if got := acme.handle("status", true); got != (core.Answer{}) {
		t.Fatalf("%+v", got)
	}
	w.rest()
	acme.shows(a, "status", "escalated")
	globex.shows(b, "status", "new")
	if len(acme.holds()) != 0 || len(acme.pending()) != 0 {
		t.Errorf("holds %+v", acme.holds())
	}
	globex.edit(b, "status", "done")
	w.rest()
	acme.shows(a, "status", "done")
	acme.edit(a, "status", "open")
	w.rest()
	globex.shows(b, "status", "open")
}

// An edit that became good before the agent looked again crosses.
func TestSkipDropsNoGoodEdit(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	acme.edit(a, "status", "escalated")
	w.rest()
	acme.edit(a, "status", "done")
	acme.handle("status", true)
	w.rest()
	globex.shows(b, "status", "done")
	if len(acme.holds()) != 0 {
		t.Errorf("holds %+v", acme.holds())
	}
}

// A skipped version from elsewhere is left out; the next one is tried.
func TestSkippedVersionIsLeftOut(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	globex.sys.SetFaults(memory.Fault{Kind: memory.Refuse, Field: "title"})
	acme.edit(a, "title", "second")
	w.rest()
	if got := globex.handle("title", true); got != (core.Answer{}) {
		t.Fatalf("%+v", got)
	}
	globex.sys.SetFaults()
	globex.observe(b)
	w.rest()
	globex.shows(b, "title", "printer")
	if causes := globex.causes(); len(causes) != 1 || causes[0].Handled != 1 || causes[0].Outgoing {
		t.Errorf("%+v", causes)
	}
	before := globex.notes(core.NoticeHeld)
	globex.sys.SetFaults(memory.Fault{Kind: memory.Refuse, Field: "title"})
	acme.edit(a, "title", "third")
	w.rest()
	if causes := globex.causes(); len(causes) != 1 || causes[0].Handled != 0 { // of another version: a new hold
		t.Errorf("%+v", causes)
	}
	if globex.notes(core.NoticeHeld) == before {
		t.Error("nobody was told of the new hold")
	}
	globex.sys.SetFaults()
	acme.edit(a, "title", "fourth")
	w.rest()
	globex.shows(b, "title", "fourth")
	if len(globex.holds()) != 0 {
		t.Errorf("holds %+v", globex.holds())
	}
}

func TestWordIsRefused(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	if got := acme.handle("title", false); got.Refusal.Code != "hold.unknown" {
		t.Errorf("%+v", got)
	}
	w.must(acme.sys.Delete(a))
	w.rest()
	if got := acme.handle("", true); got.Refusal.Code != "hold.whole" {
		t.Errorf("%+v", got)
	}
	if got := acme.handle("", false); got != (core.Answer{}) {
		t.Errorf("%+v", got)
	}
	_, _ = globex, b
}

// Holds with one cause are one line, however many records they stop.
func TestCausesAreGrouped(t *testing.T) {
	w, acme, _, a, _ := calm(t, nil)
	keys := []connectors.Key{a}
	for range 3 {
		keys = append(keys, acme.sys.Create("jane", fields("title", "more", "description", "d", "status", "new"), time.Time{}))
	}
	w.rest()
	for _, key := range keys {
		acme.edit(key, "status", "escalated")
	}
	w.rest()
	causes := acme.causes()
	if len(causes) != 1 || causes[0].Holds != 4 || causes[0].Field != "status" || causes[0].OldestMillis == 0 {
		t.Errorf("%+v", causes)
	}
}
