package command

import (
	"encoding/binary"
	"fmt"

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

func readCommand(r *codec.Reader) (Command, error) {
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
	switch kind {
	case KindFound:
		c = readFound(body)
	case KindFork:
		c = &Fork{Parent: crdt.Epoch(body.Fixed64()), Child: crdt.Epoch(body.Fixed64())}
	case KindPutPact:
		c = &PutPact{Document: body.Take(body.Len())}
	case KindPublish:
		p, err := readPublish(body)
		if err != nil {
			return nil, err
		}
		c = p
	case KindAudit:
		c = readAudit(body)
	default:
		return nil, fmt.Errorf("%w: %s", ErrKind, kind)
	}
	if !body.Done() {
		return nil, fmt.Errorf("%w: %s command", ErrMalformed, kind)
	}
	return c, nil
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
	b = codec.AppendBytes(b, c.Site)
	b = codec.AppendBytes(b, c.Agent)
	b = codec.AppendBytes(b, c.Pact)
	b = codec.AppendFixed64(b, uint64(c.Epoch))
	b = appendOpID(b, c.After)
	for i := range c.Ops {
		b = appendOp(b, &c.Ops[i])
	}
	return b
}

func appendOp(b []byte, o *crdt.Op) []byte {
	b = append(b, 0, 0, 0, 0)
	at := len(b)
	b = o.AppendCanonical(b)
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

func readPublish(r *codec.Reader) (*Publish, error) {
	c := &Publish{
		Site:  crdt.Site(r.String(crdt.NameBytesMax)),
		Agent: crdt.AgentName(r.String(crdt.NameBytesMax)),
		Pact:  crdt.Pact(r.String(crdt.NameBytesMax + 1)),
		Epoch: crdt.Epoch(r.Fixed64()),
		After: readOpID(r),
	}
	const opBytesMin = 64 // bounds what a hostile length may make us allocate
	c.Ops = make([]crdt.Op, 0, r.Len()/opBytesMin)
	for r.Ok() && r.Len() > 0 {
		var size int
		if b := r.Take(4); b != nil {
			size = int(binary.BigEndian.Uint32(b))
		}
		b := r.Take(size)
		if !r.Ok() {
			break
		}
		op, err := crdt.DecodeOp(b)
		if err != nil {
			return nil, fmt.Errorf("%w: publish command: %w", ErrMalformed, err)
		}
		c.Ops = append(c.Ops, op)
	}
	return c, nil
}

// Split cuts c into commands of at most bytesMax each (at least one op each), in
// order, every one behind the one before.
func (c *Publish) Split(bytesMax int) []*Publish {
	var out []*Publish
	part := *c
	part.Ops = nil
	var scratch []byte
	bare := len(part.appendBody(nil)) + 256 // After grows by at most this
	size := bare
	for i := range c.Ops {
		scratch = appendOp(scratch[:0], &c.Ops[i])
		if len(part.Ops) > 0 && size+len(scratch) > bytesMax {
			done := part
			out = append(out, &done)
			part.After = c.Ops[i-1].ID()
			part.Ops, size = nil, bare
		}
		part.Ops = c.Ops[i-len(part.Ops) : i+1]
		size += len(scratch)
	}
	return append(out, &part)
}

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
