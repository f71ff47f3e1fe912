// Package client is the load on a hub: publishers and subscribers that speak
// through proto/wire over TLS, as agents do, and the measurements that they take.
// Nothing is retried: an answer other than "applied" ends the measurement, since
// a figure with a change of leader in it means nothing.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// ErrDisturbed is wrapped by errors of a measurement that no figure can be taken
// from, since the hub turned ops away for a while: its leader was lost or moved,
// or a queue was full. Begin again.
var ErrDisturbed = errors.New("the measurement was disturbed")

// Pace is how a publisher sends.
type Pace struct {
	Batch int           // ops of a batch
	Every time.Duration // between batches; 0 for as fast as the answers come
	First time.Duration // before the first batch
}

// Publisher sends the ops of one writer over one stream, with as many batches
// under way as the protocol allows. Its exported methods are for one goroutine,
// Acked and Head for all.
type Publisher struct {
	writer *workload.Writer
	shape  workload.Shape
	author crdt.Author
	number int
	epoch  crdt.Epoch
	clock  *Clock
	stream *wire.PublishClient

	ops    []crdt.Op
	blind  bool            // births are not known
	births []atomic.Uint64 // by own register: offset of the newest acked version
	slots  chan struct{}   // one for each batch under way
	flying chan flight
	failed chan struct{} // closed when err is set
	err    error

	acked atomic.Int64
	head  atomic.Uint64
}

// flight is one batch without an answer.
type flight struct {
	id        uint64
	registers []uint32
}

// NewPublisher opens the stream of a writer, which ends with ctx. clock may be
// nil if no latency is wanted.
func NewPublisher(ctx context.Context, c *wire.Client, shape workload.Shape, number int, clock *Clock) (*Publisher, error) {
	author := workload.Author(number)
	w, err := c.Greet(ctx, wire.Hello{Software: "bench", Incarnation: author.Incarnation, Pacts: []crdt.Pact{workload.Pact}})
	if err != nil {
		return nil, fmt.Errorf("greet: %w", err)
	}
	if refused := w.Pacts[0].Refused; refused != "" {
		return nil, fmt.Errorf("greet: %s", refused)
	}
	stream, err := c.Publish(ctx)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	p := &Publisher{
		writer: shape.Writer(number), shape: shape, author: author, number: number, epoch: w.Epoch, clock: clock,
		stream: stream, ops: make([]crdt.Op, 0, wire.BatchOpsMax),
		births: make([]atomic.Uint64, shape.Registers/shape.Writers+1),
		slots:  make(chan struct{}, wire.InFlightMax), flying: make(chan flight, wire.InFlightMax),
		failed: make(chan struct{}),
	}
	go p.receive()
	return p, nil
}

// Writer returns the writer, which is at rest while nothing is being sent.
func (p *Publisher) Writer() *workload.Writer { return p.writer }

// Acked returns how many ops were answered as applied.
func (p *Publisher) Acked() int64 { return p.acked.Load() }

// Contest makes one op in so many contested; 0 for none. From then on ops name
// the version that they were made on, and no longer its birth: the offset of an
// answer is that only for an op that became current. Call it while nothing is sent.
func (p *Publisher) Contest(oneIn int) {
	p.writer.Contest(oneIn)
	p.blind = true
}

// Epoch returns the epoch that the hub told.
func (p *Publisher) Epoch() crdt.Epoch { return p.epoch }

// Head returns the greatest offset that an answer named.
func (p *Publisher) Head() crdt.Offset { return crdt.Offset(p.head.Load()) }

// Send sends batches while more reports true, and returns when all of them are
// answered.
func (p *Publisher) Send(ctx context.Context, pace Pace, more func() bool) error {
	due := time.Now().Add(pace.First)
	for more() {
		began := time.Now()
		if pace.Every > 0 {
			var err error
			if began, err = p.until(ctx, due); err != nil {
				return err
			}
			due = due.Add(pace.Every)
		}
		select {
		case p.slots <- struct{}{}:
		case <-p.failed:
			return p.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := p.sendBatch(pace.Batch, began); err != nil {
			return err
		}
	}
	return p.settle(ctx)
}

// until waits until due and returns when the batch counts as sent: when the
// timer woke us, which is not the hub's doing; but if we come late because the
// batches before were still under way, then when it was due.
func (p *Publisher) until(ctx context.Context, due time.Time) (time.Time, error) {
	wait := time.Until(due)
	if wait <= 0 {
		return due, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return time.Now(), nil
	case <-p.failed:
		return due, p.err
	case <-ctx.Done():
		return due, context.Cause(ctx)
	}
}

func (p *Publisher) sendBatch(n int, began time.Time) error {
	b := wire.Batch{Pact: workload.Pact, Epoch: p.epoch}
	if before := p.writer.Seq(); before > 0 {
		b.After = crdt.OpID{Author: p.author, Seq: crdt.Seq(before)}
	}
	p.ops = p.ops[:0]
	registers := make([]uint32, 0, n)
	filling := !p.writer.Filled()
	for len(p.ops) < n {
		op := p.writer.Next()
		var birth crdt.Position
		if op.Pred > 0 && !p.blind {
			if at := p.births[int(op.Register)/p.shape.Writers].Load(); at > 0 {
				birth = crdt.Position{Epoch: p.epoch, Offset: crdt.Offset(at)}
			}
		}
		p.ops = append(p.ops, p.shape.CRDT(op, p.author, birth))
		registers = append(registers, op.Register)
		if p.clock != nil {
			p.clock.sent(p.number, op.Seq, began)
		}
		if filling && p.writer.Filled() {
			break // the fill ends with its last register
		}
	}
	b.ID, b.Ops = p.writer.Seq(), p.ops
	p.flying <- flight{b.ID, registers} // never waits: it is as long as slots
	if err := p.stream.Send(b); err != nil {
		<-p.failed // Recv knows why
		return p.err
	}
	return nil
}

// settle waits until nothing is under way.
func (p *Publisher) settle(ctx context.Context) error {
	for range cap(p.slots) {
		select {
		case p.slots <- struct{}{}:
		case <-p.failed:
			return p.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for range cap(p.slots) {
		<-p.slots
	}
	return nil
}

func (p *Publisher) receive() {
	defer close(p.failed)
	for {
		result, err := p.stream.Recv()
		if err != nil {
			p.err = fmt.Errorf("publisher %d: %w", p.number, err)
			return
		}
		f := <-p.flying
		if err := p.answered(f, result); err != nil {
			p.err = fmt.Errorf("publisher %d: %w", p.number, err)
			return
		}
		<-p.slots
	}
}

func (p *Publisher) answered(f flight, result wire.BatchResult) error {
	if result.Batch != f.id || len(result.Results) != len(f.registers) {
		return fmt.Errorf("answer to batch %d with %d results, want batch %d of %d ops",
			result.Batch, len(result.Results), f.id, len(f.registers))
	}
	for i, r := range result.Results {
		if r.Outcome == wire.OutcomeRetry {
			return fmt.Errorf("%w: op %d of batch %d: %s", ErrDisturbed, i, f.id, r.Reason)
		}
		if r.Outcome != wire.OutcomeApplied {
			return fmt.Errorf("op %d of batch %d: %s %s", i, f.id, r.Outcome, r.Reason)
		}
		if register := int(f.registers[i]); register%p.shape.Writers == p.number {
			p.births[register/p.shape.Writers].Store(uint64(r.Offset))
		}
		p.head.Store(max(p.head.Load(), uint64(r.Offset)))
	}
	p.acked.Add(int64(len(result.Results)))
	return nil
}
