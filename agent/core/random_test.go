package core_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
)

// seeds is how many seeds each world runs; SEEDS asks for more.
func seeds(t *testing.T) uint64 {
	n, err := strconv.ParseUint(os.Getenv("SEEDS"), 10, 32)
	if err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 10
	}
	return 40
}

type kind struct {
	name    string
	caps    func(*connectors.Capabilities)
	faults  []memory.Fault
	crashes bool
	lossy   bool // the system can neither compare-and-set nor tell its history
	restore bool // the hub goes back to a backup, once
	oldDisk bool // an agent goes back to an older copy of its store, once
	drift   bool // an agent's clock runs ahead until the hub refuses its stamps
	persons bool // people put lost values back
	jobs    bool // people start, stop and cancel backfills and resyncs
}

var doubtful = []memory.Fault{
	{Kind: memory.FailAfter, Share: 0.2, Calls: []memory.Call{memory.CallCreate, memory.CallUpdate, memory.CallComment}},
	{Kind: memory.FailBefore, Share: 0.1, Class: connectors.ClassUnavailable},
	{
		Kind: memory.FailBefore, Share: 0.1, Class: connectors.ClassUnknown,
		Calls: []memory.Call{memory.CallCreate, memory.CallUpdate, memory.CallComment},
	},
	{Kind: memory.Touch, Share: 0.05},
	{Kind: memory.Lag, Share: 0.5, Duration: 3 * time.Second},
}

var trims = memory.Fault{Kind: memory.Normalise, Field: "description", Form: memory.FormTrim}

func worlds() []kind {
	return []kind{
		{name: "healthy"},
		{name: "crashes", crashes: true, faults: []memory.Fault{trims}},
		{name: "doubt", crashes: true, faults: append(slices.Clone(doubtful), trims)},
		{name: "history only", crashes: true, faults: doubtful, caps: func(c *connectors.Capabilities) {
			c.Conditional, c.WriteRevision = false, false
		}},
		{
			name: "compare-and-set only", crashes: true, faults: append(slices.Clone(doubtful), trims),
			caps: func(c *connectors.Capabilities) { c.History = false },
		},
		{name: "no correlation", crashes: true, faults: doubtful, caps: func(c *connectors.Capabilities) { c.Correlation = false }},
		{name: "markup", crashes: true, faults: []memory.Fault{{Kind: memory.Normalise, Field: "description", Form: memory.FormMarkup}}},
		{name: "runaway clock", crashes: true, drift: true},
		{name: "hub restored", crashes: true, restore: true},
		{name: "people restore", crashes: true, persons: true, faults: []memory.Fault{trims}},
		{name: "people restore on a restored hub", crashes: true, persons: true, restore: true},
		{name: "jobs", crashes: true, jobs: true, faults: append(slices.Clone(doubtful), trims)},
		{name: "jobs, no correlation", crashes: true, jobs: true, restore: true, caps: func(c *connectors.Capabilities) { c.Correlation = false }},
		{name: "older disk", oldDisk: true, lossy: true},
		{name: "automation", crashes: true, faults: []memory.Fault{{
			Kind: memory.Automation, Field: "description", Form: memory.FormMarkup, Duration: 700 * time.Millisecond,
		}}},
		{name: "bare", crashes: true, lossy: true, faults: append(slices.Clone(doubtful), trims), caps: func(c *connectors.Capabilities) {
			c.History, c.Conditional, c.WriteRevision = false, false, false
		}},
	}
}

// TestRandomWorlds is the falsifier of the agent's promises: at rest both
// systems show the registers, nothing is twice, every comment is there once, and
// no edit is lost unless a later one saw it or a conflict record keeps it.
func TestRandomWorlds(t *testing.T) {
	first := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		first = n
	}
	for _, k := range worlds() {
		t.Run(k.name, func(t *testing.T) {
			for seed := first; seed < first+seeds(t); seed++ {
				if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runWorld(t, k, seed) }) {
					t.Fatalf("world %q, SEED=%d", k.name, seed)
				}
				if os.Getenv("SEED") != "" {
					return
				}
			}
		})
	}
}

func runWorld(t *testing.T, k kind, seed uint64) {
	caps := memory.All()
	caps.StaleMax = 4 * time.Second
	if k.caps != nil {
		k.caps(&caps)
	}
	w := newWorld(t, seed, caps, k.faults...)
	w.sites[1].skew = time.Duration(w.rng.IntN(120)-60) * time.Second
	if k.drift {
		w.hub.drift = 5000
		w.ahead = 60_000
	}
	w.chaos(200, k.crashes)
	backup, disk := w.hub.clone(), w.sites[0].store.(*store.Memory).Clone()
	w.chaos(100, k.crashes)
	if k.restore {
		w.restoreHub(backup)
	}
	if k.oldDisk {
		w.logf("acme goes back to an older disk")
		w.sites[0].store = disk
		w.now += 2000
		w.sites[0].open()
	}
	for range 20 {
		w.chaos(5, k.crashes)
		if k.persons {
			w.restoreSome()
		}
		if k.jobs {
			w.jobSome()
		}
	}
	w.heal()
	w.rest()
	w.check(k)
	before := w.writes()
	for _, s := range w.sites { // a sweep at rest writes nothing
		for _, key := range s.sys.Keys() {
			s.step(core.Hinted{NowMillis: s.clock(), System: "desk", Keys: []connectors.Key{key}})
		}
	}
	w.rest()
	if w.writes() != before {
		w.fatalf("a sweep at rest wrote %d times", w.writes()-before)
	}
}

// restoreHub puts an older hub in place. Its members hear of it when they connect.
func (w *world) restoreHub(backup *modelHub) {
	w.logf("hub goes back to offset %d", backup.head)
	backup.lineage = append(backup.lineage, crdt.Fork{Child: backup.epoch + 1, Parent: backup.epoch, At: backup.head})
	backup.epoch++
	for v := range w.hub.lost { // recorded once is enough for a person to have seen it
		backup.lost[v] = true
	}
	w.hub = backup
	for _, s := range w.sites {
		s.greet()
	}
}

func (w *world) heal() {
	for _, s := range w.sites {
		var stay []memory.Fault
		for _, f := range s.cfg.Systems["desk"].Capabilities.Normalises {
			stay = append(stay, memory.Fault{Kind: memory.Normalise, Field: f, Form: memory.FormTrim})
		}
		s.sys.SetFaults(stay...)
	}
}

func (w *world) writes() int {
	n := 0
	for _, s := range w.sites {
		n += s.writes
	}
	return n
}

func (w *world) check(k kind) {
	records := 0
	for key := range w.hub.regs {
		if key.Type == "ticket" && key.Field == crdt.FieldLife {
			records++
		}
	}
	for _, s := range w.sites {
		keys := s.sys.Keys()
		if len(keys) != records {
			w.fatalf("%s shows %d records, the pact has %d", s.name, len(keys), records)
		}
		s.tx(func(tx store.Tx) error {
			if all, err := outbox.List(tx, "ops"); err != nil || len(all) > 0 {
				w.fatalf("%s: outbox has %d ops at rest (%v)", s.name, len(all), err)
			}
			if holds, err := core.Holds(tx, ""); err != nil || len(holds) > 0 {
				w.fatalf("%s: holds at rest: %+v (%v)", s.name, holds, err)
			}
			for _, key := range keys {
				w.checkRecord(tx, s, key)
			}
			return nil
		})
	}
	w.checkComments()
	if !k.lossy {
		w.checkEdits()
	}
}

// checkRecord compares what a system shows with the hub's registers.
func (w *world) checkRecord(tx store.Tx, s *site, key connectors.Key) {
	rec, _ := s.sys.Get(key)
	id, ok, err := shadow.ByKey(tx, "desk", key)
	if err != nil || !ok {
		w.fatalf("%s: %s is not linked (%v)", s.name, key, err)
	}
	for _, f := range (testBinding{}).Fields() {
		at := crdt.Key{Pact: "ops", Type: "ticket", Record: id, Field: f}
		r := w.hub.regs[at]
		if r == nil {
			w.fatalf("%s: %s has no register %s", s.name, key, f)
		}
		known, err := inbox.Register(tx, at)
		if err != nil || known.Op.ID() != r.Op.ID() {
			w.fatalf("%s: inbox of %s is %s, hub has %s", s.name, at, known.Op.ID(), r.Op.ID())
		}
		want, err := crdt.OpenPlain(r.Op.Value)
		w.must(err)
		got, problem := testBinding{}.Get(f, rec.Fields)
		if problem != nil || strings.TrimSpace(got.AsText()) != strings.TrimSpace(want.AsText()) {
			w.fatalf("%s: %s shows %s = %s, the register is %s by %s", s.name, key, f, got, want, r.Op.ID())
		}
	}
}

// checkComments counts every public comment once on each side, and internal
// ones at home only.
func (w *world) checkComments() {
	for i, s := range w.sites {
		other := w.sites[1-i]
		there := map[string]int{}
		for _, key := range other.sys.Keys() {
			rec, _ := other.sys.Get(key)
			for _, c := range rec.Comments {
				there[c.Body]++
			}
		}
		for _, key := range s.sys.Keys() {
			rec, _ := s.sys.Get(key)
			for _, c := range rec.Comments {
				if c.Author.Self {
					continue
				}
				want := 1
				if c.Internal {
					want = 0
				}
				if n := there[testComments{}.Body("jane", s.name, c.Body)]; n != want {
					w.fatalf("comment %q of %s (internal %v) is %d times at %s", c.Body, s.name, c.Internal, n, other.name)
				}
			}
		}
	}
}

// checkEdits asks of every edit whether it is current, was seen by a later one,
// or is kept by a conflict record.
func (w *world) checkEdits() {
	fine := map[string]bool{}
	for _, r := range w.hub.regs {
		if v, err := crdt.OpenPlain(r.Op.Value); err == nil {
			fine[strings.TrimSpace(v.AsText())] = true
		}
	}
	for v := range w.hub.lost {
		fine[strings.TrimSpace(v)] = true
	}
	for _, e := range w.edits {
		fine[e.saw] = true
	}
	for _, e := range w.edits {
		if !fine[e.value] {
			w.fatalf("edit %q of %s is lost", e.value, e.field)
		}
	}
}
