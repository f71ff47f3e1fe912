package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// Packed is entries of a slice as they are on the wire: Add writes each as field
// entries of SubscribeResponse, so that a hub makes no message in memory of what
// it passes on by the million. The zero Packed is empty. It is for one goroutine.
type Packed struct {
	bytes       []byte
	count       int
	size        int // by OpBytes
	first, last crdt.Offset
}

// Reset empties p and keeps its memory, which a message that was sent shares no
// more.
func (p *Packed) Reset() { *p = Packed{bytes: p.bytes[:0]} }

// Len returns how many entries there are; a nil Packed has none.
func (p *Packed) Len() int {
	if p == nil {
		return 0
	}
	return p.count
}

// Span returns the offsets of the first entry and of the last.
func (p *Packed) Span() (first, last crdt.Offset) { return p.first, p.last }

// Add adds an entry behind the others, at a higher offset. It keeps none of op.
func (p *Packed) Add(offset crdt.Offset, birth crdt.Position, op *crdt.Op) {
	if p.count == 0 {
		p.first = offset
	}
	p.last = offset
	p.count++
	p.size += OpBytes(op)
	b, entry := open(p.bytes, 1)
	b = appendVarint(b, 1, uint64(offset))
	b = appendPosition(b, 2, birth)
	b, at := open(b, 3)
	b = shut(appendOp(b, op), at)
	p.bytes = shut(b, entry)
}

// into puts the entries into m, which is to be sent before the next Reset.
func (p *Packed) into(m *syncv1.SubscribeResponse) error {
	if p.count > SliceEntriesMax {
		return Errorf(ReasonOversize, "%d entries, limit %d", p.count, SliceEntriesMax)
	}
	if p.size > SliceBytesMax && p.count > 1 {
		return Errorf(ReasonOversize, "a slice of %d bytes, limit %d", p.size, SliceBytesMax)
	}
	m.ProtoReflect().SetUnknown(p.bytes) // what is unknown is written as it is
	return nil
}

// appendOp appends the content of message Op; decodeOp reads it.
func appendOp(b []byte, o *crdt.Op) []byte {
	b = appendBytes(b, 1, o.Key.Type)
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), o.Key.Record[:])
	b = appendBytes(b, 3, o.Key.Field)
	b = appendFixed64(b, 4, uint64(o.Stamp))
	b = appendAuthor(b, 5, &o.Author)
	b = appendVarint(b, 6, uint64(o.Seq))
	b = appendBase(b, 7, &o.Base)
	b = appendVarint(b, 8, uint64(o.PactVersion))
	b = appendVarint(b, 9, uint64(o.Binding))
	b = appendVarint(b, 10, uint64(o.Evidence.Class))
	b = appendVarint(b, 11, uint64(o.Evidence.UncertaintyMillis))
	return appendBytes(b, 12, o.Value)
}

func appendAuthor(b []byte, n protowire.Number, a *crdt.Author) []byte {
	if a.IsZero() {
		return b
	}
	b, at := open(b, n)
	b = appendBytes(b, 1, a.Site)
	b = appendBytes(b, 2, a.Agent)
	return shut(appendVarint(b, 3, a.Incarnation), at)
}

func appendBase(b []byte, n protowire.Number, base *crdt.Base) []byte {
	if *base == (crdt.Base{}) {
		return b
	}
	b, at := open(b, n)
	if !base.Pred.IsZero() {
		var pred int
		b, pred = open(b, 1)
		b = appendAuthor(b, 1, &base.Pred.Author)
		b = shut(appendVarint(b, 2, uint64(base.Pred.Seq)), pred)
	}
	return shut(appendPosition(b, 2, base.Birth), at)
}

func appendPosition(b []byte, n protowire.Number, p crdt.Position) []byte {
	if p.IsZero() {
		return b
	}
	b, at := open(b, n)
	b = appendFixed64(b, 1, uint64(p.Epoch))
	return shut(appendVarint(b, 2, uint64(p.Offset)), at)
}

func appendBytes[T ~string | ~[]byte](b []byte, n protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return append(protowire.AppendVarint(b, uint64(len(v))), v...)
}

func appendFixed64(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), v)
}

// open begins a message in field n, with room for a length of one byte; shut ends
// it.
func open(b []byte, n protowire.Number) ([]byte, int) {
	b = append(protowire.AppendTag(b, n, protowire.BytesType), 0)
	return b, len(b)
}

// shut writes the length of the message that begins at, and moves it if that
// takes more than one byte.
func shut(b []byte, at int) []byte {
	size := uint64(len(b) - at)
	if size < 1<<7 {
		b[at-1] = byte(size)
		return b
	}
	var length [10]byte
	head := protowire.AppendVarint(length[:0], size)
	b = append(b, head[1:]...)
	copy(b[at-1+len(head):], b[at:at+int(size)])
	copy(b[at-1:], head)
	return b
}
