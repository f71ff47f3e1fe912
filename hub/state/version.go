package state

import (
	"crypto/sha256"
	"fmt"

	"github.com/entente-sync/entente/crdt"
)

// Version is the newest version of one register as it stands in a page, and where
// it stands in the feed. It is immutable and may alias a whole page: who wants to
// keep it for long, copies it.
type Version struct {
	Op     []byte // canonical bytes
	Offset crdt.Offset
	Birth  crdt.Position
}

// Stored is a Version, decoded. It is immutable.
type Stored struct {
	Register crdt.Register
	Offset   crdt.Offset
}

// Decode decodes v, whose value Stored shares, and hashes it. names may be nil.
// The error is ErrDamaged.
func (v *Version) Decode(names *crdt.Names) (*Stored, error) {
	s := &Stored{Offset: v.Offset}
	if err := v.DecodeOp(names, &s.Register.Op); err != nil {
		return nil, err
	}
	s.Register.Digest, s.Register.Birth = sha256.Sum256(v.Op), v.Birth
	return s, nil
}

// DecodeOp decodes the op alone, whose value it shares with v. names may be nil.
// The error is ErrDamaged.
func (v *Version) DecodeOp(names *crdt.Names, op *crdt.Op) error {
	if err := names.DecodeOp(op, v.Op); err != nil {
		return fmt.Errorf("%w: version %d: %w", ErrDamaged, v.Offset, err)
	}
	return nil
}
