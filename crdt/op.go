package crdt

import "fmt"

// ValueBytesMax bounds the value of one authored op, its envelope included.
const ValueBytesMax = 64 << 10

// LostBytesMax bounds the value of a conflict record, which holds a whole op.
const LostBytesMax = ValueBytesMax + lostExtraBytesMax

// ValueBytesMax bounds the value of an op on f: conflict records hold a whole op.
func (f Field) ValueBytesMax() int {
	if f.IsLost() {
		return LostBytesMax
	}
	return ValueBytesMax
}

// Base says what the user had before his eyes when he made the edit.
// The zero Base says "nothing": the register was not shown.
type Base struct {
	// Pred names the version that was shown, own unacknowledged ops included.
	Pred OpID
	// Birth is where that version first became current. An op made on an own op
	// of unknown position inherits that op's birth.
	Birth Position
}

// EvidenceClass says how the time of an edit is known, best first.
type EvidenceClass uint8

// Evidence classes; zero is invalid, so that a forgotten one is found.
const (
	EvidenceHistory EvidenceClass = 1 // the system's own per-field history
	EvidenceCommit  EvidenceClass = 2 // the commit time of the whole record
	EvidenceWebhook EvidenceClass = 3 // when the system told us
	EvidencePoll    EvidenceClass = 4 // when we looked: an upper bound
)

func (c EvidenceClass) String() string {
	switch c {
	case EvidenceHistory:
		return "history"
	case EvidenceCommit:
		return "commit"
	case EvidenceWebhook:
		return "webhook"
	case EvidencePoll:
		return "poll"
	}
	return fmt.Sprintf("evidence(%d)", uint8(c))
}

// Evidence is the quality of an op's stamp.
type Evidence struct {
	Class EvidenceClass
	// UncertaintyMillis is how much earlier than the stamp the edit may have
	// happened; the stamp is the upper bound of that interval.
	UncertaintyMillis uint32
}

// Op is one assignment to one register. Ops are values: never change one that
// has been numbered.
type Op struct {
	Key         Key
	Stamp       Stamp
	Author      Author
	Seq         Seq
	Base        Base
	PactVersion uint32 // version of the pact that the op was made under
	Binding     uint32 // revision of the author's binding that made it
	Evidence    Evidence
	Value       []byte // opaque; an envelope of package seal
}

// ID names the op.
func (o *Op) ID() OpID { return OpID{Author: o.Author, Seq: o.Seq} }

// Version returns what orders the op against others on its register.
// It hashes the op: keep the result.
func (o *Op) Version() Version {
	return Version{Stamp: o.Stamp, Author: o.Author, Digest: o.Digest()}
}

// Validate reports the first part of o that no author may write. It does not
// ask whether the pact allows it.
func (o *Op) Validate() error {
	if err := o.Key.Validate(); err != nil {
		return err
	}
	if err := o.Author.Validate(); err != nil {
		return err
	}
	switch {
	case o.Key.Field.IsLost():
		return fmt.Errorf("op %s: %w: conflict records have no author", o.ID(), ErrName)
	case len(o.Key.Field) > OpFieldBytesMax:
		return fmt.Errorf("op %s: %w: field of %d bytes, limit %d", o.ID(), ErrName, len(o.Key.Field), OpFieldBytesMax)
	case o.Seq == 0:
		return fmt.Errorf("op %s: seqs begin at 1", o.ID())
	case o.Stamp == 0 || o.Stamp == StampMax:
		return fmt.Errorf("op %s: stamp %s is reserved", o.ID(), o.Stamp)
	case o.Evidence.Class < EvidenceHistory || o.Evidence.Class > EvidencePoll:
		return fmt.Errorf("op %s: unknown evidence class %d", o.ID(), o.Evidence.Class)
	case len(o.Value) == 0:
		return fmt.Errorf("op %s: no value (an empty one is an envelope of null)", o.ID())
	case len(o.Value) > ValueBytesMax:
		return fmt.Errorf("op %s: value of %d bytes, limit %d", o.ID(), len(o.Value), ValueBytesMax)
	}
	return nil
}
