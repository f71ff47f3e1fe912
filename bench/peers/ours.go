package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/bench/load/client"
	"github.com/entente-sync/entente/bench/load/nodes"
	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

const (
	oursName = "ours, batches of 256"
	majority = "fsync on a majority"
)

func ours() []system {
	return []system{
		{
			name: "ceiling R: our raft under an idle state machine", nodes: 3, durability: majority,
			measure: func(ctx context.Context, s *settings, dir string) (float64, error) {
				c, err := nodes.NewCeiling(dir, 3, s.Window)
				if err != nil {
					return 0, err
				}
				return c.Ceiling(ctx)
			},
		},
		{name: oursName, nodes: 3, durability: majority, measure: measureOurs},
	}
}

// measureOurs counts what was acked and has reached the subscriber.
func measureOurs(ctx context.Context, s *settings, dir string) (rate float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := nodes.New(dir, 3, 0)
	if err != nil {
		return 0, err
	}
	if err := c.Start(ctx); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Kill()) }()
	leader, err := c.Leader(ctx)
	if err != nil {
		return 0, err
	}
	var publishers []*client.Publisher
	connect := func(agent identity.Agent) (*wire.Client, error) {
		conn, err := c.Connect(leader, agent)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		return wire.NewClient(conn), nil
	}
	shape := s.shape()
	for i := range shape.Writers {
		author := workload.Author(i)
		w, err := connect(identity.Agent{Site: author.Site, Name: author.Agent})
		if err != nil {
			return 0, err
		}
		p, err := client.NewPublisher(ctx, w, shape, i, nil)
		if err != nil {
			return 0, err
		}
		publishers = append(publishers, p)
	}
	w, err := connect(identity.Agent{Site: workload.Author(0).Site, Name: "reader"})
	if err != nil {
		return 0, err
	}
	subscriber, err := client.Subscribe(ctx, w, crdt.Position{}, nil)
	if err != nil {
		return 0, err
	}
	if rate, err = drivePublishers(ctx, s, publishers, subscriber); err != nil {
		return 0, err
	}
	var writers []*workload.Writer
	for _, p := range publishers {
		writers = append(writers, p.Writer())
	}
	_, _, err = client.CatchUp(ctx, w, shape, writers)
	return rate, err
}

func drivePublishers(ctx context.Context, s *settings, publishers []*client.Publisher, subscriber *client.Subscriber) (float64, error) {
	send := func(more func(p *client.Publisher) bool) func() error {
		group, ctx := errgroup.WithContext(ctx)
		for _, p := range publishers {
			group.Go(func() error {
				return p.Send(ctx, client.Pace{Batch: workload.Batch}, func() bool { return more(p) })
			})
		}
		return group.Wait
	}
	if err := send(func(p *client.Publisher) bool { return !p.Writer().Filled() })(); err != nil {
		return 0, err
	}
	var stopped atomic.Bool
	wait := send(func(*client.Publisher) bool { return !stopped.Load() })
	look := func() (ops int64, acked, delivered time.Time, err error) {
		var head crdt.Offset
		for _, p := range publishers {
			ops += p.Acked()
			head = max(head, p.Head())
		}
		acked = time.Now()
		err = subscriber.Reach(ctx, head)
		return ops, acked, time.Now(), err
	}
	err := pause(ctx, warmUp)
	before, acked, delivered, err2 := look()
	err = errors.Join(err, err2, pause(ctx, s.Window))
	after, ackedThen, deliveredThen, err2 := look()
	stopped.Store(true)
	if err := errors.Join(err, err2, wait()); err != nil {
		return 0, err
	}
	return float64(after-before) / max(ackedThen.Sub(acked), deliveredThen.Sub(delivered)).Seconds(), nil
}
