package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/bench/crash/cluster"
	"github.com/entente-sync/entente/bench/crash/disk"
	"github.com/entente-sync/entente/bench/crash/ledger"
)

// step is something that a round does at a moment.
type step struct {
	at time.Duration
	do func(ctx context.Context) error
}

// play runs the faults of a round.
func (r *run) play(ctx context.Context, faults []Fault) error {
	r.mayExit = map[*cluster.Node]bool{}
	r.down = map[*cluster.Node]bool{}
	r.failing = nil
	var steps []step
	for _, f := range faults {
		steps = append(steps, step{f.At, func(ctx context.Context) error { return r.inject(ctx, f) }})
	}
	r.steps = steps
	began := time.Now()
	for {
		slices.SortStableFunc(r.steps, func(a, b step) int { return int(a.at - b.at) })
		next := step{at: roundLength}
		if len(r.steps) > 0 && r.steps[0].at < roundLength {
			next, r.steps = r.steps[0], r.steps[1:]
		}
		if err := sleep(ctx, next.at-time.Since(began)); err != nil || next.do == nil {
			return err
		}
		if err := next.do(ctx); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// later does something for's end after a fault, within the round.
func (r *run) later(f Fault, do func(context.Context) error) {
	r.steps = append(r.steps, step{f.At + f.For, do})
}

// victims returns the nodes in the order in which a fault picks them, those with
// the fault's role first; none if nobody has it.
func (r *run) victims(ctx context.Context, f Fault) []*cluster.Node {
	nodes := slices.Clone(r.cluster.Nodes)
	first := f.Pick % len(nodes)
	nodes = append(nodes[first:], nodes[:first]...)
	if f.Role == AnyNode {
		return nodes
	}
	leader := r.cluster.Leader(ctx)
	if leader == nil {
		return nil
	}
	rank := func(n *cluster.Node) int {
		if (n == leader) == (f.Role == LeaderNode) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(nodes, func(a, b *cluster.Node) int { return rank(a) - rank(b) })
	return nodes
}

func (r *run) inject(ctx context.Context, f Fault) error {
	nodes := r.victims(ctx, f)
	if len(nodes) == 0 || !nodes[0].Running() {
		return nil // another fault was faster
	}
	if err := r.act(ctx, f, nodes); err != nil {
		return fmt.Errorf("%s at %s: %w", f.Class, nodes[0].Name, err)
	}
	return nil
}

func (r *run) act(ctx context.Context, f Fault, nodes []*cluster.Node) error {
	n := nodes[0]
	switch f.Class {
	case KillOne, KillLeader:
		return r.kill(f, nodes[:1])
	case KillTwo:
		return r.kill(f, nodes[:2])
	case KillAll:
		return r.kill(f, nodes)
	case KillCatchUp:
		r.catchUp = n
		return r.kill(f, nodes[:1])
	case PauseLeader, PauseOne:
		r.later(f, func(context.Context) error { return n.Resume() })
		r.counted(f)
		return n.Pause()
	case Partition, OneWayCut, Isolation, Delay, RateLimit, HalfOpen:
		return r.network(f, nodes)
	case SlowDisk, StalledDisk:
		n.Disk().Slow(f.Delay)
		r.later(f, func(context.Context) error { n.Disk().Slow(0); return nil })
		r.mayExit[n] = r.mayExit[n] || f.Class == StalledDisk
	case FullDisk:
		n.Disk().Fill(f.Spare)
		r.mayExit[n] = true
	case FailedSync:
		n.Disk().FailSyncs(1)
		r.mayExit[n] = true
		r.failing = n
	case PowerOne, PowerTornOne:
		return r.powerOff(f, nodes[:1])
	case PowerAll, PowerTornAll:
		return r.powerOff(f, nodes)
	case BitFlip:
		return r.flipBit(ctx, f, n)
	case Restart:
		r.counted(f)
		if err := n.Stop(); err != nil && !r.mayExit[n] {
			r.book.Violate(ledger.Fault, "node %s did not stop as asked: %v\n%s", n.Name, err, n.Log(2000))
		}
		return n.Start()
	}
	if f.Class != FailedSync { // counted when a sync has failed
		r.counted(f)
	}
	return nil
}

func (r *run) counted(f Fault) { r.count[f.Class]++ }

func (r *run) kill(f Fault, nodes []*cluster.Node) error {
	r.counted(f)
	for _, n := range nodes {
		if err := n.Kill(); err != nil {
			return err
		}
		r.down[n] = true
	}
	r.comeBack(f, nodes)
	return nil
}

// comeBack starts nodes at the end of a fault.
func (r *run) comeBack(f Fault, nodes []*cluster.Node) {
	r.later(f, func(context.Context) error {
		for _, n := range nodes {
			if r.down[n] && !n.Running() {
				r.down[n] = false
				if err := n.Start(); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (r *run) powerOff(f Fault, nodes []*cluster.Node) error {
	r.counted(f)
	tear := disk.TearNone
	if f.Class == PowerTornOne || f.Class == PowerTornAll {
		tear = disk.TearRandom
	}
	draw := rand.New(rand.NewPCG(f.Draw, 1))
	for _, n := range nodes { // all of them stop before the first disk is looked at
		if err := n.Kill(); err != nil {
			return err
		}
		r.down[n] = true
	}
	for _, n := range nodes {
		if err := n.PowerOff(tear, draw); err != nil {
			return err
		}
	}
	r.comeBack(f, nodes)
	return nil
}

func (r *run) network(f Fault, nodes []*cluster.Node) error {
	n := nodes[0]
	switch f.Class {
	case Partition:
		for _, other := range nodes[1:] {
			r.cluster.Cut(n, other)
			r.cluster.Cut(other, n)
		}
	case OneWayCut:
		others := nodes[1:]
		if f.Toward > 0 {
			others = nodes[f.Toward : f.Toward+1]
		}
		for _, other := range others {
			r.cluster.Cut(n, other)
		}
	case Isolation:
		n.Isolate()
	case Delay, RateLimit:
		n.Slow(f.Delay, f.Rate)
	case HalfOpen:
		if n.HalfOpen() == 0 {
			return nil
		}
	}
	r.counted(f)
	r.later(f, func(context.Context) error { n.HealWires(); return nil })
	return nil
}

// damaged are files that are written once: segments of the log that are closed,
// and tables of the state.
func damaged(n *cluster.Node) []disk.File {
	var segments, out []disk.File
	for _, f := range n.Disk().Files() {
		switch {
		case strings.HasSuffix(f.Path, ".wal"):
			segments = append(segments, f)
		case strings.HasSuffix(f.Path, ".sst"):
			out = append(out, f)
		}
	}
	if len(segments) > 1 {
		out = append(out, segments[:len(segments)-1]...) // named in the order of the log
	}
	return out
}

// flipBit changes one bit on the disk of a node that is stopped. The node must
// refuse to run on what it cannot read, and is then given an empty disk; or it
// runs, and is held to the truth like every other. The two others hold all that
// was acked, so the empty one may vote.
func (r *run) flipBit(ctx context.Context, f Fault, n *cluster.Node) error {
	if err := n.Stop(); err != nil {
		r.book.Violate(ledger.Fault, "node %s did not stop as asked: %v\n%s", n.Name, err, n.Log(2000))
	}
	files := damaged(n)
	if len(files) == 0 {
		return n.Start()
	}
	draw := rand.New(rand.NewPCG(f.Draw, 1))
	file := files[draw.IntN(len(files))]
	at, ok := n.Disk().FlipBit(file, draw)
	if !ok {
		return n.Start()
	}
	r.counted(f)
	if err := n.Start(); err != nil {
		return err
	}
	r.mayExit[n] = true
	r.flipped = fmt.Sprintf("%s of %s at byte %d", file.Path, n.Name, at)
	return r.refusedOrReady(ctx, n)
}

// refusedOrReady waits until a node that was damaged is ready, or has refused to
// run and has been given an empty disk.
func (r *run) refusedOrReady(ctx context.Context, n *cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, settleMax)
	defer cancel()
	r.make(false) // the log that is kept for it is short
	defer r.make(true)
	for !n.Ready(ctx) {
		if !n.Running() {
			r.refused++
			if code := n.ExitCode(); code <= 0 {
				r.book.Violate(ledger.Fault, "node %s ended with code %d over a flipped bit (%s)\n%s", n.Name, code, r.flipped, n.Log(3000))
			}
			if err := errors.Join(n.NewDisk(), n.Start()); err != nil {
				return err
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			r.dump()
			return fmt.Errorf("node %s is not ready again after %s was changed: %w", n.Name, r.flipped, err)
		}
	}
	return nil
}
