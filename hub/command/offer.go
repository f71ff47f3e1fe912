package command

import (
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
)

const (
	offeredBytesMin = 9 + 1 + 64 // bounds what a hostile length may make us allocate
	heldBytesMin    = 8 + 1
	forkBytesMin    = 8 + 8 + 1 + 1
)

func (c *Offer) appendBody(b []byte) []byte {
	b = codec.AppendBytes(b, c.Site)
	b = codec.AppendBytes(b, c.Agent)
	b = codec.AppendBytes(b, c.Pact)
	b = codec.AppendFixed64(b, uint64(c.Epoch))
	b = appendLineage(b, c.Lineage)
	b = c.End.append(b)
	for i := range c.Registers {
		b = c.Registers[i].append(b)
	}
	return b
}

func readOffer(r *codec.Reader) (*Offer, error) {
	c := &Offer{
		Site:    crdt.Site(r.String(crdt.NameBytesMax)),
		Agent:   crdt.AgentName(r.String(crdt.NameBytesMax)),
		Pact:    crdt.Pact(r.String(crdt.NameBytesMax + 1)),
		Epoch:   crdt.Epoch(r.Fixed64()),
		Lineage: readLineage(r),
		End:     readOfferEnd(r),
	}
	c.Registers = make([]Offered, 0, r.Len()/offeredBytesMin)
	for r.Ok() && r.Len() > 0 {
		o := Offered{Birth: readPosition(r), Place: readPlace(r)}
		var err error
		if o.Op, err = readOp(r); err != nil {
			return nil, fmt.Errorf("%w: offer command: %w", ErrMalformed, err)
		}
		c.Registers = append(c.Registers, o) // if r failed, the command is refused as a whole
	}
	return c, nil
}

func (o *Offered) append(b []byte) []byte {
	b = appendPosition(b, o.Birth)
	if o.Place.IsZero() {
		b = append(b, 0)
	} else {
		b = appendPosition(append(b, 1), o.Place)
	}
	return appendOp(b, &o.Op)
}

func readPlace(r *codec.Reader) (p crdt.Position) {
	switch r.Byte() {
	case 0:
		return p
	case 1:
		p = readPosition(r)
	}
	if p.IsZero() {
		r.Fail()
	}
	return p
}

// append writes a byte that says whether there is an end, then the end.
func (e *OfferEnd) append(b []byte) []byte {
	if e == nil {
		return append(b, 0)
	}
	b = appendOpID(append(b, 1), e.After)
	b = codec.AppendUvarint(b, uint64(len(e.Held)))
	for _, p := range e.Held {
		b = appendPosition(b, p)
	}
	return b
}

// appendLineage appends l; readLineage reads it.
func appendLineage(b []byte, l crdt.Lineage) []byte {
	b = codec.AppendUvarint(b, uint64(len(l)))
	for _, f := range l {
		b = codec.AppendFixed64(b, uint64(f.Child))
		b = codec.AppendFixed64(b, uint64(f.Parent))
		b = codec.AppendUvarint(b, uint64(f.At))
		b = codec.AppendUvarint(b, uint64(f.From))
	}
	return b
}

// readLineage reads what appendLineage wrote.
func readLineage(r *codec.Reader) (l crdt.Lineage) {
	for range r.Uvarint(uint64(r.Len() / forkBytesMin)) {
		l = append(l, crdt.Fork{
			Child: crdt.Epoch(r.Fixed64()), Parent: crdt.Epoch(r.Fixed64()),
			At: crdt.Offset(r.Uvarint(uint64Max)), From: crdt.Offset(r.Uvarint(uint64Max)),
		})
	}
	return l
}

func readOfferEnd(r *codec.Reader) *OfferEnd {
	switch r.Byte() {
	case 0:
		return nil
	case 1:
	default:
		r.Fail()
		return nil
	}
	e := &OfferEnd{After: readOpID(r)}
	for range r.Uvarint(uint64(r.Len() / heldBytesMin)) {
		e.Held = append(e.Held, readPosition(r))
	}
	return e
}

// Split cuts c into commands of at most bytesMax each (at least one register
// each), in order; the first one brings the lineage, the last one the end.
func (c *Offer) Split(bytesMax int) []*Offer {
	var out []*Offer
	part := *c
	part.Registers = nil
	bare := len(part.appendBody(nil)) + 64 // the entry around it
	part.End = nil
	var scratch []byte
	from, size := 0, bare
	for i := range c.Registers {
		scratch = c.Registers[i].append(scratch[:0])
		if i > from && size+len(scratch) > bytesMax {
			done := part
			done.Registers = c.Registers[from:i]
			out = append(out, &done)
			part.Lineage = nil
			from, size = i, bare
		}
		size += len(scratch)
	}
	part.Registers, part.End = c.Registers[from:], c.End
	return append(out, &part)
}

func (c *OfferPact) appendBody(b []byte) []byte {
	b = codec.AppendUvarint(b, uint64(len(c.Sites)))
	for _, site := range c.Sites {
		b = codec.AppendBytes(b, site)
	}
	return append(b, c.Document...)
}

func readOfferPact(r *codec.Reader) *OfferPact {
	c := new(OfferPact)
	for range r.Uvarint(uint64(r.Len())) {
		c.Sites = append(c.Sites, crdt.Site(r.String(crdt.NameBytesMax)))
		if !r.Ok() {
			return c
		}
	}
	c.Document = r.Take(r.Len())
	return c
}

// appendPosition appends p; readPosition reads it.
func appendPosition(b []byte, p crdt.Position) []byte {
	return codec.AppendUvarint(codec.AppendFixed64(b, uint64(p.Epoch)), uint64(p.Offset))
}

// readPosition reads what appendPosition wrote.
func readPosition(r *codec.Reader) crdt.Position {
	return crdt.Position{Epoch: crdt.Epoch(r.Fixed64()), Offset: crdt.Offset(r.Uvarint(uint64Max))}
}
