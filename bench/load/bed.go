package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/entente-sync/entente/bench/load/client"
	"github.com/entente-sync/entente/bench/load/nodes"
	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

const batchOps = workload.Batch

// bed is a running hub with its publishers and one subscriber at the leader and
// one at a follower.
type bed struct {
	s                *settings
	shape            workload.Shape
	cluster          *nodes.Cluster
	leader, follower *nodes.Node
	clock            *client.Clock
	publishers       []*client.Publisher
	atLeader         *client.Subscriber
	conns            []*grpc.ClientConn
	empty            float64         // resident bytes of a node without registers
	live             context.Context // of every stream
	end              context.CancelFunc
}

func newBed(ctx context.Context, s *settings, dir string) (b *bed, err error) {
	b = &bed{s: s, clock: client.NewClock(), shape: workload.Shape{Registers: s.Registers, Writers: s.Writers, Seed: s.Seed}}
	if err := b.shape.Validate(); err != nil {
		return nil, err
	}
	if b.cluster, err = nodes.New(dir, s.Nodes, s.checkpoint); err != nil {
		return nil, err
	}
	b.live, b.end = context.WithCancel(ctx)
	setup, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	if err := b.start(setup); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bed) start(ctx context.Context) error {
	if err := b.cluster.Start(ctx); err != nil {
		return err
	}
	var err error
	if b.leader, err = b.cluster.Leader(ctx); err != nil {
		return err
	}
	b.follower = b.cluster.Follower(b.leader)
	for i := range b.s.Writers {
		author := workload.Author(i)
		c, err := b.client(b.leader, identity.Agent{Site: author.Site, Name: author.Agent})
		if err != nil {
			return err
		}
		p, err := client.NewPublisher(b.live, c, b.shape, i, b.clock)
		if err != nil {
			return err
		}
		b.publishers = append(b.publishers, p)
	}
	b.atLeader, err = b.subscribe(b.leader, crdt.Position{})
	return err
}

func (b *bed) client(n *nodes.Node, agent identity.Agent) (*wire.Client, error) {
	conn, err := b.cluster.Connect(n, agent)
	if err != nil {
		return nil, err
	}
	b.conns = append(b.conns, conn)
	return wire.NewClient(conn), nil
}

// reader is the agent that subscribes.
var reader = identity.Agent{Site: crdt.Site(workload.Sites()[0]), Name: "reader"}

func (b *bed) subscribe(n *nodes.Node, from crdt.Position) (*client.Subscriber, error) {
	c, err := b.client(n, reader)
	if err != nil {
		return nil, err
	}
	return client.Subscribe(b.live, c, from, b.clock)
}

func (b *bed) close() error {
	b.end()
	for _, c := range b.conns {
		c.Close()
	}
	return b.cluster.Kill()
}

// memory returns the resident bytes of every node, the leader first.
func (b *bed) memory() ([]float64, error) {
	var out []float64
	for _, n := range append([]*nodes.Node{b.leader}, b.cluster.Nodes...) {
		if n == b.leader && len(out) > 0 {
			continue
		}
		rss, err := n.RSS()
		if err != nil {
			return nil, err
		}
		out = append(out, float64(rss))
	}
	return out, nil
}

// send lets every publisher send at its pace until stop ends it, and returns a
// function that waits for them.
func (b *bed) send(ctx context.Context, pace func(i int) client.Pace, more func(p *client.Publisher) bool) (wait func() error) {
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range b.publishers {
		group.Go(func() error { return p.Send(ctx, pace(i), func() bool { return more(p) }) })
	}
	return group.Wait
}

func flatOut(int) client.Pace { return client.Pace{Batch: batchOps} }

// sendUntil is send until stop is called, which waits and reports.
func (b *bed) sendUntil(ctx context.Context, pace func(i int) client.Pace) (stop func() error) {
	var stopped atomic.Bool
	wait := b.send(ctx, pace, func(*client.Publisher) bool { return !stopped.Load() })
	return func() error { stopped.Store(true); return wait() }
}

func (b *bed) acked() (n int64) {
	for _, p := range b.publishers {
		n += p.Acked()
	}
	return n
}

func (b *bed) head() (head crdt.Offset) {
	for _, p := range b.publishers {
		head = max(head, p.Head())
	}
	return head
}

// fill writes every register once, and returns ops per second until the
// subscriber has all of them.
func (b *bed) fill(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	began := time.Now()
	if err := b.send(ctx, flatOut, func(p *client.Publisher) bool { return !p.Writer().Filled() })(); err != nil {
		return 0, err
	}
	if err := b.atLeader.Reach(ctx, b.head()); err != nil {
		return 0, err
	}
	return float64(b.acked()) / time.Since(began).Seconds(), nil
}

// throughput is what one window of full load showed.
type throughput struct {
	rate                      float64 // ops/s
	leader, follower, clients float64 // processor time, µs/op
}

// throughput counts the ops that were acked in the window, over the time in which
// they were acked and in which the subscriber got them, whichever is longer. A
// window lasts until something was acked: a disk may take longer than a short one.
func (b *bed) throughput(ctx context.Context, window time.Duration) (throughput, error) {
	ctx, cancel := context.WithTimeout(ctx, window+setupMax)
	defer cancel()
	stop := b.sendUntil(ctx, flatOut)
	got, err := b.window(ctx, window)
	return got, errors.Join(err, stop())
}

func (b *bed) window(ctx context.Context, window time.Duration) (throughput, error) {
	if err := pause(ctx, b.s.warmUp); err != nil {
		return throughput{}, err
	}
	profiled := b.profile(ctx, window)
	before, err := b.look(ctx)
	if err != nil {
		return throughput{}, err
	}
	if err := pause(ctx, window-time.Since(before.acked)); err != nil {
		return throughput{}, err
	}
	for b.acked() == before.ops {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return throughput{}, fmt.Errorf("nothing was acked: %w", err)
		}
	}
	after, err := b.look(ctx)
	if err != nil {
		return throughput{}, err
	}
	ops := float64(after.ops - before.ops)
	took := max(after.acked.Sub(before.acked), after.delivered.Sub(before.delivered))
	perOp := func(i int) float64 { return (after.cpu[i] - before.cpu[i]).Seconds() * 1e6 / ops }
	return throughput{ops / took.Seconds(), perOp(0), perOp(1), perOp(2)}, profiled()
}

// sight is one look at a run under load.
type sight struct {
	ops              int64
	acked, delivered time.Time
	cpu              [3]time.Duration // leader, follower, this process
}

func (b *bed) look(ctx context.Context) (s sight, err error) {
	s.acked, s.ops = time.Now(), b.acked()
	head := b.head()
	for i, of := range []func() (time.Duration, error){
		b.leader.CPU, b.follower.CPU, func() (time.Duration, error) { return nodes.CPU(os.Getpid()) },
	} {
		if s.cpu[i], err = of(); err != nil {
			return s, err
		}
	}
	err = b.atLeader.Reach(ctx, head)
	s.delivered = time.Now()
	return s, err
}

// profile takes CPU profiles of all nodes meanwhile, if they are wanted.
func (b *bed) profile(ctx context.Context, window time.Duration) (done func() error) {
	if b.s.profile == "" {
		return func() error { return nil }
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return os.MkdirAll(b.s.profile, 0o700) })
	done = group.Wait
	if err := done(); err != nil {
		return func() error { return err }
	}
	group, ctx = errgroup.WithContext(context.WithoutCancel(ctx))
	for _, n := range b.cluster.Nodes {
		role := n.Name
		if n == b.leader {
			role += "-leader"
		}
		group.Go(func() error {
			file := filepath.Join(b.s.profile, role)
			if err := n.Profile(ctx, "profile", window, file+".cpu"); err != nil {
				return err
			}
			return n.Profile(ctx, "heap", 0, file+".heap")
		})
	}
	return group.Wait
}

// quantiles of latencies, in milliseconds.
type quantiles struct{ p50, p99 float64 }

func quantilesOf(l *client.Latencies) quantiles {
	ms := func(q float64) float64 { return l.Quantile(q).Seconds() * 1e3 }
	return quantiles{ms(0.50), ms(0.99)}
}

// latency publishes at a rate, and times each op from being sent until a
// subscriber has it, at the leader and at a follower.
func (b *bed) latency(ctx context.Context, rate float64, batch int, window time.Duration) (leader, follower quantiles, err error) {
	ctx, cancel := context.WithTimeout(ctx, window+setupMax)
	defer cancel()
	every := time.Duration(float64(batch*len(b.publishers)) / rate * float64(time.Second))
	stop := b.sendUntil(ctx, func(i int) client.Pace {
		return client.Pace{Batch: batch, Every: every, First: every * time.Duration(i) / time.Duration(len(b.publishers))}
	})
	atFollower, err := b.subscribe(b.follower, b.position())
	if err != nil {
		return leader, follower, errors.Join(err, stop())
	}
	var there, here client.Latencies
	err = errors.Join(pause(ctx, b.s.warmUp), atFollower.Reach(ctx, b.head()))
	b.atLeader.Record(&there)
	atFollower.Record(&here)
	err = errors.Join(err, gather(ctx, window, &there, &here))
	b.atLeader.Record(nil)
	atFollower.Record(nil)
	if err := errors.Join(err, stop()); err != nil {
		return leader, follower, err
	}
	return quantilesOf(&there), quantilesOf(&here), nil
}

// gather waits for the window's end. A window lasts until everybody has got
// something: at a low rate a short one passes between two batches.
func gather(ctx context.Context, window time.Duration, got ...*client.Latencies) error {
	err := pause(ctx, window)
	for _, l := range got {
		for err == nil && l.Count() == 0 {
			if err = pause(ctx, 10*time.Millisecond); err != nil {
				err = fmt.Errorf("no op arrived: %w", err)
			}
		}
	}
	return err
}

// position is where the subscriber at the leader stands.
func (b *bed) position() crdt.Position {
	return crdt.Position{Epoch: b.publishers[0].Epoch(), Offset: b.atLeader.Cursor()}
}

// catchUp reads everything at a follower as a newcomer does, and checks it.
func (b *bed) catchUp(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	var writers []*workload.Writer
	for _, p := range b.publishers {
		writers = append(writers, p.Writer())
	}
	c, err := b.client(b.leader, reader)
	if err != nil {
		return 0, err
	}
	entries, took, err := client.CatchUp(ctx, c, b.shape, writers)
	if err != nil {
		return 0, err
	}
	return float64(entries) / took.Seconds(), nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
}
