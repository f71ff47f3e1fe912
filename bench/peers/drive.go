package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/bench/workload"
)

// store is a running peer, for many goroutines at once.
type store interface {
	// Apply returns when ops, all of one writer, are as durable as the row says.
	Apply(ctx context.Context, ops []workload.Op) error
}

// merging is a store that keeps the winner whatever the order of arrival.
type merging interface {
	store
	Read(ctx context.Context, register uint32) (workload.Version, error)
}

// load is how a store is driven.
type load struct {
	clients int // goroutines with one Apply under way each
	batch   int // ops of each Apply
}

const (
	warmUp     = time.Second
	readSample = 500
)

// writer hands one writer's ops to several clients.
type writer struct {
	mu sync.Mutex
	w  *workload.Writer
}

// take fills ops; fewer at the end of the fill.
func (w *writer) take(ops []workload.Op) []workload.Op {
	w.mu.Lock()
	defer w.mu.Unlock()
	filling := !w.w.Filled()
	for n := range ops {
		if filling && w.w.Filled() {
			return ops[:n]
		}
		ops[n] = w.w.Next()
	}
	return ops
}

func (w *writer) filled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Filled()
}

// drive fills the store, measures one window of full load, and checks a sample.
func drive(ctx context.Context, s *settings, to store, l load) (float64, error) {
	shape := s.shape()
	writers := make([]*writer, shape.Writers)
	for i := range writers {
		writers[i] = &writer{w: shape.Writer(i)}
	}
	var acked atomic.Int64
	apply := func(more func(w *writer) bool) func() error {
		group, ctx := errgroup.WithContext(ctx)
		for i := range l.clients {
			w := writers[i%len(writers)]
			group.Go(func() error {
				ops := make([]workload.Op, l.batch)
				for more(w) {
					batch := w.take(ops)
					if len(batch) == 0 {
						continue
					}
					if err := to.Apply(ctx, batch); err != nil {
						return err
					}
					acked.Add(int64(len(batch)))
				}
				return nil
			})
		}
		return group.Wait
	}
	if err := apply(func(w *writer) bool { return !w.filled() })(); err != nil {
		return 0, fmt.Errorf("fill: %w", err)
	}
	var stopped atomic.Bool
	wait := apply(func(*writer) bool { return !stopped.Load() })
	rate, err := window(ctx, s.Window, &acked)
	stopped.Store(true)
	if err := wait(); err != nil {
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	return rate, check(ctx, shape, writers, to)
}

func window(ctx context.Context, d time.Duration, acked *atomic.Int64) (float64, error) {
	if err := pause(ctx, warmUp); err != nil {
		return 0, err
	}
	began, before := time.Now(), acked.Load()
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	return float64(acked.Load()-before) / time.Since(began).Seconds(), nil
}

// check reads a sample of a store that merges.
func check(ctx context.Context, shape workload.Shape, writers []*writer, to store) error {
	m, ok := to.(merging)
	if !ok {
		return nil
	}
	var all []*workload.Writer
	for _, w := range writers {
		all = append(all, w.w)
	}
	draw := rand.New(rand.NewPCG(shape.Seed, 1))
	for range readSample {
		register := uint32(draw.IntN(shape.Registers))
		got, err := m.Read(ctx, register)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if want := workload.Winner(all, register); got != want {
			return fmt.Errorf("register %s holds %+v, want %+v", shape.Key(register), got, want)
		}
	}
	return nil
}

// versionBytes is the head of every stored value: stamp, writer. They sort as
// versions do.
const versionBytes = 9

func encode(op *workload.Op) []byte {
	b := make([]byte, 0, versionBytes+len(op.Value))
	b = binary.BigEndian.AppendUint64(b, op.Stamp)
	b = append(b, byte(op.Writer))
	return append(b, op.Value...)
}

func decode(b []byte) (workload.Version, error) {
	if len(b) != versionBytes+workload.ValueBytes {
		return workload.Version{}, fmt.Errorf("value of %d bytes", len(b))
	}
	return workload.Version{Stamp: binary.BigEndian.Uint64(b), Writer: int(b[8])}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
