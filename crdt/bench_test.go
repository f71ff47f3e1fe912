package crdt_test

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

// merge is what the hub does with every op once it is hashed.
type merge struct {
	current, winner, loser crdt.Register
	lineage                crdt.Lineage
	preds                  []crdt.OpID
}

func newMerge() *merge {
	m := &merge{lineage: crdt.Lineage{{Child: 2, Parent: 1, At: 40}}}
	m.current = crdt.NewRegister(crdttest.Op(100, "acme", 1, "current"), crdt.Position{Epoch: 1, Offset: 30})
	m.winner = crdt.NewRegister(crdttest.Op(101, "globex", 1, "winner"), crdt.Position{})
	m.winner.Op.Base = crdt.Base{Birth: crdt.Position{Epoch: 2, Offset: 3}}
	m.loser = crdt.NewRegister(crdttest.Op(99, "globex", 2, "loser"), crdt.Position{})
	m.preds = []crdt.OpID{crdttest.Vectors()[1].Op.ID()}
	return m
}

var kept *crdt.Register

func TestMergeCoreDoesNotAllocate(t *testing.T) {
	m := newMerge()
	if v := crdt.Judge(&m.current, &m.winner, m.lineage, m.preds); v != crdt.VerdictReplace {
		t.Fatal(v)
	}
	if v := crdt.Judge(&m.current, &m.loser, m.lineage, m.preds); v != crdt.VerdictLost {
		t.Fatal(v)
	}
	allocs := testing.AllocsPerRun(100, func() {
		for _, op := range []*crdt.Register{&m.winner, &m.loser, &m.current} {
			if crdt.Judge(&m.current, op, m.lineage, m.preds) == 0 {
				t.Fatal("no verdict")
			}
			kept = crdt.Join(&m.current, op)
		}
		_ = m.winner.Op.Digest()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkJoin(b *testing.B) {
	m := newMerge()
	b.ReportAllocs()
	for b.Loop() {
		kept = crdt.Join(&m.current, &m.winner)
	}
}

// A tie of stamps and authors: the whole order is walked.
func BenchmarkJoinTie(b *testing.B) {
	m := newMerge()
	twin := m.current.Op
	twin.Seq++
	tie := crdt.NewRegister(twin, crdt.Position{})
	b.ReportAllocs()
	for b.Loop() {
		kept = crdt.Join(&m.current, &tie)
	}
}

func BenchmarkJudge(b *testing.B) {
	m := newMerge()
	for name, op := range map[string]*crdt.Register{"replace": &m.winner, "lost": &m.loser} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if crdt.Judge(&m.current, op, m.lineage, m.preds) == 0 {
					b.Fatal("no verdict")
				}
			}
		})
	}
}

func BenchmarkOpDigest(b *testing.B) {
	op := crdttest.Vectors()[1].Op
	b.ReportAllocs()
	for b.Loop() {
		_ = op.Digest()
	}
}

func BenchmarkOpEncode(b *testing.B) {
	op := crdttest.Vectors()[1].Op
	buf := op.AppendCanonical(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf = op.AppendCanonical(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkOpDecode(b *testing.B) {
	op := crdttest.Vectors()[1].Op
	buf := op.AppendCanonical(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := crdt.DecodeOp(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkLostRecord(b *testing.B) {
	m := newMerge()
	b.ReportAllocs()
	for b.Loop() {
		l := crdt.NewLost(&m.loser, &m.current)
		if l.Op().Stamp == 0 {
			b.Fatal("no stamp")
		}
	}
}
