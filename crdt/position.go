package crdt

import "fmt"

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

// Fork records that epoch Child began as a copy of epoch Parent up to and
// including offset At of one pact's feed.
type Fork struct {
	Child  Epoch
	Parent Epoch
	At     Offset
}

// Lineage is the ancestry of a hub's epochs within one pact, oldest first.
// The zero Lineage knows one epoch only: the current one.
type Lineage []Fork

// Covers reports whether a system that showed the version born at base had
// also seen the version born at birth: same epoch and base not before it, or
// birth in an ancestor epoch of base's and not after the fork.
func (l Lineage) Covers(base, birth Position) bool {
	if base.IsZero() || birth.IsZero() {
		return false
	}
	epoch, bound := base.Epoch, base.Offset
	for range len(l) + 1 {
		if epoch == birth.Epoch {
			return birth.Offset <= bound
		}
		fork, ok := l.parent(epoch)
		if !ok {
			return false
		}
		epoch, bound = fork.Parent, fork.At
	}
	return false
}

func (l Lineage) parent(child Epoch) (Fork, bool) {
	for _, f := range l {
		if f.Child == child {
			return f, true
		}
	}
	return Fork{}, false
}
