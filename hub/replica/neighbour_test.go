package replica

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// BenchmarkNeighbour is the time that a quiet pact waits for an op (a hundred a
// second), alone and beside a pact that sends a thousand times as many (batches
// of 256), or as many as the hub takes: three nodes, without rpc and quotas. It
// reports the 50th and 99th percentile.
func BenchmarkNeighbour(b *testing.B) {
	for _, tc := range []struct {
		name  string
		pause time.Duration // between the neighbour's batches
		many  int           // of them under way at most
	}{{"alone", 0, 0}, {"beside-1000x", 2560 * time.Microsecond, 64}, {"beside-flood", 0, 64}} {
		b.Run(tc.name, func(b *testing.B) {
			c := newCluster(b, 3, func(cfg *Config) {
				cfg.SegmentBytes, cfg.MemTableBytes, cfg.HeartbeatTimeout = 0, 0, 3*time.Second
			})
			c.found()
			quiet := &pact.Pact{
				Name: "quiet", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
				Fields: []pact.Field{{Name: "title", Type: pact.TypeText}},
			}
			c.propose(&command.PutPact{Document: quiet.Encode()})
			leader := c.leader()
			stop := make(chan struct{})
			var flood sync.WaitGroup
			if tc.many > 0 {
				flood.Go(func() { spam(leader, tc.pause, tc.many, stop) })
			}
			var took []time.Duration
			for seq := crdt.Seq(1); b.Loop(); seq++ {
				time.Sleep(10 * time.Millisecond)
				p := publish(seq, 1)
				p.Pact, p.Ops[0].Key.Pact = "quiet", "quiet"
				began := time.Now()
				result, err := leader.Propose(context.Background(), p)
				if err != nil || result.Ops[0].Outcome != state.OutcomeApplied {
					b.Fatalf("%v %+v", err, result.Ops)
				}
				took = append(took, time.Since(began))
			}
			close(stop)
			flood.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// spam publishes in another pact until stop.
func spam(r *Replica, pause time.Duration, many int, stop <-chan struct{}) {
	flying := make(chan struct{}, many)
	defer func() { // all answers are in
		for range many {
			flying <- struct{}{}
		}
	}()
	for seq := crdt.Seq(1); ; {
		select {
		case <-stop:
			return
		case flying <- struct{}{}:
		}
		wait, err := r.Start(publish(seq, 256))
		if err != nil {
			<-flying
			if !errors.Is(err, ErrBusy) {
				return
			}
			continue
		}
		seq += 256
		go func() {
			_, _ = wait(context.Background()) // its own affair
			<-flying
		}()
		time.Sleep(pause)
	}
}
