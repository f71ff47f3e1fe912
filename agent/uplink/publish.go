package uplink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// sent is a batch without an answer.
type sent struct {
	id         uint64
	pact       crdt.Pact
	ops        []crdt.OpID
	generation uint64
}

// publisher sends the outboxes of one session. next and generation are guarded
// by the loop's lock: the receiver reads them.
type publisher struct {
	loop   *Loop
	epoch  crdt.Epoch
	pacts  []crdt.Pact
	stream *wire.PublishClient
	flight chan sent // in the order sent; its capacity is the protocol's window

	next       map[crdt.Pact]uint64 // place in the outbox to go on at
	generation map[crdt.Pact]uint64 // grows with each rewind
	nextBatch  uint64
}

// publish sends until the stream breaks or ctx ends.
func (l *Loop) publish(ctx context.Context, client *wire.Client, epoch crdt.Epoch, pacts []crdt.Pact) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Publish(ctx)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p := &publisher{
		loop: l, epoch: epoch, pacts: pacts, stream: stream,
		flight: make(chan sent, wire.InFlightMax-1),
		next:   map[crdt.Pact]uint64{}, generation: map[crdt.Pact]uint64{},
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.send(gctx) })
	group.Go(func() error {
		defer cancel() // a sender that waits for the window or the wire must not outlive the answers
		return p.receive(gctx)
	})
	return group.Wait()
}

func (p *publisher) send(ctx context.Context) error {
	for {
		busy := false
		for _, pact := range p.pacts {
			more, err := p.sendOne(ctx, pact)
			if err != nil {
				return err
			}
			busy = busy || more
		}
		if busy {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.loop.wake:
		}
	}
}

// sendOne sends the next batch of one pact, if there is any.
func (p *publisher) sendOne(ctx context.Context, pact crdt.Pact) (bool, error) {
	from, generation := p.begin(pact)
	after, ops, next, err := p.loop.config.Memory.Pending(pact, from, wire.BatchOpsMax, wire.BatchBytesMax)
	if err != nil {
		return false, local(err)
	}
	if len(ops) == 0 {
		return false, nil
	}
	p.nextBatch++
	s := sent{id: p.nextBatch, pact: pact, generation: generation, ops: make([]crdt.OpID, len(ops))}
	for i := range ops {
		s.ops[i] = ops[i].ID()
	}
	select {
	case p.flight <- s:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	batch := wire.Batch{ID: s.id, Pact: pact, Epoch: p.epoch, After: after, Ops: ops}
	if err := p.stream.Send(batch); err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if p.generation[pact] == generation {
		p.next[pact] = next
	}
	return true, nil
}

// begin returns where to go on, honouring a rewind that was asked for.
func (p *publisher) begin(pact crdt.Pact) (from, generation uint64) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if p.loop.rewind[pact] {
		delete(p.loop.rewind, pact)
		p.generation[pact]++
		delete(p.next, pact)
	}
	return p.next[pact], p.generation[pact]
}

func (p *publisher) receive(ctx context.Context) error {
	for {
		result, err := p.stream.Recv()
		if err != nil {
			return fmt.Errorf("publish: %w", regreet(err))
		}
		p.loop.heard()
		var s sent
		select {
		case s = <-p.flight:
		default:
			return errors.New("publish: the hub answered a batch that was not sent")
		}
		if result.Batch != s.id || len(result.Results) != len(s.ops) {
			return fmt.Errorf("publish: the hub answered batch %d with %d results, want batch %d with %d",
				result.Batch, len(result.Results), s.id, len(s.ops))
		}
		if err := p.settle(ctx, s, &result); err != nil {
			return err
		}
	}
}

// settle hands the answers to the core. What a batch sent before the newest
// rewind says of gaps is stale: its ops were sent again already.
func (p *publisher) settle(ctx context.Context, s sent, result *wire.BatchResult) error {
	p.loop.mu.Lock()
	stale := p.generation[s.pact] != s.generation || p.loop.rewind[s.pact]
	p.loop.mu.Unlock()
	acked := core.Acked{HubMillis: result.TimeMillis, Pact: s.pact, Epoch: p.epoch}
	for i, r := range result.Results {
		again := r.Outcome == wire.OutcomeRetry || r.Outcome == wire.OutcomeGap
		if again && r.Reason == wire.ReasonLeaderMoved {
			p.loop.leader = result.Leader
			return errMoved
		}
		if again && r.Reason == wire.ReasonEpochChanged {
			return errRegreet
		}
		if again && stale {
			continue
		}
		acked.Results = append(acked.Results, core.OpResult{
			Op: s.ops[i], Outcome: core.Outcome(r.Outcome),
			Reason: string(r.Reason), Offset: r.Offset,
		})
	}
	if len(acked.Results) == 0 {
		return nil
	}
	if result.RetryAfter > 0 && !retry.Sleep(ctx, min(result.RetryAfter, time.Minute)) {
		return ctx.Err()
	}
	return local(p.loop.config.Engine.Step(func(now int64) core.Event {
		acked.NowMillis = now
		return acked
	}))
}

// regreet marks errors after which the session must greet again.
func regreet(err error) error {
	var e *wire.Error
	if errors.As(err, &e) && (e.Reason == wire.ReasonEpochChanged || e.Reason == wire.ReasonCursorBeyond) {
		return fmt.Errorf("%w: %w", errRegreet, err)
	}
	return err
}
