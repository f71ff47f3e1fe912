package store

import (
	"fmt"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// historyBatches are ops that replace each other on 50 registers, 256 an entry.
func historyBatches(n int) (out []command.Entry) {
	author := crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}
	last := map[crdt.Key]crdt.OpID{}
	seq := crdt.Seq(0)
	for range n {
		p := &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: epoch}
		for range 256 {
			seq++
			op := crdt.Op{
				Key: titleOf(int(seq % 50)), Stamp: crdt.StampOf(now+int64(seq), 0), Author: author, Seq: seq,
				PactVersion: 1, Binding: 1, Evidence: crdt.Evidence{Class: crdt.EvidencePoll},
				Value: crdt.Plain(value.Text(benchTitle)),
			}
			op.Base.Pred = last[op.Key]
			last[op.Key] = op.ID()
			p.Ops = append(p.Ops, op)
		}
		out = append(out, command.Entry{TimeMillis: now + int64(seq), DriftMaxMillis: 1 << 40, Commands: []command.Command{p}})
	}
	return out
}

// BenchmarkHistory is what a history costs: Apply of 51,200 ops that replace each
// other, and the checkpoint behind them.
func BenchmarkHistory(b *testing.B) {
	const batches = 200
	entries := historyBatches(batches)
	for _, days := range []int{0, 30} {
		b.Run(fmt.Sprintf("apply/days=%d", days), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				a := newAnnals(b, days)
				b.StartTimer()
				a.run(entries)
				b.StopTimer()
				if err := a.store.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batches*256), "ns/op-applied")
		})
		b.Run(fmt.Sprintf("checkpoint/days=%d", days), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				a := newAnnals(b, days)
				a.run(entries)
				c := a.TakeDirty()
				b.StartTimer()
				if err := a.store.Checkpoint(c); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := a.store.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
	b.Run("asof", func(b *testing.B) {
		a := newAnnals(b, 30)
		a.run(entries)
		a.checkpoint()
		b.ResetTimer()
		for i := range b.N {
			at := state.Moment{
				Pact: "tickets", Type: "ticket", Record: record(i % 50), Field: "title",
				Millis: now + 10_000 + int64(i%40_000), Limit: 1, BytesMax: 1 << 20,
			}
			if got, err := a.AsOf(at); err != nil || len(got.Versions) != 1 {
				b.Fatalf("%+v, %v", got, err)
			}
		}
	})
}

func (a *annals) run(entries []command.Entry) {
	for _, e := range entries {
		a.replay(a.Index()+1, e)
	}
}
