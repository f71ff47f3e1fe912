package ledger

import (
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Lane is one agent's outbox in one pact, across incarnations.
type Lane struct {
	ledger *Ledger
	id     int
	name   string
	ops    []*entry // by place, from 1
}

// Lane begins a lane.
func (l *Ledger) Lane(name string) *Lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	lane := &Lane{ledger: l, id: len(l.lanes), name: name}
	l.lanes = append(l.lanes, lane)
	return lane
}

// Make enters an op before it is sent, and returns its place. refused says that
// the pact forbids it.
func (a *Lane) Make(op crdt.Op, refused bool) int {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{op: op, digest: op.Digest(), lane: a.id, place: len(a.ops) + 1, refused: refused}
	e.lost = crdt.LostField(op.Key.Field, e.digest)
	a.ops = append(a.ops, e)
	l.byID[name{op.Key.Pact, op.ID()}] = e
	return e.place
}

// Attempt is one batch on its way.
type Attempt struct {
	lane     *Lane
	from, to int // places
	called   int64

	returned int64
	good     [2]int // places that were answered for good; zero: none
	gap      int    // first place that was answered with a gap; 0: none
	unknown  bool   // what was not answered for good may be applied later
}

// Send enters a batch before it leaves.
func (a *Lane) Send(from, to int) *Attempt {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &Attempt{lane: a, from: from, to: to, called: l.now()}
	for _, e := range a.ops[from-1 : to] {
		if e.attempts++; e.attempts == 1 {
			e.sent = t.called
		}
	}
	l.attempts = append(l.attempts, t)
	return t
}

// Break says that no answer will come.
func (t *Attempt) Break() {
	l := t.lane.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	t.returned, t.unknown = l.now(), true
}

// Answer enters what the hub said, and returns how far everything is answered for
// good.
func (t *Attempt) Answer(results []wire.OpResult) error {
	l := t.lane.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	t.returned = l.now()
	if len(results) != t.to-t.from+1 {
		l.violate(Answer, "%s: %d results for places %d to %d", t.lane.name, len(results), t.from, t.to)
		return fmt.Errorf("%d results", len(results))
	}
	for i, r := range results {
		place := t.from + i
		switch r.Outcome {
		case wire.OutcomeApplied, wire.OutcomeRefused:
			if t.good[0] == 0 {
				t.good[0] = place
			}
			t.good[1] = place
			l.settle(t, t.lane.ops[place-1], r)
		case wire.OutcomeGap:
			if t.gap == 0 {
				t.gap = place
			}
		default:
			t.unknown = t.unknown || r.Reason == wire.ReasonLeaderLost
		}
	}
	return nil
}

// settle enters an answer for good.
func (l *Ledger) settle(t *Attempt, e *entry, r wire.OpResult) {
	id := e.op.ID()
	if e.answered != 0 {
		if r.Outcome != e.outcome || r.Reason != e.reason {
			l.violate(Answer, "%s: %s %q, now %s %q", id, e.outcome, e.reason, r.Outcome, r.Reason)
		}
		return
	}
	e.answered, e.outcome, e.reason = t.returned, r.Outcome, r.Reason
	l.acked++
	switch {
	case e.refused != (r.Outcome == wire.OutcomeRefused):
		l.violate(Answer, "%s: %s %q", id, r.Outcome, r.Reason)
	case r.Outcome == wire.OutcomeRefused:
		return
	case r.Offset == 0:
		l.violate(Answer, "%s: applied without an offset", id)
	}
	if e.attempts == 1 {
		e.effect = r.Offset
		if e.birth != 0 && e.birth != e.effect {
			l.violate(Answer, "%s was acked at offset %d and is at %d", id, e.effect, e.birth)
		}
	}
	if pred := l.byID[name{e.op.Key.Pact, e.op.Base.Pred}]; pred != nil {
		pred.succeeded = true
	}
}
