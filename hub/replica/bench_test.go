package replica

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// BenchmarkPublish is ops through the whole of a replica (join, log, sync on a
// majority, Apply), without rpc: batches of 256, 16 of them under way.
func BenchmarkPublish(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			c := newCluster(b, nodes, func(cfg *Config) {
				cfg.SegmentBytes, cfg.MemTableBytes, cfg.HeartbeatTimeout = 0, 0, 2*time.Second
			})
			c.found()
			leader := c.leader()
			const batch, window = 256, 16
			type wait = func(context.Context) (state.CommandResult, error)
			var flying []wait
			settle := func() {
				result, err := flying[0](context.Background())
				if err != nil || result.Ops[0].Outcome != state.OutcomeApplied {
					b.Fatalf("%v %+v", err, result.Ops)
				}
				flying = flying[1:]
			}
			var seq crdt.Seq
			for b.Loop() {
				if len(flying) == window {
					settle()
				}
				wait, err := leader.Start(publish(seq+1, batch))
				if err != nil {
					b.Fatal(err)
				}
				flying = append(flying, wait)
				seq += batch
			}
			for len(flying) > 0 {
				settle()
			}
			b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}
