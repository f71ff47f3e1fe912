package ledger

import (
	"fmt"
	"maps"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Version is what a subscriber keeps of one register.
type Version struct {
	Offset crdt.Offset
	Digest crdt.Digest
	ID     crdt.OpID
	Stamp  crdt.Stamp
}

// Fold is what a subscriber holds of one pact: the newest version of every
// register that it was shown. For one goroutine.
type Fold struct {
	Cursor    crdt.Position
	Head      crdt.Offset // as told last
	Registers map[crdt.Key]Version
}

// NewFold returns what a subscriber holds that begins at the start.
func NewFold() *Fold { return &Fold{Registers: map[crdt.Key]Version{}} }

// Clone returns a copy, to be resumed later.
func (f *Fold) Clone() *Fold {
	return &Fold{Cursor: f.Cursor, Head: f.Head, Registers: maps.Clone(f.Registers)}
}

// Take folds a slice in, which is the first of its stream or not, and says what
// is wrong with it.
func (f *Fold) Take(s *wire.Slice, first bool) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if s.Cursor.Offset < f.Cursor.Offset {
		bad("the cursor goes back from %d to %d", f.Cursor.Offset, s.Cursor.Offset)
	}
	if !first && s.Head < f.Head {
		bad("the head goes back from %d to %d", f.Head, s.Head)
	}
	if s.Cursor.Offset > s.Head {
		bad("the cursor %d is beyond the head %d", s.Cursor.Offset, s.Head)
	}
	last := f.Cursor.Offset
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Offset <= last || e.Offset > s.Cursor.Offset {
			bad("offset %d after %d, with the cursor at %d", e.Offset, last, s.Cursor.Offset)
		}
		last = e.Offset
		op := &e.Register.Op
		if was, known := f.Registers[op.Key]; known && was.Offset >= e.Offset {
			bad("%s is at offset %d, and comes again at %d", op.Key, was.Offset, e.Offset)
		}
		f.Registers[op.Key] = Version{Offset: e.Offset, Digest: e.Register.Digest, ID: op.ID(), Stamp: op.Stamp}
	}
	f.Cursor, f.Head = s.Cursor, s.Head
	return problems
}

// Difference returns one register that two folds do not hold alike, "" if they
// are equal.
func (f *Fold) Difference(g *Fold) string {
	for key, v := range f.Registers {
		if w, ok := g.Registers[key]; !ok {
			return fmt.Sprintf("%s (%s at offset %d) is missing", key, v.ID, v.Offset)
		} else if w != v {
			return fmt.Sprintf("%s is %s at offset %d, and %s at %d", key, v.ID, v.Offset, w.ID, w.Offset)
		}
	}
	for key, w := range g.Registers {
		if _, ok := f.Registers[key]; !ok {
			return fmt.Sprintf("%s (%s at offset %d) is too much", key, w.ID, w.Offset)
		}
	}
	return ""
}
