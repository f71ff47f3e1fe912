package crdt

import (
	"bytes"
	"cmp"
)

// Version orders the assignments to one register: by stamp, then author, then
// digest. Values never break a tie.
type Version struct {
	Stamp  Stamp
	Author Author
	Digest Digest
}

// Compare returns -1, 0 or +1; 0 only for the same op.
func (v *Version) Compare(w *Version) int {
	if c := cmp.Compare(v.Stamp, w.Stamp); c != 0 {
		return c
	}
	if c := v.Author.Compare(w.Author); c != 0 {
		return c
	}
	return bytes.Compare(v.Digest[:], w.Digest[:])
}

// IsZero reports whether v is the version of a register never written.
func (v *Version) IsZero() bool { return v.Stamp == 0 }

// Register is the newest version of one register as a replica holds it. The
// zero Register was never written; it is the identity of Join.
type Register struct {
	Op     Op
	Digest Digest   // of Op; kept, because hashing is the dear part
	Birth  Position // where Op first became current; zero while unknown
}

// NewRegister hashes op once.
func NewRegister(op Op, birth Position) Register {
	return Register{Op: op, Digest: op.Digest(), Birth: birth}
}

// Version returns what orders r.
func (r *Register) Version() Version {
	return Version{Stamp: r.Op.Stamp, Author: r.Op.Author, Digest: r.Digest}
}

// IsZero reports whether r was never written.
func (r *Register) IsZero() bool { return r.Op.Stamp == 0 }

// Compare orders two registers of one key without allocating.
func (r *Register) Compare(s *Register) int {
	if c := cmp.Compare(r.Op.Stamp, s.Op.Stamp); c != 0 {
		return c
	}
	if c := r.Op.Author.Compare(s.Op.Author); c != 0 {
		return c
	}
	return bytes.Compare(r.Digest[:], s.Digest[:])
}

// Join returns the greater of two versions of one register. Of the same
// version it keeps the known birth, and of two births the lesser, so that Join
// stays commutative, associative and idempotent in every part.
func Join(a, b *Register) *Register {
	switch c := a.Compare(b); {
	case c > 0:
		return a
	case c < 0:
		return b
	case a.Birth.IsZero():
		return b
	case b.Birth.IsZero(), a.Birth.less(b.Birth):
		return a
	default:
		return b
	}
}

func (p Position) less(q Position) bool {
	if p.Epoch != q.Epoch {
		return p.Epoch < q.Epoch
	}
	return p.Offset < q.Offset
}
