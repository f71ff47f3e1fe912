package crdttest

import (
	"strings"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// NamedOp is one op whose bytes are pinned in a golden file.
type NamedOp struct {
	Name string
	Op   crdt.Op
}

// Vectors are ops that together reach every field, every kind of value, every
// kind of register, and the limits.
func Vectors() []NamedOp {
	full := Op(crdt.StampOf(1_700_000_000_123, 45), "acme", 300, "Printer on fire")
	full.Base = crdt.Base{
		Pred:  crdt.OpID{Author: crdt.Author{Site: "globex", Agent: "desk-2", Incarnation: 70_000}, Seq: 128},
		Birth: crdt.Position{Epoch: 0xfedcba9876543210, Offset: 1 << 40},
	}
	full.PactVersion, full.Binding = 127, 128
	full.Evidence = crdt.Evidence{Class: crdt.EvidencePoll, UncertaintyMillis: 60_000}

	longest := full
	longest.Key.Pact = crdt.Pact(strings.Repeat("p", crdt.NameBytesMax))
	longest.Key.Type = crdt.Type(strings.Repeat("t", crdt.TypeBytesMax))
	longest.Key.Field = crdt.Field(strings.Repeat("f", crdt.OpFieldBytesMax))
	longest.Author = crdt.Author{
		Site:  crdt.Site(strings.Repeat("s", crdt.NameBytesMax)),
		Agent: crdt.AgentName(strings.Repeat("a", crdt.NameBytesMax)), Incarnation: 1<<64 - 1,
	}
	longest.Seq, longest.Stamp = 1<<64-1, crdt.StampMax-1

	deleted := full
	deleted.Key.Field = crdt.FieldLife
	deleted.Value = crdt.Life{Deleted: true, Seen: map[crdt.Field]crdt.Base{
		"title": {Birth: full.Base.Birth}, "status": full.Base,
	}}.Envelope()

	element := full
	element.Key.Field = crdt.ElementField(full.Key.Pact, "labels", "urgent")
	element.Value = crdt.Plain(crdt.Present("urgent"))

	loser, winner := crdt.NewRegister(full, crdt.Position{}), crdt.NewRegister(Op(full.Stamp+1, "globex", 1, "x"), crdt.Position{})
	open := crdt.NewLost(&loser, &winner)
	resolved := open.Resolved(&winner)
	return []NamedOp{
		{"least", Op(1, "a", 1, "")},
		{"full", full},
		{"longest names and numbers", longest},
		{"every kind of value", everyKind(full)},
		{"delete", deleted},
		{"set element", element},
		{"open conflict record", open.Op()},
		{"resolved conflict record", resolved.Op()},
	}
}

func everyKind(op crdt.Op) crdt.Op {
	decimal, _ := value.ParseDecimal("-12.5")
	at := time.Date(2026, 2, 28, 23, 59, 59, 999e6, time.UTC)
	op.Value = crdt.Plain(value.Map(map[string]value.Value{
		"null": value.Null(), "bool": value.Bool(true), "int": value.Int(-1 << 63), "decimal": decimal,
		"text": value.Text("Größe ≤ 3"), "bytes": value.Bytes([]byte{0, 0xff}), "time": value.Time(at),
		"date": value.Date(at), "list": value.List(value.Int(1), value.List()), "map": value.Map(nil),
	}))
	return op
}
