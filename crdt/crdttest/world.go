package crdttest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/hlc"
	"github.com/entente-sync/entente/crdt/value"
)

// World is a few agents that edit one register through a Log. It knows what
// each user had truly seen, however the ops say it, and reports every edit that
// was lost in silence.
//
// An agent serves one or two systems. Each system shows a version, until the
// agent applies a newer one; its user edits what it shows. Agents publish their
// outboxes in order and read the newest version whenever they are chosen, so
// they are late, or long offline, as chance will have it. Clocks are skewed, agents
// are killed, acks get lost, and the log is rebuilt in a new epoch.
type World struct {
	Log    *Log
	choose func(n int) int // 0..n-1
	agents []*agent
	seen   map[crdt.OpID]map[crdt.OpID]bool // true causal history of each op
	sent   []crdt.OpID
	now    int64

	// Rough lets outboxes be published in any order and ops be refused for good,
	// their successors not re-based. The rule must still lose nothing, but may
	// record what is no conflict.
	Rough bool
	// LoserOffsets makes agents take the offset of a losing op for a birth. It is
	// a known mistake, here to show that the world finds it.
	LoserOffsets bool
}

type agent struct {
	author  crdt.Author
	seq     crdt.Seq
	feed    crdt.Register // the newest version read
	cursor  crdt.Position
	outbox  []*pending
	systems []*system
}

type pending struct {
	version crdt.Register
	sent    bool
	at      crdt.Position
}

type system struct {
	shown      crdt.Register
	skewMillis int64
}

// NewWorld builds a world whose chance is choose.
func NewWorld(choose func(n int) int) *World {
	w := &World{Log: NewLog(), choose: choose, seen: map[crdt.OpID]map[crdt.OpID]bool{}, now: 1000}
	for i := range 2 + choose(3) {
		a := &agent{author: crdt.Author{Site: crdt.Site(fmt.Sprintf("site%d", i)), Agent: "one", Incarnation: 1}}
		for range 1 + choose(2) {
			a.systems = append(a.systems, &system{skewMillis: int64(choose(11) - 5)})
		}
		w.agents = append(w.agents, a)
	}
	return w
}

// Run takes steps, then lets every agent catch up. It returns the first
// violation.
func (w *World) Run(steps int) error {
	for range steps {
		if err := w.step(); err != nil {
			return err
		}
	}
	for range 2 { // the second round reads what the first one published
		for _, a := range w.agents {
			for range len(a.outbox) {
				if err := w.publish(a); err != nil {
					return err
				}
			}
			w.read(a)
			for _, s := range a.systems {
				s.shown = a.wanted()
			}
		}
	}
	return w.converged()
}

func (w *World) step() error {
	w.now += int64(w.choose(3))
	a := w.agents[w.choose(len(w.agents))]
	s := a.systems[w.choose(len(a.systems))]
	switch w.choose(20) {
	case 0, 1, 2, 3:
		return w.edit(a, s)
	case 4, 5, 6, 7, 8, 9:
		return w.publish(a)
	case 10, 11, 12:
		w.read(a)
	case 13, 14, 15, 16:
		s.shown = a.wanted()
	case 17, 18: // killed: a new incarnation inherits the outbox
		a.author.Incarnation++
		a.seq = 0
	case 19:
		w.Log.Rebuild()
	}
	return nil
}

// edit is a user's, on what the system shows.
func (w *World) edit(a *agent, s *system) error {
	clock := w.now + s.skewMillis
	stamp, err := hlc.Next(clock, clock, s.shown.Op.Stamp)
	if err != nil {
		return err
	}
	a.seq++
	op := Op(stamp, a.author.Site, a.seq, "")
	op.Author, op.Base = a.author, baseOn(&s.shown)
	op.Value = crdt.Plain(value.Int(int64(w.choose(2))))
	saw := map[crdt.OpID]bool{}
	if !s.shown.IsZero() {
		maps.Copy(saw, w.seen[s.shown.Op.ID()])
		saw[s.shown.Op.ID()] = true
	}
	w.seen[op.ID()] = saw
	s.shown = crdt.NewRegister(op, crdt.Position{})
	a.outbox = append(a.outbox, &pending{version: s.shown})
	return nil
}

// baseOn is rule 1: an edit on an own op of unknown position inherits its base.
func baseOn(shown *crdt.Register) crdt.Base {
	if shown.IsZero() {
		return crdt.Base{}
	}
	b := crdt.Base{Pred: shown.Op.ID(), Birth: shown.Birth}
	if b.Birth.IsZero() {
		b.Birth = shown.Op.Base.Birth
	}
	return b
}

func (w *World) publish(a *agent) error {
	var unsent []*pending
	for _, p := range a.outbox {
		if !p.sent {
			unsent = append(unsent, p)
		}
	}
	if len(unsent) == 0 {
		if len(a.outbox) > 0 { // an ack was lost: publish again
			w.Log.Apply(a.outbox[w.choose(len(a.outbox))].version.Op)
		}
		return nil
	}
	p := unsent[0]
	if w.Rough {
		p = unsent[w.choose(len(unsent))]
	}
	if w.Rough && w.choose(10) == 0 { // refused; the system shows it until the next write
		a.outbox = slices.DeleteFunc(a.outbox, func(q *pending) bool { return q == p })
		return nil
	}
	before := w.Log.Current
	open := slices.Collect(maps.Keys(w.Log.Open))
	answer := w.Log.Apply(p.version.Op)
	p.sent, p.at = true, answer.At
	w.sent = append(w.sent, p.version.Op.ID())
	if w.LoserOffsets && answer.Verdict == crdt.VerdictLost {
		w.mistake(a, p)
	}
	return w.check(&before, open, &p.version, answer.Verdict)
}

// mistake gives a losing op the offset of its conflict record for a birth.
func (w *World) mistake(a *agent, p *pending) {
	p.version.Birth = p.at
	for _, s := range a.systems {
		if s.shown.Digest == p.version.Digest {
			s.shown.Birth = p.version.Birth
		}
	}
}

// read takes the newest version from the feed; an op leaves the outbox only when
// the cursor has passed it.
func (w *World) read(a *agent) {
	a.feed = w.Log.Current
	a.cursor = crdt.Position{Epoch: w.Log.Epoch, Offset: w.Log.Head}
	a.outbox = slices.DeleteFunc(a.outbox, func(p *pending) bool { return p.sent && w.Log.Lineage.Covers(a.cursor, p.at) })
}

// wanted is what an agent's systems should show: the join of what it read and of
// its own pending ops.
func (a *agent) wanted() crdt.Register {
	r := a.feed
	for _, p := range a.outbox {
		r = *crdt.Join(&r, &p.version)
	}
	return r
}

// check compares one verdict with the truth.
func (w *World) check(before *crdt.Register, open []crdt.OpID, op *crdt.Register, v crdt.Verdict) error {
	id, cur := op.Op.ID(), before.Op.ID()
	sawCur := !before.IsZero() && w.seen[id][cur]
	switch v {
	case crdt.VerdictReplace:
		if !sawCur {
			return fmt.Errorf("%s replaced %s unseen", id, cur)
		}
	case crdt.VerdictOld:
		older := func(later crdt.OpID) bool { return w.seen[later][id] }
		if !older(cur) && !slices.ContainsFunc(open, older) {
			return fmt.Errorf("%s was dropped as old, and nothing that is kept had seen it", id)
		}
	case crdt.VerdictWon, crdt.VerdictLost:
		if !w.Rough && (sawCur || w.seen[cur][id]) {
			return fmt.Errorf("%s and %s are no conflict", id, cur)
		}
	case crdt.VerdictMalformed, crdt.VerdictSame:
		return fmt.Errorf("%s was judged %s", id, v)
	}
	if want := crdt.Join(before, op); want.Digest != w.Log.Current.Digest {
		return fmt.Errorf("%s: the rule keeps another version than the join", id)
	}
	return w.kept()
}

// kept is invariant 2: every op is current, or in an open record, or was seen by
// one that is.
func (w *World) kept() error {
	for _, id := range w.sent {
		had := func(later crdt.OpID) bool { return later == id || w.seen[later][id] }
		if had(w.Log.Current.Op.ID()) {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(w.Log.Open)), had) {
			return fmt.Errorf("%s is lost: %d ops, current %s", id, len(w.sent), w.Log.Current.Op.ID())
		}
	}
	return nil
}

func (w *World) converged() error {
	for _, a := range w.agents {
		for _, s := range a.systems {
			if s.shown.Digest != w.Log.Current.Digest {
				return fmt.Errorf("at rest a system of %s shows another version than the hub's", a.author)
			}
		}
	}
	return nil
}
