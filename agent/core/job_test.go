package core_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt/value"
)

func (s *site) job() (j core.Job) {
	s.view(func(tx store.Tx) (err error) { j, _, err = core.JobOf(tx, "desk"); return err })
	return j
}

func (s *site) ask(ev core.Event) core.Answer {
	s.w.t.Helper()
	for _, effect := range s.effects(ev) {
		if a, ok := effect.(core.Answer); ok {
			return a
		}
	}
	s.w.fatalf("no answer to %T", ev)
	return core.Answer{}
}

func (s *site) start(kind core.JobKind, change func(*core.JobStarted)) {
	s.w.t.Helper()
	e := core.JobStarted{NowMillis: s.clock(), System: "desk", Kind: kind, By: "ana"}
	if change != nil {
		change(&e)
	}
	if a := s.ask(e); a != (core.Answer{}) {
		s.w.fatalf("start: %+v", a)
	}
}

func (s *site) counts(want core.JobCount) {
	s.w.t.Helper()
	j := s.job()
	if j.Count != want || j.State != core.JobDone || j.Total != want.Done() || !j.Whole {
		s.w.fatalf("job %+v, want %+v", j, want)
	}
}

// outsiders makes a binding that let only "vip" titles in let everything in, with
// n records that stayed out until then.
func outsiders(t *testing.T, n int) (w *world, acme, globex *site) {
	t.Helper()
	caps := memory.All()
	w = newWorld(t, 3, caps)
	acme, globex = w.sites[0], w.sites[1]
	sys := acme.cfg.Systems["desk"]
	open := sys.Binding
	sys.Binding = testBinding{enters: func(local map[string]value.Value) bool { return local["title"].AsText() == "vip" }}
	acme.cfg.Systems["desk"] = sys
	acme.sys.Create("jane", fields("title", "vip", "description", "d", "status", "new"), time.Time{})
	for i := range n {
		acme.sys.Create("jane", fields("title", fmt.Sprint("t", i), "description", "d", "status", "new"), time.Time{})
	}
	w.rest()
	if got := len(globex.sys.Keys()); got != 1 {
		t.Fatalf("globex shows %d", got)
	}
	sys.Binding = open
	acme.cfg.Systems["desk"] = sys
	return w, acme, globex
}

func TestBackfillBringsWhatStayedOut(t *testing.T) {
	w, acme, globex := outsiders(t, 12)
	acme.start(core.JobBackfill, nil)
	w.rest()
	acme.counts(core.JobCount{Entered: 12, Unchanged: 1})
	if got := len(globex.sys.Keys()); got != 13 {
		t.Errorf("globex shows %d", got)
	}
	acme.start(core.JobBackfill, nil) // again: nothing is doubled
	w.rest()
	acme.counts(core.JobCount{Unchanged: 13})
	if got := len(globex.sys.Keys()); got != 13 || len(acme.sys.Keys()) != 13 {
		t.Errorf("%d and %d records", len(acme.sys.Keys()), got)
	}
}

// A dry run counts what a run does, and writes nothing anywhere.
func TestDryRunWritesNothing(t *testing.T) {
	w, acme, globex := outsiders(t, 7)
	before, notices := acme.sys.Counts(), len(acme.notices)
	head := w.hub.head
	acme.start(core.JobBackfill, func(e *core.JobStarted) { e.DryRun = true })
	w.rest()
	acme.counts(core.JobCount{Entered: 7, Unchanged: 1})
	if len(globex.sys.Keys()) != 1 || w.hub.head != head || len(acme.pending()) != 0 || len(acme.notices) != notices {
		t.Errorf("something happened: hub %d to %d", head, w.hub.head)
	}
	if after := acme.sys.Counts(); fmt.Sprint(after.Kinds) != fmt.Sprint(before.Kinds) {
		t.Errorf("writes %v to %v", before.Kinds, after.Kinds)
	}
	acme.start(core.JobBackfill, nil)
	w.rest()
	acme.counts(core.JobCount{Entered: 7, Unchanged: 1})
}

func TestSinceAndFilterLeaveOut(t *testing.T) {
	w, acme, globex := outsiders(t, 4)
	w.now += 3_600_000
	late := acme.sys.Keys()[1]
	sys := acme.cfg.Systems["desk"]
	sys.Filter = func(source string, local map[string]value.Value) (bool, *core.Problem) {
		return local["title"].AsText() == source, nil
	}
	acme.cfg.Systems["desk"] = sys
	acme.start(core.JobBackfill, func(e *core.JobStarted) { e.SinceMillis = w.now - 1000 })
	w.rest()
	acme.counts(core.JobCount{Unchanged: 1, Left: 4})
	rec, _ := acme.sys.Get(late)
	acme.start(core.JobBackfill, func(e *core.JobStarted) { e.Filter = rec.Fields["title"].AsText() })
	w.rest()
	acme.counts(core.JobCount{Entered: 1, Unchanged: 1, Left: 3})
	if len(globex.sys.Keys()) != 2 {
		t.Errorf("globex shows %d", len(globex.sys.Keys()))
	}
}

// Killed between any two things that happen, it goes on where it was.
func TestBackfillSurvivesKills(t *testing.T) {
	for kill := 1; kill < 40; kill += 3 {
		for _, dry := range []bool{false, true} {
			w, acme, globex := outsiders(t, 9)
			acme.start(core.JobBackfill, func(e *core.JobStarted) { e.DryRun = dry })
			for range kill {
				if !acme.work() {
					break
				}
			}
			acme.crashes++
			acme.open()
			w.rest()
			acme.counts(core.JobCount{Entered: 9, Unchanged: 1})
			if got, want := len(globex.sys.Keys()), map[bool]int{false: 10, true: 1}[dry]; got != want {
				t.Fatalf("killed after %d, dry %v: globex shows %d", kill, dry, got)
			}
		}
	}
}

// An edit made while a job waits for its rate crosses at once.
func TestLiveEditsOvertakeAJob(t *testing.T) {
	_, acme, globex := outsiders(t, 30)
	acme.start(core.JobBackfill, func(e *core.JobStarted) { e.Rate = 1 })
	for acme.work() {
	}
	key := acme.sys.Keys()[0]
	acme.edit(key, "title", "live")
	for range 3 {
		acme.list()
		for acme.work() || acme.publish() || globex.feed() || globex.work() {
		}
	}
	globex.shows(globex.sys.Keys()[0], "title", "live")
	j := acme.job()
	if j.State != core.JobRunning || j.Waits != "rate" || j.Count.Done() > 5 || !j.Whole && j.Total == 0 {
		t.Errorf("job %+v", j)
	}
}

func TestJobWaitsForItsSystem(t *testing.T) {
	w, acme, _ := outsiders(t, 3)
	acme.sys.SetFaults(memory.Fault{
		Kind: memory.FailBefore, Share: 1, Class: connectors.ClassThrottled, Calls: []memory.Call{memory.CallRead},
	})
	acme.start(core.JobBackfill, nil)
	for acme.work() {
	}
	if j := acme.job(); j.State != core.JobRunning || j.Waits != "system.throttled" || j.WaitsMillis <= acme.clock() || j.Count.Done() != 0 {
		t.Errorf("job %+v", j)
	}
	acme.sys.SetFaults()
	w.rest()
	acme.counts(core.JobCount{Entered: 3, Unchanged: 1})
}

func TestJobIsPausedResumedAndCancelled(t *testing.T) {
	w, acme, globex := outsiders(t, 6)
	tell := func(state core.JobState) core.Answer {
		return acme.ask(core.JobTold{NowMillis: acme.clock(), System: "desk", State: state})
	}
	if a := tell(core.JobPaused); a.Refusal.Code != "job.unknown" {
		t.Errorf("%+v", a)
	}
	acme.start(core.JobBackfill, nil)
	if a := acme.ask(core.JobStarted{NowMillis: acme.clock(), System: "desk", Kind: core.JobResync}); a.Refusal.Code != "job.running" {
		t.Errorf("%+v", a)
	}
	if a := acme.ask(core.JobStarted{NowMillis: acme.clock(), System: "none", Kind: core.JobResync}); a.Refusal.Code != "job.system" {
		t.Errorf("%+v", a)
	}
	if tell(core.JobPaused) != (core.Answer{}) || tell(core.JobPaused) != (core.Answer{Already: true}) {
		t.Error("pause")
	}
	w.rest()
	if j := acme.job(); j.State != core.JobPaused || j.Count.Done() != 0 || len(globex.sys.Keys()) != 1 {
		t.Errorf("paused: %+v", j)
	}
	if tell(core.JobRunning) != (core.Answer{}) {
		t.Error("resume")
	}
	acme.work()
	acme.work()
	if tell(core.JobCancelled) != (core.Answer{}) || tell(core.JobRunning).Refusal.Code != "job.ended" {
		t.Error("cancel")
	}
	w.rest()
	if j := acme.job(); j.State != core.JobCancelled || j.EndedMillis == 0 {
		t.Errorf("cancelled: %+v", j)
	}
	acme.start(core.JobBackfill, nil)
	w.rest()
	if j := acme.job(); j.State != core.JobDone || j.Count.Entered+j.Count.Unchanged != j.Total || len(globex.sys.Keys()) != 7 {
		t.Errorf("again: %+v", j)
	}
}

// A resync reads what is linked, and says only what differs.
func TestResyncSaysOnlyWhatDiffers(t *testing.T) {
	w, acme, globex, a, b := calm(t, nil)
	ops := w.hub.head
	acme.start(core.JobResync, nil)
	w.rest()
	acme.counts(core.JobCount{Unchanged: 1})
	if w.hub.head != ops {
		t.Errorf("%d ops", w.hub.head-ops)
	}
	acme.edit(a, "title", "unseen")
	acme.start(core.JobResync, func(e *core.JobStarted) { e.DryRun = true })
	for acme.work() {
	}
	acme.counts(core.JobCount{Changed: 1})
	globex.shows(b, "title", "printer")
	acme.start(core.JobResync, nil)
	for acme.work() || acme.publish() || globex.feed() || globex.work() {
	}
	acme.counts(core.JobCount{Changed: 1})
	globex.shows(b, "title", "unseen")
	w.rest()
}

// jobSome lets somebody somewhere begin a job, or speak to the one that runs.
func (w *world) jobSome() {
	s := w.sites[w.rng.IntN(len(w.sites))]
	kind := core.JobBackfill + core.JobKind(w.rng.IntN(2))
	switch w.rng.IntN(4) {
	case 0:
		s.ask(core.JobTold{NowMillis: s.clock(), System: "desk", State: core.JobRunning + core.JobState(w.rng.IntN(2))})
	case 1:
		s.ask(core.JobTold{NowMillis: s.clock(), System: "desk", State: core.JobCancelled})
	default:
		s.ask(core.JobStarted{
			NowMillis: s.clock(), System: "desk", Kind: kind, DryRun: w.rng.IntN(2) == 0, Rate: uint64(w.rng.IntN(4)),
		})
	}
}
