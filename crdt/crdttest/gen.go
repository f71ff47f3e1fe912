package crdttest

import (
	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// Key is the register that tests fall back to.
func Key() crdt.Key {
	return crdt.Key{Pact: "helpdesk", Type: "ticket", Record: crdt.RecordID{0xaa, 15: 1}, Field: "title"}
}

// Op returns a valid op on Key with the given stamp, author and seq.
func Op(stamp crdt.Stamp, site crdt.Site, seq crdt.Seq, text string) crdt.Op {
	return crdt.Op{
		Key: Key(), Stamp: stamp, Author: crdt.Author{Site: site, Agent: "one", Incarnation: 1}, Seq: seq,
		PactVersion: 1, Binding: 1, Evidence: crdt.Evidence{Class: crdt.EvidenceHistory},
		Value: crdt.Plain(value.Text(text)),
	}
}

// Names draws a well-formed name.
func Names() *rapid.Generator[string] {
	return rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`)
}

// Authors draws from a few authors that differ in one part each, so that ties
// are common.
func Authors() *rapid.Generator[crdt.Author] {
	return rapid.SampledFrom([]crdt.Author{
		{Site: "acme", Agent: "one", Incarnation: 1},
		{Site: "acme", Agent: "one", Incarnation: 2},
		{Site: "acme", Agent: "two", Incarnation: 1},
		{Site: "globex", Agent: "one", Incarnation: 1},
	})
}

// Positions draws births; a third are unknown.
func Positions() *rapid.Generator[crdt.Position] {
	return rapid.Custom(func(t *rapid.T) crdt.Position {
		if rapid.IntRange(0, 2).Draw(t, "known") == 0 {
			return crdt.Position{}
		}
		return crdt.Position{
			Epoch:  crdt.Epoch(rapid.Uint64Range(1, 3).Draw(t, "epoch")),
			Offset: crdt.Offset(rapid.Uint64Range(1, 9).Draw(t, "offset")),
		}
	})
}

// Bases draws what an edit was made on.
func Bases() *rapid.Generator[crdt.Base] {
	return rapid.Custom(func(t *rapid.T) crdt.Base {
		b := crdt.Base{Birth: Positions().Draw(t, "birth")}
		if rapid.Bool().Draw(t, "pred known") {
			b.Pred = crdt.OpID{Author: Authors().Draw(t, "pred"), Seq: crdt.Seq(rapid.Uint64Min(1).Draw(t, "pred seq"))}
		}
		return b
	})
}

// Ops draws valid ops of one register with many equal stamps and authors.
func Ops() *rapid.Generator[crdt.Op] {
	return rapid.Custom(func(t *rapid.T) crdt.Op {
		return crdt.Op{
			Key:         Key(),
			Stamp:       crdt.StampOf(rapid.Int64Range(1, 3).Draw(t, "millis"), uint16(rapid.IntRange(0, 1).Draw(t, "counter"))),
			Author:      Authors().Draw(t, "author"),
			Seq:         crdt.Seq(rapid.Uint64Range(1, 3).Draw(t, "seq")),
			Base:        Bases().Draw(t, "base"),
			PactVersion: rapid.Uint32().Draw(t, "pact version"),
			Binding:     rapid.Uint32().Draw(t, "binding"),
			Evidence: crdt.Evidence{
				Class:             crdt.EvidenceClass(rapid.IntRange(1, 4).Draw(t, "evidence")),
				UncertaintyMillis: rapid.Uint32().Draw(t, "uncertainty"),
			},
			Value: crdt.Plain(value.Text(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "text"))),
		}
	})
}

// WideOps draws valid ops of any register, with any stamp and seq.
func WideOps() *rapid.Generator[crdt.Op] {
	return rapid.Custom(func(t *rapid.T) crdt.Op {
		o := Ops().Draw(t, "op")
		o.Key = crdt.Key{
			Pact:  crdt.Pact(Names().Draw(t, "pact")),
			Type:  crdt.Type(rapid.StringMatching(`[a-z_.-]{1,63}`).Draw(t, "type")),
			Field: crdt.Field(rapid.StringMatching(`(~[a-z0-9]|[a-z0-9_.-])[a-z0-9_./~-]{0,59}`).Draw(t, "field")),
		}
		copy(o.Key.Record[:], rapid.SliceOfN(rapid.ByteMin(1), 16, 16).Draw(t, "record"))
		if o.Key.Field.IsLost() {
			o.Key.Field = "title"
		}
		o.Stamp = crdt.Stamp(rapid.Uint64Range(1, uint64(crdt.StampMax)-1).Draw(t, "stamp"))
		o.Author.Site = crdt.Site(Names().Draw(t, "site"))
		o.Author.Incarnation = rapid.Uint64Min(1).Draw(t, "incarnation")
		o.Seq = crdt.Seq(rapid.Uint64Min(1).Draw(t, "wide seq"))
		o.Value = rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "value")
		return o
	})
}

// Registers draws versions of one register; some are the register never
// written, some are repeated with another birth.
func Registers() *rapid.Generator[crdt.Register] {
	return rapid.Custom(func(t *rapid.T) crdt.Register {
		if rapid.IntRange(0, 9).Draw(t, "written") == 0 {
			return crdt.Register{}
		}
		return crdt.NewRegister(Ops().Draw(t, "op"), Positions().Draw(t, "born"))
	})
}
