package wire

import (
	"time"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

const testPact = crdt.Pact("helpdesk")

func ops() *rapid.Generator[crdt.Op] {
	return rapid.Custom(func(t *rapid.T) crdt.Op {
		op := crdttest.WideOps().Draw(t, "op")
		op.Key.Pact = testPact
		return op
	})
}

func batches() *rapid.Generator[Batch] {
	return rapid.Custom(func(t *rapid.T) Batch {
		return Batch{
			ID: rapid.Uint64().Draw(t, "id"), Pact: testPact,
			Epoch: crdt.Epoch(rapid.Uint64().Draw(t, "epoch")), After: ids().Draw(t, "after"),
			Ops: rapid.SliceOfN(ops(), 1, 8).Draw(t, "ops"),
		}
	})
}

func ids() *rapid.Generator[crdt.OpID] {
	return rapid.Custom(func(t *rapid.T) crdt.OpID {
		if rapid.Bool().Draw(t, "none") {
			return crdt.OpID{}
		}
		return crdt.OpID{
			Author: crdttest.Authors().Draw(t, "author"), Seq: crdt.Seq(rapid.Uint64Min(1).Draw(t, "seq")),
		}
	})
}

func slicesOf() *rapid.Generator[Slice] {
	return rapid.Custom(func(t *rapid.T) Slice {
		s := Slice{Entries: []Entry{}, PactVersion: rapid.Uint32().Draw(t, "version"), Lineage: lineages().Draw(t, "lineage")}
		offset := crdt.Offset(0)
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			offset += crdt.Offset(rapid.Uint64Range(1, 1<<50).Draw(t, "step"))
			s.Entries = append(s.Entries, Entry{
				Offset:   offset,
				Register: crdt.NewRegister(ops().Draw(t, "op"), crdttest.Positions().Draw(t, "birth")),
			})
		}
		s.Cursor = crdt.Position{
			Epoch:  crdt.Epoch(rapid.Uint64().Draw(t, "epoch")),
			Offset: offset + crdt.Offset(rapid.Uint64Max(9).Draw(t, "beyond")),
		}
		s.Head = s.Cursor.Offset + 1
		return s
	})
}

func authorStates() *rapid.Generator[AuthorState] {
	return rapid.Custom(func(t *rapid.T) AuthorState {
		return AuthorState{
			Author: crdttest.Authors().Draw(t, "author"),
			Seen:   crdt.Seq(rapid.Uint64().Draw(t, "seen")), Applied: crdt.Seq(rapid.Uint64().Draw(t, "applied")),
			Heard: crdt.Seq(rapid.Uint64().Draw(t, "heard")),
		}
	})
}

func lineages() *rapid.Generator[crdt.Lineage] {
	return rapid.Custom(func(t *rapid.T) crdt.Lineage {
		var l crdt.Lineage
		for range rapid.IntRange(0, 3).Draw(t, "forks") {
			l = append(l, crdt.Fork{
				Child:  crdt.Epoch(rapid.Uint64().Draw(t, "child")),
				Parent: crdt.Epoch(rapid.Uint64().Draw(t, "parent")),
				At:     crdt.Offset(rapid.Uint64().Draw(t, "at")),
				From:   crdt.Offset(rapid.Uint64().Draw(t, "from")),
			})
		}
		return l
	})
}

func welcomes() *rapid.Generator[Welcome] {
	return rapid.Custom(func(t *rapid.T) Welcome {
		w := Welcome{
			Protocol: Protocol, Hub: rapid.StringMatching("[0-9a-f]{32}").Draw(t, "hub"),
			Epoch:      crdt.Epoch(rapid.Uint64().Draw(t, "epoch")),
			TimeMillis: rapid.Int64().Draw(t, "time"),
			DriftMax:   time.Duration(rapid.Int64Range(0, driftMillisMax).Draw(t, "drift")) * time.Millisecond,
		}
		for range rapid.IntRange(0, 3).Draw(t, "pacts") {
			p := PactState{
				Pact: crdt.Pact(crdttest.Names().Draw(t, "pact")), Version: rapid.Uint32().Draw(t, "version"),
				Document: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "document"),
				Head:     crdt.Offset(rapid.Uint64().Draw(t, "head")), Lineage: lineages().Draw(t, "lineage"),
			}
			for range rapid.IntRange(0, 2).Draw(t, "authors") {
				p.Authors = append(p.Authors, authorStates().Draw(t, "author"))
			}
			w.Pacts = append(w.Pacts, p)
		}
		return w
	})
}

func results() *rapid.Generator[BatchResult] {
	return rapid.Custom(func(t *rapid.T) BatchResult {
		r := BatchResult{
			Batch: rapid.Uint64().Draw(t, "batch"), Results: []OpResult{},
			TimeMillis: rapid.Int64().Draw(t, "time"), Leader: rapid.SampledFrom([]string{"", "10.0.0.1:7430"}).Draw(t, "leader"),
			RetryAfter: time.Duration(rapid.Uint32().Draw(t, "retry")) * time.Millisecond,
		}
		for range rapid.IntRange(0, 4).Draw(t, "n") {
			r.Results = append(r.Results, OpResult{
				Outcome: Outcome(rapid.IntRange(1, 4).Draw(t, "outcome")),
				Reason:  rapid.SampledFrom(reasons).Draw(t, "reason").Reason,
				Offset:  crdt.Offset(rapid.Uint64().Draw(t, "offset")),
			})
		}
		return r
	})
}
