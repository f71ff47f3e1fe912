package state

import (
	"iter"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt"
)

type recordKey struct {
	typ crdt.Type
	id  crdt.RecordID
}

// record is the registers of one record, and what is derived from them.
type record struct {
	stored    []*Stored  // sorted by field
	deleted   bool       // the current ~life is a delete
	conflicts []conflict // open conflict records, in the order of opening
}

// conflict is what the rule needs to know of an open conflict record.
type conflict struct {
	name  crdt.Field // of the conflict record
	field crdt.Field // that the loser is on
	loser crdt.OpID
	pred  crdt.OpID
}

func (r *record) search(f crdt.Field) (int, bool) {
	return slices.BinarySearchFunc(r.stored, f, func(s *Stored, f crdt.Field) int {
		return strings.Compare(string(s.Register.Op.Key.Field), string(f))
	})
}

// get returns the newest version of one register, nil if there is none.
func (r *record) get(f crdt.Field) *Stored {
	if i, ok := r.search(f); ok {
		return r.stored[i]
	}
	return nil
}

// put stores s and returns what it replaces.
func (r *record) put(s *Stored) (old *Stored) {
	i, ok := r.search(s.Register.Op.Key.Field)
	if !ok {
		r.stored = slices.Insert(r.stored, i, s)
		return nil
	}
	old, r.stored[i] = r.stored[i], s
	return old
}

func (r *record) open(c conflict) { r.conflicts = append(r.conflicts, c) }

// preds names what the losers of a register's open conflict records were made on.
func (r *record) preds(f crdt.Field) []crdt.OpID {
	var out []crdt.OpID
	for i := range r.conflicts {
		if r.conflicts[i].field == f {
			out = append(out, r.conflicts[i].pred)
		}
	}
	return out
}

func (r *record) registers() iter.Seq[*crdt.Register] {
	return func(yield func(*crdt.Register) bool) {
		for _, s := range r.stored {
			if !yield(&s.Register) {
				return
			}
		}
	}
}

// trace returns where the effect of an applied op on field f stands: the op, its
// conflict record, or else the newest version that came after it. It is false
// where the field was never written, or the name stands on other content.
func (r *record) trace(f crdt.Field, id crdt.OpID, digest crdt.Digest) (crdt.Offset, bool) {
	cur := r.get(f)
	if cur == nil {
		return 0, false
	}
	if cur.Register.Op.ID() == id {
		return cur.Offset, cur.Register.Digest == digest
	}
	if s := r.get(crdt.LostField(f, digest)); s != nil {
		return s.Offset, true
	}
	offset := cur.Offset
	for _, c := range r.conflicts {
		switch {
		case c.field != f:
		case c.loser == id:
			return 0, false
		case c.pred == id:
			offset = max(offset, r.get(c.name).Offset)
		}
	}
	return offset, true
}
