package crdt

import (
	"fmt"
	"slices"
)

// Offset is a position in the feed of one pact; the first is 1, zero is
// "before everything".
type Offset uint64

// Epoch names one uninterrupted life of a hub. It changes whenever a hub is
// rebuilt or restored. Epochs are random, non-zero, and are not ordered.
type Epoch uint64

// String returns 16 hexadecimal digits.
func (e Epoch) String() string { return fmt.Sprintf("%016x", uint64(e)) }

// Position is a place in a pact's feed. As a birth it says where a version
// first became current; it never changes and travels with the version.
// The zero Position is unknown: it covers nothing and nothing covers it.
type Position struct {
	Epoch  Epoch
	Offset Offset
}

// IsZero reports whether p is unknown.
func (p Position) IsZero() bool { return p == Position{} }

// String returns epoch:offset.
func (p Position) String() string { return fmt.Sprintf("%s:%d", p.Epoch, p.Offset) }

// Fork records that epoch Child knew epoch Parent's feed up to and including
// offset At, in one pact. From 0: Child began as a copy of it. Otherwise Child was
// brought up to there by an offer, and only what was born in it at or after From
// was judged against all of that.
type Fork struct {
	Child  Epoch
	Parent Epoch
	At     Offset
	From   Offset
}

// Lineage is the ancestry of a hub's epochs within one pact, oldest first.
// The zero Lineage knows one epoch only: the current one. An epoch may have
// several parents: whatever its members brought.
type Lineage []Fork

// Covers reports whether a system that showed the version born at base had
// also seen the version born at birth: same epoch and base not before it, or
// birth in an ancestor epoch of base's and not after the fork.
func (l Lineage) Covers(base, birth Position) bool {
	switch {
	case base.IsZero() || birth.IsZero():
		return false
	case base.Epoch == birth.Epoch:
		return birth.Offset <= base.Offset
	case len(l) == 0:
		return false
	}
	var few [8]Position
	reached := append(few[:0], base)
	for i := 0; i < len(reached); i++ {
		at := reached[i]
		for _, f := range l {
			if f.Child != at.Epoch || f.From > at.Offset {
				continue
			}
			if f.Parent == birth.Epoch && birth.Offset <= f.At {
				return true
			}
			reached = reach(reached, Position{Epoch: f.Parent, Offset: f.At})
		}
	}
	return false
}

// reach adds p, unless as much of its epoch is reached already.
func reach(reached []Position, p Position) []Position {
	for _, r := range reached {
		if r.Epoch == p.Epoch && r.Offset >= p.Offset {
			return reached
		}
	}
	return append(reached, p)
}

// Home returns the oldest name of a place: what an epoch has of an older one,
// because it began as a copy, stands there under the same offset.
func (l Lineage) Home(p Position) Position {
	for range len(l) {
		i := slices.IndexFunc(l, func(f Fork) bool { return f.Child == p.Epoch && f.From == 0 && p.Offset <= f.At })
		if i < 0 {
			break
		}
		p.Epoch = l[i].Parent
	}
	return p
}
