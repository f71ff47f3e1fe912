package crdt

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/entente-sync/entente/crdt/value"
)

// A conflict record keeps an op that lost, or that a delete buried unseen. It
// is a register of the same record, so it replicates, is offered and rebuilds
// like every other: ~lost/<field>/<first 32 hex digits of the loser's digest>.

// LostState says whether somebody still has to look.
type LostState uint8

// States of a conflict record.
const (
	LostOpen     LostState = 1 // nobody who saw the loser has written since
	LostResolved LostState = 2 // an op made on the loser, or a person, closed it
)

func (s LostState) String() string {
	switch s {
	case LostOpen:
		return "open"
	case LostResolved:
		return "resolved"
	}
	return fmt.Sprintf("lost(%d)", uint8(s))
}

// Ref points at an op without its value.
type Ref struct {
	Field  Field // a delete that buried an edit is on ~life
	ID     OpID
	Stamp  Stamp
	Digest Digest
}

// Ref points at the version that r holds.
func (r *Register) Ref() Ref {
	return Ref{Field: r.Op.Key.Field, ID: r.Op.ID(), Stamp: r.Op.Stamp, Digest: r.Digest}
}

// Lost is one conflict record.
type Lost struct {
	State    LostState
	Loser    Op  // whole, so that it can be shown and restored
	Winner   Ref // what it lost to
	Resolver Ref // what closed the record; zero while open
}

const (
	lostPrefix    = "~lost/"
	lostHexDigits = 32

	// lostExtraBytesMax is what a conflict record adds to the value of its loser:
	// the rest of the loser, two Refs, keys. The limit is generous.
	lostExtraBytesMax = 4 << 10
)

// NewLost opens the record of loser, which lost to winner. The loser is an
// authored op that passed Op.Validate.
func NewLost(loser, winner *Register) Lost {
	return Lost{State: LostOpen, Loser: loser.Op, Winner: winner.Ref()}
}

// Resolved returns l closed by the given version.
func (l Lost) Resolved(by *Register) Lost {
	l.State, l.Resolver = LostResolved, by.Ref()
	return l
}

// LostField names the conflict record of an op on field with the given digest.
func LostField(field Field, loser Digest) Field {
	return lostPrefix + field + "/" + Field(hex.EncodeToString(loser[:lostHexDigits/2]))
}

// IsLost reports whether f names a conflict record.
func (f Field) IsLost() bool { return strings.HasPrefix(string(f), lostPrefix) }

// LostOf returns the field whose op the conflict record f keeps; ok is false
// where f names no conflict record.
func (f Field) LostOf() (field Field, ok bool) {
	rest, ok := strings.CutPrefix(string(f), lostPrefix)
	i := strings.LastIndexByte(rest, '/')
	if !ok || i <= 0 || len(rest)-i-1 != lostHexDigits {
		return "", false
	}
	return Field(rest[:i]), true
}

// Op returns the one op that holds l. Every replica makes the same bytes, since
// all of it derives from l: author, base, versions and evidence are the loser's,
// seq is 0, and the stamp is the loser's, or the next one once resolved, so
// that resolved wins every join.
//
// The base is the loser's, so Op.Base.Pred is what Judge asks for in loserPreds.
func (l *Lost) Op() Op {
	o := l.Loser
	o.Key.Field = LostField(l.Loser.Key.Field, l.Loser.Digest())
	o.Seq = 0
	if l.State == LostResolved {
		o.Stamp, _ = o.Stamp.Next()
	}
	m := map[string]value.Value{
		"state":  value.Text(l.State.String()),
		"loser":  value.Bytes(l.Loser.AppendCanonical(nil)),
		"winner": l.Winner.value(),
	}
	if l.State == LostResolved {
		m["resolver"] = l.Resolver.value()
	}
	o.Value = Plain(value.Map(m))
	return o
}

// DecodeLost reads the conflict record that op holds. It refuses with
// ErrMalformed every op that Lost.Op would not have made, down to the last byte.
func DecodeLost(op *Op) (Lost, error) {
	if !op.Key.Field.IsLost() {
		return Lost{}, fmt.Errorf("conflict record: %w: field %s", ErrMalformed, op.Key.Field)
	}
	v, err := OpenPlain(op.Value)
	if err != nil {
		return Lost{}, fmt.Errorf("conflict record %s: %w", op.Key.Field, err)
	}
	l, err := lostOf(v)
	if err != nil {
		return Lost{}, fmt.Errorf("conflict record %s: %w", op.Key.Field, err)
	}
	made := l.Op()
	if !bytes.Equal(made.AppendCanonical(nil), op.AppendCanonical(nil)) {
		return Lost{}, fmt.Errorf("conflict record %s: %w: does not derive from its loser", op.Key.Field, ErrMalformed)
	}
	return l, nil
}

func lostOf(v value.Value) (Lost, error) {
	var l Lost
	state, _ := v.Get("state")
	loser, _ := v.Get("loser")
	winner, _ := v.Get("winner")
	resolver, resolved := v.Get("resolver")
	switch {
	case state.AsText() == LostOpen.String() && v.Len() == 3 && !resolved:
		l.State = LostOpen
	case state.AsText() == LostResolved.String() && v.Len() == 4 && resolved:
		l.State = LostResolved
	default:
		return Lost{}, fmt.Errorf("%w: neither open nor resolved", ErrMalformed)
	}
	var err error
	if l.Loser, err = DecodeOp(loser.AsBytes()); err != nil {
		return Lost{}, fmt.Errorf("loser: %w", err)
	}
	if err = l.Loser.Validate(); err != nil {
		return Lost{}, fmt.Errorf("loser: %w: %w", ErrMalformed, err)
	}
	var ok bool
	if l.Winner, ok = refOf(winner); !ok {
		return Lost{}, fmt.Errorf("%w: winner", ErrMalformed)
	}
	if l.Resolver, ok = refOf(resolver); resolved && !ok {
		return Lost{}, fmt.Errorf("%w: resolver", ErrMalformed)
	}
	return l, nil
}

// value encodes r as [site, agent, incarnation, seq, field, stamp, digest].
func (r Ref) value() value.Value {
	vs := appendIDValues(make([]value.Value, 0, 7), r.ID)
	return value.List(append(vs, value.Text(string(r.Field)), number(uint64(r.Stamp)), value.Bytes(r.Digest[:]))...)
}

func refOf(v value.Value) (Ref, bool) {
	if v.Kind() != value.KindList || v.Len() != 7 {
		return Ref{}, false
	}
	id, idOK := idOf(v, 0)
	field, err := ParseField(v.At(4).AsText())
	stamp, stampOK := numberOf(v.At(5))
	digest := v.At(6).AsBytes()
	r := Ref{Field: field, ID: id, Stamp: Stamp(stamp)}
	return r, idOK && err == nil && stampOK && copy(r.Digest[:], digest) == len(r.Digest) && len(digest) == len(r.Digest)
}
