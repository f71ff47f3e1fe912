package ledger

import (
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Rest is what the hub holds at rest, by pact.
type Rest map[crdt.Pact]*Fold

// CheckRest holds the hub to everything that it ever answered. All ops that were
// sent have been answered for good.
func (l *Ledger) CheckRest(rest Rest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.lanes {
		for _, e := range lane.ops {
			l.checkOp(lane, e, rest)
		}
	}
	l.checkRealTime()
}

func (l *Ledger) checkOp(lane *Lane, e *entry, rest Rest) {
	switch {
	case e.answered == 0:
		l.violate(Stuck, "%s: %s has no answer", lane.name, e.op.ID())
		return
	case e.outcome == wire.OutcomeRefused:
		if e.birth != 0 {
			l.violate(Answer, "%s was refused, and is at offset %d", e.op.ID(), e.birth)
		}
		return
	case e.succeeded:
		return
	}
	fold := rest[e.op.Key.Pact]
	if cur := fold.Registers[e.op.Key]; cur.Digest == e.digest {
		return
	}
	record := e.op.Key
	record.Field = e.lost
	if _, ok := fold.Registers[record]; !ok {
		l.violate(Lost, "%s on %s, acked after %s in %d attempts (offset %d, born at %d), is not current, nobody's base, and in no conflict record",
			e.op.ID(), e.op.Key, time.Duration(e.answered-e.sent), e.attempts, e.effect, e.birth)
	}
}

// checkRealTime compares offsets with clocks: what was sent after another op was
// answered stands behind it.
func (l *Ledger) checkRealTime() {
	type moment struct {
		at     int64
		offset crdt.Offset
		e      *entry
		answer bool
	}
	byPact := map[crdt.Pact][]moment{}
	for _, t := range l.attempts {
		for _, e := range t.lane.ops[t.from-1 : t.to] {
			if offset := max(e.birth, e.effect); offset > 0 && e.sent == t.called {
				pact := e.op.Key.Pact
				byPact[pact] = append(byPact[pact], moment{e.sent, offset, e, false}, moment{e.answered, offset, e, true})
			}
		}
	}
	for pact, moments := range byPact {
		sortBy(moments, func(m moment) int64 { return m.at })
		var newest moment
		for _, m := range moments {
			switch {
			case m.answer && m.offset > newest.offset:
				newest = m
			case !m.answer && m.offset < newest.offset:
				l.violate(Order, "pact %s: %s was sent after %s was acked at offset %d, and is at %d",
					pact, m.e.op.ID(), newest.e.op.ID(), newest.offset, m.offset)
			}
		}
	}
}

// EndRound runs the checks of linearizability over what was sent since the last
// call, and forgets it. before and after are what the hub held at rest then and
// holds now. It returns how many histories were checked.
func (l *Ledger) EndRound(before, after Rest) (histories int) {
	l.mu.Lock()
	attempts := l.attempts
	l.attempts = nil
	admissions := l.admissions(attempts)
	registers := l.registers(attempts, before, after)
	l.mu.Unlock()
	for _, h := range admissions {
		l.report(h.check(), "admission of "+h.name)
	}
	for _, h := range registers {
		l.report(h.check(), "register "+h.name)
	}
	return len(admissions) + len(registers)
}
