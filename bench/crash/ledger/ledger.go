package ledger

import (
	"fmt"
	"sync"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Kind is what a violation is counted as.
type Kind string

// Kinds.
const (
	Lost       Kind = "lost"       // an acked op has no effect, or a feed misses a version
	Duplicated Kind = "duplicated" // one op twice, or two under one name or offset
	Diverged   Kind = "diverged"   // nodes or subscribers differ
	Order      Kind = "order"      // a feed or an admission out of order
	Invented   Kind = "invented"   // what nobody sent
	Answer     Kind = "answer"     // an answer that changed, or should not have been given
	Stuck      Kind = "stuck"      // no progress though nothing is broken
	Fault      Kind = "fault"      // a node did not do with a fault what it must
)

// Violation is one broken promise.
type Violation struct {
	Kind Kind
	What string
}

func (v Violation) String() string { return string(v.Kind) + ": " + v.What }

// violationsMax bounds what is kept; the count goes on.
const violationsMax = 50

// Ledger is safe for concurrent use.
type Ledger struct {
	began time.Time

	mu         sync.Mutex
	lanes      []*Lane
	byID       map[name]*entry
	pacts      map[crdt.Pact]*pactBook
	violations []Violation
	counts     map[Kind]int
	acked      int
	attempts   []*Attempt // of the round
}

// name names one op for ever: seqs are counted in each pact by itself.
type name struct {
	pact crdt.Pact
	id   crdt.OpID
}

// entry is what is known of one op.
type entry struct {
	op      crdt.Op
	digest  crdt.Digest
	lane    int
	place   int        // in its lane, from 1
	lost    crdt.Field // name of its conflict record
	refused bool       // must be refused

	sent, answered int64 // since the ledger began; 0: not yet
	attempts       int
	outcome        wire.Outcome // of the first answer for good
	reason         wire.Reason
	effect         crdt.Offset // newest effect; known if the first attempt was answered
	birth          crdt.Offset // as feeds told; 0: never seen current
	succeeded      bool        // an applied op names it as pred
}

// pactBook is what feeds have told of one pact, on any node at any time.
type pactBook struct {
	epoch crdt.Epoch
	at    map[crdt.Offset]crdt.Digest
	born  map[crdt.Digest]crdt.Offset
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{
		began: time.Now(), byID: map[name]*entry{}, pacts: map[crdt.Pact]*pactBook{}, counts: map[Kind]int{},
	}
}

func (l *Ledger) now() int64 { return int64(time.Since(l.began)) + 1 }

// Violate records a broken promise.
func (l *Ledger) Violate(kind Kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violate(kind, format, args...)
}

func (l *Ledger) violate(kind Kind, format string, args ...any) {
	l.counts[kind]++
	if len(l.violations) < violationsMax {
		l.violations = append(l.violations, Violation{kind, fmt.Sprintf(format, args...)})
	}
}

// Violations returns the first of them, in order.
func (l *Ledger) Violations() []Violation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.violations
}

// Count returns how many violations of a kind there were.
func (l *Ledger) Count(kind Kind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[kind]
}

// Acked returns how many ops were answered for good, and Sent how many were made.
func (l *Ledger) Acked() (acked, made int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, len(l.byID)
}

// See takes in what a feed showed.
func (l *Ledger) See(pact crdt.Pact, epoch crdt.Epoch, e *wire.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pacts[pact]
	if p == nil {
		p = &pactBook{epoch: epoch, at: map[crdt.Offset]crdt.Digest{}, born: map[crdt.Digest]crdt.Offset{}}
		l.pacts[pact] = p
	}
	r := &e.Register
	if epoch != p.epoch || r.Birth.Epoch != p.epoch {
		l.violate(Lost, "pact %s: epoch %s, it was %s", pact, epoch, p.epoch)
	}
	if other, known := p.at[e.Offset]; known && other != r.Digest {
		l.violate(Duplicated, "pact %s: offset %d stands on %s and on another op", pact, e.Offset, r.Op.ID())
	}
	p.at[e.Offset] = r.Digest
	if born, known := p.born[r.Digest]; known && born != e.Offset {
		l.violate(Duplicated, "pact %s: %s on %s was at offset %d and is at %d", pact, r.Op.ID(), r.Op.Key.Field, born, e.Offset)
	}
	p.born[r.Digest] = e.Offset
	if r.Birth.Offset != e.Offset {
		l.violate(Order, "pact %s: %s at offset %d was born at %d", pact, r.Op.ID(), e.Offset, r.Birth.Offset)
	}
	if r.Op.Key.Field.IsLost() {
		l.seeLost(pact, &r.Op)
		return
	}
	known := l.byID[name{pact, r.Op.ID()}]
	switch {
	case known == nil:
		l.violate(Invented, "pact %s: offset %d shows %s, which nobody sent", pact, e.Offset, r.Op.ID())
	case known.digest != r.Digest:
		l.violate(Duplicated, "pact %s: the name %s stands on an op that was not sent under it", pact, r.Op.ID())
	default:
		known.birth = e.Offset
		if known.effect != 0 && known.effect != e.Offset {
			l.violate(Answer, "pact %s: %s was acked at offset %d and is at %d", pact, r.Op.ID(), known.effect, e.Offset)
		}
	}
}

// seeLost checks that a conflict record holds an op that was sent.
func (l *Ledger) seeLost(pact crdt.Pact, op *crdt.Op) {
	lost, err := crdt.DecodeLost(op)
	if err != nil {
		l.violate(Invented, "pact %s: %v", pact, err)
		return
	}
	if known := l.byID[name{pact, lost.Loser.ID()}]; known == nil || known.digest != lost.Loser.Digest() {
		l.violate(Invented, "pact %s: a conflict record of %s, which nobody sent", pact, lost.Loser.ID())
	}
}

// Others returns how many violations there were besides lost, duplicated and
// diverged.
func (l *Ledger) Others() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for kind, count := range l.counts {
		if kind != Lost && kind != Duplicated && kind != Diverged {
			n += count
		}
	}
	return n
}
