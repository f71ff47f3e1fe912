package command

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
)

const uint64Max = 1<<64 - 1

// appendCommand appends kind, length of the body (four bytes, big-endian), body.
func appendCommand(b []byte, c Command) []byte {
	b = append(b, byte(c.Kind()), 0, 0, 0, 0)
	at := len(b)
	b = c.appendBody(b)
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

func (d *Decoder) readCommand(r *codec.Reader) (Command, error) {
	kind := Kind(r.Byte())
	var size int
	if b := r.Take(4); b != nil {
		size = int(binary.BigEndian.Uint32(b))
	}
	body := codec.NewReader(r.Take(size))
	if !r.Ok() {
		return nil, fmt.Errorf("%w: %s command is cut off", ErrMalformed, kind)
	}
	var c Command
	var err error
	switch kind {
	case KindFound:
		c = readFound(body)
	case KindFork:
		c = &Fork{Parent: crdt.Epoch(body.Fixed64()), Child: crdt.Epoch(body.Fixed64())}
	case KindPutPact:
		c = &PutPact{Document: body.Take(body.Len())}
	case KindPublish:
		c, err = d.readPublish(body)
	case KindAudit:
		c = readAudit(body)
	case KindNode:
		c, err = readNode(body)
	case KindToken:
		c, err = readToken(body)
	case KindTally:
		c, err = readTally(body)
	case KindOffer:
		c, err = readOffer(body)
	case KindOfferPact:
		c = readOfferPact(body)
	default:
		return nil, fmt.Errorf("%w: %s", ErrKind, kind)
	}
	if err != nil {
		return nil, err
	}
	if !body.Done() {
		return nil, fmt.Errorf("%w: %s command", ErrMalformed, kind)
	}
	return c, nil
}

// bodyFormat reads the first byte of a body that can grow.
func bodyFormat(r *codec.Reader, kind Kind, known byte) error {
	switch format := r.Byte(); {
	case format > known:
		return fmt.Errorf("%w: %s command of format %d, known up to %d", ErrNewer, kind, format, known)
	case format == 0:
		return fmt.Errorf("%w: %s command of format 0", ErrMalformed, kind)
	}
	return nil
}

func (c *Found) appendBody(b []byte) []byte {
	return codec.AppendFixed64(append(b, c.Hub[:]...), uint64(c.Epoch))
}

func readFound(r *codec.Reader) *Found {
	c := new(Found)
	copy(c.Hub[:], r.Take(len(c.Hub)))
	c.Epoch = crdt.Epoch(r.Fixed64())
	return c
}

func (c *Fork) appendBody(b []byte) []byte {
	return codec.AppendFixed64(codec.AppendFixed64(b, uint64(c.Parent)), uint64(c.Child))
}

func (c *PutPact) appendBody(b []byte) []byte { return append(b, c.Document...) }

func (c *Publish) appendBody(b []byte) []byte {
	b = c.appendHead(b)
	if c.encoded != nil {
		return append(b, c.encoded...)
	}
	for i := range c.Ops {
		b = appendOp(b, &c.Ops[i])
	}
	return b
}

// appendHead appends everything before the ops.
func (c *Publish) appendHead(b []byte) []byte {
	b = codec.AppendBytes(b, c.Site)
	b = codec.AppendBytes(b, c.Agent)
	b = codec.AppendBytes(b, c.Pact)
	b = codec.AppendFixed64(b, uint64(c.Epoch))
	return appendOpID(b, c.After)
}

// opHeader is the length before each op.
const opHeader = 4

func appendOp(b []byte, o *crdt.Op) []byte {
	b = append(b, make([]byte, opHeader)...)
	at := len(b)
	b = o.AppendCanonical(b)
	binary.BigEndian.PutUint32(b[at-opHeader:], uint32(len(b)-at))
	return b
}

// takeOp takes the canonical bytes of one op off the front of what appendOp
// wrote; false if b is something else.
func takeOp(b []byte) (op, rest []byte, ok bool) {
	if len(b) < opHeader {
		return nil, nil, false
	}
	size := binary.BigEndian.Uint32(b)
	if uint64(size) > uint64(len(b)-opHeader) {
		return nil, nil, false
	}
	end := opHeader + int(size)
	return b[opHeader:end:end], b[end:], true
}

// All yields each op and its canonical bytes, in order. The bytes are those of
// the entry, if c was decoded, and otherwise valid until the next op.
func (c *Publish) All() iter.Seq2[*crdt.Op, []byte] {
	return func(yield func(*crdt.Op, []byte) bool) {
		rest := c.encoded
		var scratch []byte
		for i := range c.Ops {
			op := &c.Ops[i]
			if c.encoded != nil {
				scratch, rest, _ = takeOp(rest)
			} else {
				scratch = op.AppendCanonical(scratch[:0])
			}
			if !yield(op, scratch) {
				return
			}
		}
	}
}

func (d *Decoder) readPublish(r *codec.Reader) (*Publish, error) {
	c := d.publish()
	*c = Publish{
		Site:  crdt.Site(r.String(crdt.NameBytesMax)),
		Agent: crdt.AgentName(r.String(crdt.NameBytesMax)),
		Pact:  crdt.Pact(r.String(crdt.NameBytesMax + 1)),
		Epoch: crdt.Epoch(r.Fixed64()),
		After: readOpID(r),
	}
	c.encoded = r.Take(r.Len())
	first := len(d.ops)
	for rest := c.encoded; len(rest) > 0; {
		b, after, ok := takeOp(rest)
		if !ok {
			return nil, fmt.Errorf("%w: publish command: an op is cut off", ErrMalformed)
		}
		d.ops = append(d.ops, crdt.Op{})
		if err := d.names.DecodeOp(&d.ops[len(d.ops)-1], b); err != nil {
			return nil, fmt.Errorf("%w: publish command: %w", ErrMalformed, err)
		}
		rest = after
	}
	c.Ops = d.ops[first:len(d.ops):len(d.ops)]
	return c, nil
}

// readOp reads what appendOp wrote. Where r fails it says so, and the op means
// nothing.
func readOp(r *codec.Reader) (crdt.Op, error) {
	var size int
	if b := r.Take(4); b != nil {
		size = int(binary.BigEndian.Uint32(b))
	}
	b := r.Take(size)
	if !r.Ok() {
		return crdt.Op{}, nil
	}
	return crdt.DecodeOp(b)
}

// Split cuts c into commands of at most bytesMax each (at least one op each), in
// order, every one behind the one before. It encodes the ops; they are not
// encoded again when the commands go into an entry.
func (c *Publish) Split(bytesMax int) []*Publish {
	bare := len(c.appendHead(nil)) + 256 // After grows by at most this
	var out []*Publish
	part := *c
	part.encoded = make([]byte, 0, min(bytesMax, opBytesUsual*len(c.Ops)))
	first := 0
	for i := range c.Ops {
		at := len(part.encoded)
		part.encoded = appendOp(part.encoded, &c.Ops[i])
		if i > first && bare+len(part.encoded) > bytesMax {
			done := part
			done.Ops, done.encoded = c.Ops[first:i], part.encoded[:at:at]
			out = append(out, &done)
			part.After = c.Ops[i-1].ID()
			part.encoded = append([]byte(nil), part.encoded[at:]...)
			first = i
		}
	}
	part.Ops = c.Ops[first:]
	return append(out, &part)
}

// opBytesUsual is a guess at the size of one encoded op.
const opBytesUsual = 256

func (c *Audit) appendBody(b []byte) []byte {
	b = codec.AppendUvarint(b, c.Index)
	for i := range c.Pacts {
		b = c.Pacts[i].append(b)
	}
	return b
}

func readAudit(r *codec.Reader) *Audit {
	c := &Audit{Index: r.Uvarint(uint64Max)}
	for r.Ok() && r.Len() > 0 {
		c.Pacts = append(c.Pacts, readPactDigest(r))
	}
	return c
}

// append appends d; readPactDigest reads it.
func (d *PactDigest) append(b []byte) []byte {
	b = codec.AppendBytes(b, d.Pact)
	b = codec.AppendUvarint(b, uint64(d.Version))
	b = codec.AppendUvarint(b, uint64(d.Head))
	sum := d.Registers.Bytes()
	b = append(b, sum[:]...)
	b = codec.AppendUvarint(b, d.Authors.Count)
	b = codec.AppendFixed64(b, d.Authors.Seen)
	return codec.AppendFixed64(b, d.Authors.Refused)
}

// readPactDigest reads what append wrote.
func readPactDigest(r *codec.Reader) PactDigest {
	d := PactDigest{
		Pact:    crdt.Pact(r.String(crdt.NameBytesMax + 1)),
		Version: uint32(r.Uvarint(1<<32 - 1)),
		Head:    crdt.Offset(r.Uvarint(uint64Max)),
	}
	var sum [crdt.MultisetBytes]byte
	copy(sum[:], r.Take(len(sum)))
	d.Registers = crdt.MultisetFrom(sum)
	d.Authors = AuthorSum{Count: r.Uvarint(uint64Max), Seen: r.Fixed64(), Refused: r.Fixed64()}
	return d
}

// appendOpID appends id; readOpID reads it.
func appendOpID(b []byte, id crdt.OpID) []byte {
	b = appendAuthor(b, id.Author)
	return codec.AppendUvarint(b, uint64(id.Seq))
}

// readOpID reads what appendOpID wrote.
func readOpID(r *codec.Reader) crdt.OpID {
	return crdt.OpID{Author: readAuthor(r), Seq: crdt.Seq(r.Uvarint(uint64Max))}
}

// appendAuthor appends a; readAuthor reads it.
func appendAuthor(b []byte, a crdt.Author) []byte {
	b = codec.AppendBytes(b, a.Site)
	b = codec.AppendBytes(b, a.Agent)
	return codec.AppendUvarint(b, a.Incarnation)
}

// readAuthor reads what appendAuthor wrote.
func readAuthor(r *codec.Reader) crdt.Author {
	return crdt.Author{
		Site:        crdt.Site(r.String(crdt.NameBytesMax)),
		Agent:       crdt.AgentName(r.String(crdt.NameBytesMax)),
		Incarnation: r.Uvarint(uint64Max),
	}
}
