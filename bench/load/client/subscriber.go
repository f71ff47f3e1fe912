package client

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Subscriber follows the feed from a cursor until its context ends. All methods
// are safe for concurrent use.
type Subscriber struct {
	clock   *Clock
	cursor  atomic.Uint64
	entries atomic.Int64
	record  atomic.Pointer[Latencies]
	ended   chan struct{}
	err     error // after ended
}

// Subscribe begins at a cursor. clock may be nil if no latency is wanted.
func Subscribe(ctx context.Context, c *wire.Client, cursor crdt.Position, clock *Clock) (*Subscriber, error) {
	feed, err := c.Subscribe(ctx, workload.Pact, cursor)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	s := &Subscriber{clock: clock, ended: make(chan struct{})}
	s.cursor.Store(uint64(cursor.Offset))
	go func() {
		defer close(s.ended)
		s.err = s.follow(feed)
	}()
	return s, nil
}

// Cursor returns how far the subscriber has come.
func (s *Subscriber) Cursor() crdt.Offset { return crdt.Offset(s.cursor.Load()) }

// Entries returns how many entries have arrived.
func (s *Subscriber) Entries() int64 { return s.entries.Load() }

// Record gathers the latency of each entry from now on; nil stops it.
func (s *Subscriber) Record(to *Latencies) { s.record.Store(to) }

// Reach waits until the cursor is at offset or beyond.
func (s *Subscriber) Reach(ctx context.Context, offset crdt.Offset) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Cursor() < offset {
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("the feed ended at %d of %d: %w", s.Cursor(), offset, s.err)
		case <-ctx.Done():
			return fmt.Errorf("the feed is at %d of %d: %w", s.Cursor(), offset, context.Cause(ctx))
		}
	}
	return nil
}

func (s *Subscriber) follow(feed *wire.FeedClient) error {
	sites := workload.Sites()
	var samples []time.Duration
	for {
		slice, err := feed.Recv()
		if err != nil {
			return err
		}
		if to := s.record.Load(); to != nil {
			now := time.Now()
			samples = samples[:0]
			for i := range slice.Entries {
				op := &slice.Entries[i].Register.Op
				if op.Key.Field.IsLost() {
					continue
				}
				if writer := slices.Index(sites, string(op.Author.Site)); writer >= 0 {
					samples = append(samples, s.clock.age(writer, uint64(op.Seq), now))
				}
			}
			to.Add(samples...)
		}
		s.entries.Add(int64(len(slice.Entries)))
		s.cursor.Store(uint64(slice.Cursor.Offset))
	}
}

// CatchUp reads the whole feed as somebody does who has never been there, and
// compares every register with what must stand in it. It returns how many
// entries it read, conflict records included, and how long that took.
func CatchUp(ctx context.Context, c *wire.Client, shape workload.Shape, writers []*workload.Writer) (int, time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	feed, err := c.Subscribe(ctx, workload.Pact, crdt.Position{})
	if err != nil {
		return 0, 0, err
	}
	found := make([]workload.Version, shape.Registers)
	sites := workload.Sites()
	entries := 0
	began := time.Now()
	for {
		slice, err := feed.Recv()
		if err != nil {
			return 0, 0, fmt.Errorf("catch up: %w", err)
		}
		for i := range slice.Entries {
			op := &slice.Entries[i].Register.Op
			if op.Key.Field.IsLost() {
				continue
			}
			register, ok := shape.Register(op.Key.Record, string(op.Key.Field))
			if !ok {
				return 0, 0, fmt.Errorf("catch up: the feed holds %s, which nobody wrote", op.Key)
			}
			found[register] = workload.Version{Stamp: uint64(op.Stamp), Writer: slices.Index(sites, string(op.Author.Site))}
		}
		entries += len(slice.Entries)
		if slice.Cursor.Offset >= slice.Head {
			break
		}
	}
	took := time.Since(began)
	for register := range found {
		if want := workload.Winner(writers, uint32(register)); found[register] != want {
			return 0, 0, fmt.Errorf("catch up: register %d holds %+v, want %+v", register, found[register], want)
		}
	}
	return entries, took, nil
}
