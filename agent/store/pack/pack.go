// Package pack writes and reads the bytes that an agent keeps: a version byte,
// then fields in a fixed order. Reading is total: any input gives the fields or
// an error, never a panic.
package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// Errors, to be matched with errors.Is.
var (
	ErrCorrupt = errors.New("stored bytes are damaged")
	ErrNewer   = errors.New("stored bytes were written by a newer program")
)

// ItemsMax bounds every stored list.
const ItemsMax = 1 << 16

// Key builds a store key: the table's byte, then each part with its length, so
// that no two lists of parts make one key and a shorter list is a prefix of the
// longer ones that begin with it.
func Key(table byte, parts ...string) []byte {
	b := []byte{table}
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// Ordered encodes n so that keys sort as numbers do.
func Ordered(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// Parts splits what Key made behind its table byte.
func Parts(key []byte, want int) ([]string, error) {
	if len(key) == 0 {
		return nil, fmt.Errorf("key: %w", ErrCorrupt)
	}
	r := Reader{rest: key[1:]}
	parts := make([]string, want)
	for i := range parts {
		parts[i] = r.String()
	}
	return parts, r.Close("key")
}

// Writer builds one stored value.
type Writer struct{ b []byte }

// NewWriter begins a value of the given version.
func NewWriter(version byte) *Writer { return &Writer{b: []byte{version}} }

// Bytes returns what was written.
func (w *Writer) Bytes() []byte { return w.b }

// Uint writes an unsigned number.
func (w *Writer) Uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

// Int writes a signed number.
func (w *Writer) Int(n int64) { w.b = binary.AppendVarint(w.b, n) }

// Bool writes one byte.
func (w *Writer) Bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

// String writes length and bytes.
func (w *Writer) String(s string) {
	w.Uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// Record writes a record id.
func (w *Writer) Record(id crdt.RecordID) { w.b = append(w.b, id[:]...) }

// OpID writes the name of an op.
func (w *Writer) OpID(id crdt.OpID) {
	w.String(string(id.Author.Site))
	w.String(string(id.Author.Agent))
	w.Uint(id.Author.Incarnation)
	w.Uint(uint64(id.Seq))
}

// Position writes a place in a feed.
func (w *Writer) Position(p crdt.Position) {
	w.Uint(uint64(p.Epoch))
	w.Uint(uint64(p.Offset))
}

// Base writes what an edit was made on.
func (w *Writer) Base(b crdt.Base) {
	w.OpID(b.Pred)
	w.Position(b.Birth)
}

// Op writes an op in its canonical bytes.
func (w *Writer) Op(o *crdt.Op) { w.String(string(o.AppendCanonical(nil))) }

// Values writes local values by name, sorted. One that is larger than a value
// may be is replaced by its digest: it compares as different from everything, and
// no op can carry it anyway.
func (w *Writer) Values(m map[string]value.Value) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	w.Uint(uint64(len(names)))
	for _, name := range names {
		w.String(name)
		b := m[name].Canonical()
		if len(b) > value.BytesMax {
			sum := sha256.Sum256(b)
			b = value.Bytes(sum[:]).Canonical()
		}
		w.String(string(b))
	}
}

// Reader reads what a Writer wrote, in the same order. After the first failure
// it returns zeros; Close tells.
type Reader struct {
	rest []byte
	err  error
}

// NewReader checks the version byte of b: versions above known give ErrNewer.
func NewReader(b []byte, known byte) *Reader {
	r := &Reader{}
	switch {
	case len(b) == 0 || b[0] == 0:
		r.err = ErrCorrupt
	case b[0] > known:
		r.err = fmt.Errorf("%w: version %d, known up to %d", ErrNewer, b[0], known)
	default:
		r.rest = b[1:]
	}
	return r
}

// Close returns the first error, or ErrCorrupt when bytes are left.
func (r *Reader) Close(what string) error {
	if r.err == nil && len(r.rest) != 0 {
		r.err = ErrCorrupt
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	return nil
}

// OK reports whether nothing failed so far.
func (r *Reader) OK() bool { return r.err == nil }

func (r *Reader) fail() { r.err, r.rest = ErrCorrupt, nil }

func (r *Reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.rest)) {
		if r.err == nil {
			r.fail()
		}
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

// Uint reads an unsigned number.
func (r *Reader) Uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.err != nil || size <= 0 {
		if r.err == nil {
			r.fail()
		}
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// Int reads a signed number.
func (r *Reader) Int() int64 {
	n, size := binary.Varint(r.rest)
	if r.err != nil || size <= 0 {
		if r.err == nil {
			r.fail()
		}
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// Bool reads one byte, 0 or 1.
func (r *Reader) Bool() bool {
	b := r.take(1)
	if b == nil {
		return false
	}
	if b[0] > 1 {
		r.fail()
	}
	return b[0] == 1
}

// String reads length and bytes.
func (r *Reader) String() string { return string(r.take(r.Uint())) }

// Count reads the length of a list of at most ItemsMax.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > ItemsMax || n > uint64(len(r.rest)) {
		if r.err == nil {
			r.fail()
		}
		return 0
	}
	return int(n)
}

// Record reads a record id.
func (r *Reader) Record() crdt.RecordID {
	var id crdt.RecordID
	copy(id[:], r.take(uint64(len(id))))
	return id
}

// OpID reads the name of an op.
func (r *Reader) OpID() crdt.OpID {
	var id crdt.OpID
	id.Author.Site = crdt.Site(r.String())
	id.Author.Agent = crdt.AgentName(r.String())
	id.Author.Incarnation = r.Uint()
	id.Seq = crdt.Seq(r.Uint())
	return id
}

// Position reads a place in a feed.
func (r *Reader) Position() crdt.Position {
	return crdt.Position{Epoch: crdt.Epoch(r.Uint()), Offset: crdt.Offset(r.Uint())}
}

// Base reads what an edit was made on.
func (r *Reader) Base() crdt.Base { return crdt.Base{Pred: r.OpID(), Birth: r.Position()} }

// Op reads an op; it is a copy.
func (r *Reader) Op() crdt.Op {
	b := []byte(r.String())
	if r.err != nil {
		return crdt.Op{}
	}
	op, err := crdt.DecodeOp(b)
	switch {
	case errors.Is(err, crdt.ErrNewer):
		r.err, r.rest = fmt.Errorf("%w: %w", ErrNewer, err), nil
	case err != nil:
		r.fail()
	}
	return op
}

// Values reads local values by name; an empty list is nil.
func (r *Reader) Values() map[string]value.Value {
	n := r.Count()
	if n == 0 {
		return nil
	}
	m := make(map[string]value.Value, n)
	for range n {
		name := r.String()
		v, err := value.Decode(r.take(r.Uint()))
		if r.err != nil || err != nil {
			r.fail()
			return nil
		}
		m[name] = v
	}
	return m
}
