package workload

import "github.com/entente-sync/entente/crdt"

// Author returns the author of a writer's ops.
func Author(writer int) crdt.Author {
	return crdt.Author{Site: crdt.Site(Sites()[writer]), Agent: "main", Incarnation: 1}
}

// CRDT returns op as an agent of this product makes it. birth is where the
// version that the op was made on became current, zero if that is not known.
func (s Shape) CRDT(op Op, author crdt.Author, birth crdt.Position) crdt.Op {
	out := crdt.Op{
		Key:   crdt.Key{Pact: Pact, Type: Type, Record: s.Record(op.Register), Field: crdt.Field(s.Field(op.Register))},
		Stamp: crdt.Stamp(op.Stamp), Author: author, Seq: crdt.Seq(op.Seq), PactVersion: 1, Binding: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidenceHistory}, Value: op.Value,
	}
	if op.Pred > 0 {
		out.Base = crdt.Base{Pred: crdt.OpID{Author: author, Seq: crdt.Seq(op.Pred)}, Birth: birth}
	}
	return out
}
