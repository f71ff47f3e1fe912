package crdt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// OpFormat is the version byte of an op's canonical bytes. A reader refuses
// every other one. Version 1 is the first.
const OpFormat = 1

// Errors of decoding, to be matched with errors.Is.
var (
	ErrMalformed = errors.New("malformed bytes")
	ErrNewer     = errors.New("format is newer than this program")
)

// AppendCanonical appends the canonical bytes of o to b: the format byte, then
// the fields in declaration order; strings and bytes with a uvarint length,
// numbers as uvarints, stamps and record ids in fixed width. There is exactly one
// encoding of an op; its SHA-256 is the op's digest.
func (o *Op) AppendCanonical(b []byte) []byte {
	b = append(b, OpFormat)
	b = appendString(b, string(o.Key.Pact))
	b = appendString(b, string(o.Key.Type))
	b = append(b, o.Key.Record[:]...)
	b = appendString(b, string(o.Key.Field))
	b = binary.BigEndian.AppendUint64(b, uint64(o.Stamp))
	b = appendID(b, o.ID())
	b = appendID(b, o.Base.Pred)
	b = binary.BigEndian.AppendUint64(b, uint64(o.Base.Birth.Epoch))
	b = binary.AppendUvarint(b, uint64(o.Base.Birth.Offset))
	b = binary.AppendUvarint(b, uint64(o.PactVersion))
	b = binary.AppendUvarint(b, uint64(o.Binding))
	b = append(b, byte(o.Evidence.Class))
	b = binary.AppendUvarint(b, uint64(o.Evidence.UncertaintyMillis))
	b = binary.AppendUvarint(b, uint64(len(o.Value)))
	return append(b, o.Value...)
}

// DecodeOp reads the canonical bytes of one op, all of b. The op's Value
// aliases b. Any input gives an op or an error that wraps ErrMalformed or
// ErrNewer; it never panics. Names are not checked: see Op.Validate.
func DecodeOp(b []byte) (Op, error) {
	var o Op
	err := (*Names)(nil).DecodeOp(&o, b)
	return o, err
}

// DecodeOp is the function DecodeOp, for many ops: it writes all of o, whose
// strings it shares with ops that it has read before. After an error o is zero.
func (n *Names) DecodeOp(o *Op, b []byte) error {
	if len(b) == 0 {
		*o = Op{}
		return fmt.Errorf("op: %w: empty", ErrMalformed)
	}
	if b[0] > OpFormat {
		*o = Op{}
		return fmt.Errorf("op: %w: format %d, known up to %d", ErrNewer, b[0], OpFormat)
	}
	if b[0] == 0 {
		*o = Op{}
		return fmt.Errorf("op: %w: format 0", ErrMalformed)
	}
	d := decoder{rest: b[1:]}
	o.Key.Pact = n.pact(d.name(NameBytesMax + 1))
	o.Key.Type = n.typ(d.name(TypeBytesMax))
	if id := d.take(len(o.Key.Record)); id != nil {
		o.Key.Record = RecordID(id)
	}
	o.Key.Field = n.field(d.name(FieldBytesMax))
	o.Stamp = Stamp(d.fixed64())
	o.Author, o.Seq = d.id(n)
	o.Base.Pred.Author, o.Base.Pred.Seq = d.id(n)
	o.Base.Birth.Epoch = Epoch(d.fixed64())
	o.Base.Birth.Offset = Offset(d.uvarint(1<<64 - 1))
	o.PactVersion = uint32(d.uvarint(1<<32 - 1))
	o.Binding = uint32(d.uvarint(1<<32 - 1))
	if c := d.take(1); c != nil {
		o.Evidence.Class = EvidenceClass(c[0])
	}
	o.Evidence.UncertaintyMillis = uint32(d.uvarint(1<<32 - 1))
	o.Value = d.take(int(d.uvarint(uint64(o.Key.Field.ValueBytesMax()))))
	if d.failed || len(d.rest) != 0 {
		*o = Op{}
		return fmt.Errorf("op: %w", ErrMalformed)
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendID(b []byte, id OpID) []byte {
	b = appendString(b, string(id.Author.Site))
	b = appendString(b, string(id.Author.Agent))
	b = binary.AppendUvarint(b, id.Author.Incarnation)
	return binary.AppendUvarint(b, uint64(id.Seq))
}

// decoder reads canonical bytes; after the first failure it returns zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if d.failed || n < 0 || n > len(d.rest) {
		d.failed = true
		return nil
	}
	out := d.rest[:n:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) fixed64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint refuses numbers above limit and encodings longer than needed, so
// that one value has one encoding.
func (d *decoder) uvarint(limit uint64) uint64 {
	if len(d.rest) > 0 && d.rest[0] < 0x80 && !d.failed { // nearly all of them
		v := uint64(d.rest[0])
		d.rest = d.rest[1:]
		d.failed = v > limit
		return v
	}
	return d.longUvarint(limit)
}

func (d *decoder) longUvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.failed || n <= 0 || v > limit || n > 1 && d.rest[n-1] == 0 {
		d.failed = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) name(bytesMax int) []byte { return d.take(int(d.uvarint(uint64(bytesMax)))) }

func (d *decoder) id(n *Names) (Author, Seq) {
	site, agent := d.name(NameBytesMax), d.name(NameBytesMax)
	return n.author(site, agent, d.uvarint(1<<64-1)), Seq(d.uvarint(1<<64 - 1))
}
