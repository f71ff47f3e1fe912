package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/entente-sync/entente/bench/load/client"
	"github.com/entente-sync/entente/bench/load/nodes"
	"github.com/entente-sync/entente/bench/report"
)

// setupMax bounds everything beside the measurements themselves.
const setupMax = 5 * time.Minute

// triesMax bounds how often a disturbed round is begun again.
const triesMax = 4

// undisturbed measures one round, and begins again if it was disturbed. Nothing of
// a disturbed round is kept, and the report tells that it happened.
func undisturbed(ctx context.Context, s *settings, r *report.Run, dir string) error {
	for try := 1; ; try++ {
		scratch := &report.Run{}
		err := errors.Join(round(ctx, s, scratch, dir), os.RemoveAll(dir))
		if err == nil {
			r.Merge(scratch)
			return nil
		}
		if !errors.Is(err, client.ErrDisturbed) || try == triesMax || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "again: %v\n", err)
		r.Note("A round was thrown away and measured again: %v", err)
	}
}

// round measures every part once, each hub from an empty directory.
func round(ctx context.Context, s *settings, r *report.Run, dir string) error {
	if s.has("core") {
		if err := mergeCore(ctx, r); err != nil {
			return fmt.Errorf("core: %w", err)
		}
	}
	if s.has("ceiling") {
		if err := ceiling(ctx, s, r, filepath.Join(dir, "ceiling")); err != nil {
			return err
		}
	}
	if err := ours(ctx, s, r, filepath.Join(dir, "hub")); err != nil {
		return err
	}
	if s.has("scale") {
		return scale(ctx, s, r, dir)
	}
	return nil
}

func ceiling(ctx context.Context, s *settings, r *report.Run, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, s.Window+setupMax)
	defer cancel()
	c, err := nodes.NewCeiling(dir, s.Nodes, s.Window)
	if err != nil {
		return err
	}
	rate, err := c.Ceiling(ctx)
	if err != nil {
		return err
	}
	r.Add("ceiling", "ops/s", rate)
	return os.RemoveAll(dir)
}

// ours runs one hub through its life.
func ours(ctx context.Context, s *settings, r *report.Run, dir string) (err error) {
	b, err := newBed(ctx, s, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(), os.RemoveAll(dir)) }()
	empty, err := b.memory()
	if err != nil {
		return err
	}
	b.empty = slices.Max(empty)
	rate, err := b.fill(ctx)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	r.Add("fill", "ops/s", rate)
	if err := measureMemory(s, r, b, empty); err != nil {
		return err
	}
	half := 100_000.0
	if s.has("throughput") {
		if half, err = measureThroughput(ctx, s, r, b); err != nil {
			return fmt.Errorf("throughput: %w", err)
		}
		half /= 2
	}
	if s.has("latency") {
		if err := measureLatency(ctx, s, r, b, half); err != nil {
			return fmt.Errorf("latency: %w", err)
		}
	}
	return rest(ctx, s, r, b)
}

// rest measures what a hub does beside taking ops, and ends with what ends it.
func rest(ctx context.Context, s *settings, r *report.Run, b *bed) error {
	for _, part := range []struct {
		name    string
		measure func(context.Context, *report.Run, *bed) error
	}{
		{"fanout", measureFanOut},
		{"contested", measureContested},
		{"catchup", measureCatchUp},
		{"restart", measureRestart},
		{"snapshot", measureSnapshot},
	} {
		if !s.has(part.name) {
			continue
		}
		if err := part.measure(ctx, r, b); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// measureMemory is taken right after the fill, so that it holds every register
// and what the garbage collector leaves of the load.
func measureMemory(s *settings, r *report.Run, b *bed, empty []float64) error {
	full, err := b.memory()
	if err != nil {
		return err
	}
	var most float64
	for i := range full {
		most = max(most, (full[i]-empty[i])/float64(s.Registers))
	}
	r.Add("memory", "MB", full[0]/1e6)
	r.Add("memory a register", "B", most)
	return nil
}

func measureThroughput(ctx context.Context, s *settings, r *report.Run, b *bed) (float64, error) {
	got, err := b.throughput(ctx, s.Window)
	if err != nil {
		return 0, err
	}
	r.Add("merged", "ops/s", got.rate)
	r.Add("leader's CPU", "µs/op", got.leader)
	r.Add("follower's CPU", "µs/op", got.follower)
	r.Add("clients' CPU", "µs/op", got.clients)
	return got.rate, nil
}

// measureLatency sends single ops at 1,000 a second, and batches at half of what
// the hub can do.
func measureLatency(ctx context.Context, s *settings, r *report.Run, b *bed, half float64) error {
	for _, load := range []struct {
		name  string
		rate  float64
		batch int
	}{{"1 k ops/s", 1_000, 1}, {"half of maximum", half, batchOps}, {"200 k ops/s", 200_000, batchOps}} {
		if load.rate > 2*half*0.9 {
			r.Note("latency at %s was not measured: the maximum was too near", load.name)
			continue
		}
		leader, follower, err := b.latency(ctx, load.rate, load.batch, s.Window)
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
		for _, at := range []struct {
			node string
			got  quantiles
		}{{"leader", leader}, {"follower", follower}} {
			r.Add("p50 at "+load.name+", "+at.node, "ms", at.got.p50)
			r.Add("p99 at "+load.name+", "+at.node, "ms", at.got.p99)
		}
	}
	return nil
}
