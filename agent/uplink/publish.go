package uplink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Rest after an answer that puts ops off, as long as nothing else is answered.
const (
	restMin = 50 * time.Millisecond
	restMax = 15 * time.Second
)

// sent is a batch without an answer.
type sent struct {
	id         uint64
	pact       crdt.Pact
	ops        []crdt.OpID
	generation uint64
}

// lane is the way of one pact's outbox to the hub.
type lane struct {
	next       uint64 // place in the outbox to go on at
	generation uint64 // grows with each rewind
	// rest is when to go on after the hub put ops off; zero: now.
	rest    time.Time
	backoff retry.Backoff
}

// publisher sends the outboxes of one session.
type publisher struct {
	loop   *Loop
	epoch  crdt.Epoch
	pacts  []crdt.Pact
	stream *wire.PublishClient
	flight chan sent // in the order sent; its capacity is the protocol's window
	// silence runs while an answer is owed.
	silence   *time.Timer
	nextBatch uint64

	// Guarded by the loop's lock, since sender and receiver use them.
	lanes map[crdt.Pact]*lane
	owed  int
}

// publish sends until the stream breaks, answers stay away, or ctx ends.
func (l *Loop) publish(ctx context.Context, client *wire.Client, epoch crdt.Epoch, pacts []crdt.Pact) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	group, ctx := errgroup.WithContext(ctx)
	stream, err := client.Publish(ctx)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	p := &publisher{
		loop: l, epoch: epoch, pacts: pacts, stream: stream,
		flight:  make(chan sent, wire.InFlightMax),
		silence: time.AfterFunc(l.config.SilenceMax, func() { cancel(errUnanswered) }),
		lanes:   make(map[crdt.Pact]*lane, len(pacts)),
	}
	p.silence.Stop()
	defer p.silence.Stop()
	for _, pact := range pacts {
		p.lanes[pact] = &lane{backoff: retry.Backoff{Min: restMin, Max: restMax}}
	}
	// The first error ends the other side too, through ctx, which the stream is of.
	group.Go(func() error { return p.send(ctx) })
	group.Go(func() error { return p.receive(ctx) })
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
		var rested <-chan time.Time
		if d := p.resting(); d > 0 {
			rested = time.After(d)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.loop.wake:
		case <-rested:
		}
	}
}

// sendOne sends the next batch of one pact, if there is any.
func (p *publisher) sendOne(ctx context.Context, pact crdt.Pact) (bool, error) {
	from, generation, ok := p.begin(pact)
	if !ok {
		return false, nil
	}
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
	p.owe(1)
	batch := wire.Batch{ID: s.id, Pact: pact, Epoch: p.epoch, After: after, Ops: ops}
	if err := p.stream.Send(batch); errors.Is(err, io.EOF) {
		<-ctx.Done() // the stream broke, and the receiver learns why
		return false, ctx.Err()
	} else if err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if lane := p.lanes[pact]; lane.generation == generation {
		lane.next = next
	}
	return true, nil
}

// begin returns where to go on, honouring a rewind that was asked for; ok is
// false while the pact rests.
func (p *publisher) begin(pact crdt.Pact) (from, generation uint64, ok bool) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	lane := p.lanes[pact]
	if lane.rest.After(p.loop.config.Now()) {
		return 0, 0, false
	}
	lane.rest = time.Time{}
	if p.loop.rewind[pact] {
		delete(p.loop.rewind, pact)
		lane.generation++
		lane.next = 0
	}
	return lane.next, lane.generation, true
}

// resting returns how long until the first pact that rests may go on; 0 if none
// rests.
func (p *publisher) resting() (d time.Duration) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	for _, lane := range p.lanes {
		if lane.rest.IsZero() {
			continue
		}
		left := max(lane.rest.Sub(p.loop.config.Now()), time.Millisecond)
		if d == 0 || left < d {
			d = left
		}
	}
	return d
}

// owe counts the answers that the hub owes, and watches over them.
func (p *publisher) owe(n int) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if p.owed += n; p.owed > 0 {
		p.silence.Reset(p.loop.config.SilenceMax)
	} else {
		p.silence.Stop()
	}
}

func (p *publisher) receive(ctx context.Context) error {
	for {
		result, err := p.stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			} else if errors.Is(err, io.EOF) {
				err = errors.New("the hub ended the stream")
			}
			return fmt.Errorf("publish: %w", regreet(err))
		}
		p.loop.heard()
		var s sent
		select {
		case s = <-p.flight:
		default:
			return errors.New("publish: the hub answered a batch that was not sent")
		}
		p.owe(-1)
		if result.Batch != s.id || len(result.Results) != len(s.ops) {
			return fmt.Errorf("publish: the hub answered batch %d with %d results, want batch %d with %d",
				result.Batch, len(result.Results), s.id, len(s.ops))
		}
		if err := p.settle(s, &result); err != nil {
			return err
		}
	}
}

// settle hands the answers to the core. What a batch sent before the newest
// rewind says of gaps is stale: its ops were sent again already.
func (p *publisher) settle(s sent, result *wire.BatchResult) error {
	p.loop.mu.Lock()
	stale := p.lanes[s.pact].generation != s.generation || p.loop.rewind[s.pact]
	p.loop.mu.Unlock()
	acked := core.Acked{HubMillis: result.TimeMillis, Pact: s.pact, Epoch: p.epoch}
	var delayed wire.Reason // the first that puts an op off
	progress := false
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
		if !again {
			progress = true
		} else if delayed == "" {
			delayed = cmp.Or(r.Reason, wire.ReasonSeqGap)
		}
		acked.Results = append(acked.Results, core.OpResult{
			Op: s.ops[i], Outcome: core.Outcome(r.Outcome),
			Reason: string(r.Reason), Offset: r.Offset,
		})
	}
	if len(acked.Results) == 0 {
		return nil
	}
	p.pace(s.pact, progress, delayed, result.RetryAfter) // before the core asks to rewind
	return local(p.loop.config.Engine.Step(func(now int64) core.Event {
		acked.NowMillis = now
		return acked
	}))
}

// pace lets a pact rest whose ops were put off, and says so in the status.
// Other pacts go on.
func (p *publisher) pace(pact crdt.Pact, progress bool, delayed wire.Reason, retryAfter time.Duration) {
	p.loop.mu.Lock()
	lane := p.lanes[pact]
	if progress {
		lane.backoff.Reset()
	}
	if delayed != "" {
		lane.rest = p.loop.config.Now().Add(max(lane.backoff.Next(), min(retryAfter, retryAfterMax)))
	}
	p.loop.mu.Unlock()
	p.loop.update(func(s *Status) {
		at := s.Pacts[pact]
		at.Delayed = delayed
		s.Pacts[pact] = at
	})
}

// regreet marks errors after which the session must greet again.
func regreet(err error) error {
	var e *wire.Error
	if errors.As(err, &e) && (e.Reason == wire.ReasonEpochChanged || e.Reason == wire.ReasonCursorBeyond) {
		return fmt.Errorf("%w: %w", errRegreet, err)
	}
	return err
}
