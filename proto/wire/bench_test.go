package wire

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// One op through the gate, both ways, as part of a batch of 256.
func BenchmarkBatch(b *testing.B) {
	batch := Batch{Pact: testPact, Epoch: 1}
	for i := range 256 {
		op := crdttest.Op(crdt.StampOf(1000, uint16(i)), "acme", crdt.Seq(i+1), "a title of usual length")
		op.Key.Pact = testPact
		batch.Ops = append(batch.Ops, op)
	}
	b.ReportAllocs()
	ops := 0
	for b.Loop() {
		m, err := encodeBatch(batch)
		if err != nil {
			b.Fatal(err)
		}
		raw, err := proto.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		var back syncv1.PublishRequest
		if err := proto.Unmarshal(raw, &back); err != nil {
			b.Fatal(err)
		}
		if _, err := decodeBatch(&back); err != nil {
			b.Fatal(err)
		}
		ops += len(batch.Ops)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(ops), "ns/op-of-batch")
}

func BenchmarkAppendRegister(b *testing.B) {
	op := crdttest.Op(1<<20, "acme", 3, "a title of usual length")
	s := StoredRegister{Register: crdt.NewRegister(op, crdt.Position{Epoch: 5, Offset: 8}), Offset: 11}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRegister(buf[:0], &s)
	}
}
