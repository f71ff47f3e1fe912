package crdt

import (
	"fmt"
	"iter"
	"slices"

	"github.com/entente-sync/entente/crdt/value"
)

// FieldLife is the lifecycle register of a record. It never expires, and its
// value is always in a plain envelope: the hub must read it.
const FieldLife Field = "~life"

// Life is the value of a lifecycle register. The zero Life is live.
type Life struct {
	Deleted bool
	// Seen is, for a delete, what the deleting system showed of each field; a
	// field that is missing was not shown. Nil or empty while live.
	Seen map[Field]Base
}

const (
	lifeLive    = "live"
	lifeDeleted = "deleted"
)

// Value encodes l: the text "live", or a map {state: "deleted", seen: {field:
// [epoch, offset]}}; where the shown version was the agent's own and not yet
// acknowledged, [epoch, offset, site, agent, incarnation, seq].
func (l Life) Value() value.Value {
	if !l.Deleted {
		return value.Text(lifeLive)
	}
	seen := make(map[string]value.Value, len(l.Seen))
	for f, b := range l.Seen {
		at := []value.Value{number(uint64(b.Birth.Epoch)), number(uint64(b.Birth.Offset))}
		if !b.Pred.IsZero() {
			at = appendIDValues(at, b.Pred)
		}
		seen[string(f)] = value.List(at...)
	}
	return value.Map(map[string]value.Value{
		"state": value.Text(lifeDeleted),
		"seen":  value.Map(seen),
	})
}

// Envelope is the value of an op on ~life.
func (l Life) Envelope() []byte { return Plain(l.Value()) }

// LifeOf reads what Life.Value wrote and refuses everything else with an error
// that wraps ErrMalformed.
func LifeOf(v value.Value) (Life, error) {
	if v.Kind() == value.KindText && v.AsText() == lifeLive {
		return Life{}, nil
	}
	state, _ := v.Get("state")
	seen, _ := v.Get("seen")
	if v.Len() != 2 || state.AsText() != lifeDeleted || seen.Kind() != value.KindMap {
		return Life{}, fmt.Errorf("%s: %w: neither live nor deleted", FieldLife, ErrMalformed)
	}
	l := Life{Deleted: true}
	for _, name := range seen.Keys() {
		at, _ := seen.Get(name)
		field, err := ParseField(name)
		if err != nil {
			return Life{}, fmt.Errorf("%s: %w: %w", FieldLife, ErrMalformed, err)
		}
		base, ok := baseOf(at)
		if !ok {
			return Life{}, fmt.Errorf("%s: %w: position of field %s", FieldLife, ErrMalformed, field)
		}
		if l.Seen == nil {
			l.Seen = make(map[Field]Base, seen.Len())
		}
		l.Seen[field] = base
	}
	return l, nil
}

// DecodeLife reads the value of an op on ~life.
func DecodeLife(envelope []byte) (Life, error) {
	v, err := OpenPlain(envelope)
	if err != nil {
		return Life{}, fmt.Errorf("%s: %w", FieldLife, err)
	}
	return LifeOf(v)
}

// Saw reports whether the author of the delete had seen version r of one of
// the record's fields.
func (l *Life) Saw(r *Register, lineage Lineage) bool {
	base, ok := l.Seen[r.Op.Key.Field]
	return ok && base.Saw(r, lineage)
}

// Unseen returns those of a record's registers that delete l would bury unseen,
// in order of their fields: each becomes a conflict record. Reserved registers
// hold no edits and don't count; neither does one that was never written.
func (l *Life) Unseen(registers iter.Seq[*Register], lineage Lineage) []*Register {
	var unseen []*Register
	for r := range registers {
		if l.Deleted && !r.IsZero() && !r.Op.Key.Field.Reserved() && !l.Saw(r, lineage) {
			unseen = append(unseen, r)
		}
	}
	slices.SortFunc(unseen, func(a, b *Register) int { return a.Op.Key.Compare(b.Op.Key) })
	return unseen
}

func baseOf(v value.Value) (Base, bool) {
	var b Base
	if v.Kind() != value.KindList || v.Len() != 2 && v.Len() != 6 {
		return b, false
	}
	epoch, epochOK := numberOf(v.At(0))
	offset, offsetOK := numberOf(v.At(1))
	b.Birth = Position{Epoch: Epoch(epoch), Offset: Offset(offset)}
	if v.Len() == 2 {
		return b, epochOK && offsetOK
	}
	pred, predOK := idOf(v, 2)
	b.Pred = pred
	return b, epochOK && offsetOK && predOK
}

// number stores 64 unsigned bits in a value's 64 signed ones.
func number(n uint64) value.Value { return value.Int(int64(n)) }

func numberOf(v value.Value) (uint64, bool) {
	return uint64(v.AsInt()), v.Kind() == value.KindInt
}

func appendIDValues(vs []value.Value, id OpID) []value.Value {
	return append(vs, value.Text(string(id.Author.Site)), value.Text(string(id.Author.Agent)),
		number(id.Author.Incarnation), number(uint64(id.Seq)))
}

// idOf reads the four elements of list v from i on.
func idOf(v value.Value, i int) (OpID, bool) {
	incarnation, incarnationOK := numberOf(v.At(i + 2))
	seq, seqOK := numberOf(v.At(i + 3))
	id := OpID{
		Author: Author{Site: Site(v.At(i).AsText()), Agent: AgentName(v.At(i + 1).AsText()), Incarnation: incarnation},
		Seq:    Seq(seq),
	}
	return id, incarnationOK && seqOK && seq != 0 && id.Author.Validate() == nil
}
