package replica

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
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

// BenchmarkRaftPort is a message of one entry, full of ops, through the port's checks,
// and through raft's decoder alone: what a follower pays to be safe from its leader.
func BenchmarkRaftPort(b *testing.B) {
	entry := command.NewBuilder(1_700_000_000_000, 60_000)
	for seq := crdt.Seq(1); entry.Add(publish(seq, 64)); seq += 64 {
	}
	data := entry.Bytes()
	message := appending(1, entryOf(raft.LogCommand, data))
	b.Run("vetted", func(b *testing.B) {
		port := newRaftPort(&Config{RPCTimeout: time.Second, vet: decodable})
		again := &again{message: message}
		conn, _ := port.enter(hostile, &given{Reader: again}, nil)
		out := make([]byte, len(message))
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := io.ReadFull(conn, out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raft", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			var req raft.AppendEntriesRequest
			if err := codec.NewDecoder(bytes.NewReader(message[1:]), &codec.MsgpackHandle{}).Decode(&req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			m := &machine{state: state.New(), latch: newLatch(func(error) {}), advanced: func([]crdt.Pact) {}}
			found := command.Entry{TimeMillis: 1, Commands: founding()}
			m.apply(&raft.Log{Index: 1, Data: found.Encode()})
			if got := m.apply(&raft.Log{Index: 2, Data: data}); len(got.Commands) == 0 || got.Commands[0].Ops[0].Outcome != state.OutcomeApplied {
				b.Fatal("not applied")
			}
		}
	})
}

// again reads one message for ever.
type again struct {
	message []byte
	at      int
}

func (a *again) Read(b []byte) (int, error) {
	n := copy(b, a.message[a.at:])
	a.at = (a.at + n) % len(a.message)
	return n, nil
}
