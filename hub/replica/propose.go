package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// Errors of Propose. All of them mean: send the same bytes again, later or to
// another node. Apply knows what it has seen by author and seq.
var (
	// ErrNotLeader: nothing was proposed.
	ErrNotLeader = errors.New("this node does not lead")
	// ErrBusy: nothing was proposed, since this pact has too much waiting already,
	// or the most of those who fill the queue.
	ErrBusy = errors.New("too many commands wait")
	// ErrUnknown: leadership was lost, or the node stopped, while the entry was
	// under way; it may be applied or not.
	ErrUnknown = errors.New("outcome of the proposed entry is unknown")
	// ErrNotYet: nothing was proposed, since a member of the hub is not known to
	// understand such a command. It would stop at the entry.
	ErrNotYet = errors.New("a member of the hub does not know this command yet: upgrade it")
	// ErrDiskLow, too, says that nothing was proposed.
)

// CommandBytesMax bounds one command, so that it fits an entry alone.
const CommandBytesMax = command.EntryBytesMax - 1024

type answer struct {
	result state.CommandResult
	err    error
}

// flight is one entry that raft has and the state has not yet.
type flight struct {
	future    raft.ApplyFuture
	proposals []proposal
	began     time.Time
}

// Propose puts c into the log and returns what Apply made of it. The entry's
// time is this leader's clock. Commands proposed by one goroutine one after the
// other keep their order; Start keeps order for several in flight.
func (r *Replica) Propose(ctx context.Context, c command.Command) (state.CommandResult, error) {
	wait, err := r.Start(c)
	if err != nil {
		return state.CommandResult{}, err
	}
	return wait(ctx)
}

// Start queues c behind everything that was started for the same site of the
// same pact and returns at once; see queue for how flows share the log. It keeps
// nothing of c. wait returns what became of it and may be called once; when ctx
// ends first the command goes on and its outcome is unknown.
func (r *Replica) Start(c command.Command) (wait func(context.Context) (state.CommandResult, error), err error) {
	if err := r.latch.err(); err != nil {
		return nil, err
	}
	if err := r.auditor.err(); err != nil {
		return nil, err
	}
	if err := r.volume.admits(); err != nil {
		return nil, err
	}
	return r.enqueue(c, false)
}

// Order is Propose for what ends a dispute or makes room: who belongs to the hub.
// Neither a dispute nor a disk below its reserve keeps it from the log, as long as
// the disk stores anything.
func (r *Replica) Order(ctx context.Context, c command.Command) (state.CommandResult, error) {
	if err := r.latch.err(); err != nil {
		return state.CommandResult{}, err
	}
	wait, err := r.enqueue(c, true)
	if err != nil {
		return state.CommandResult{}, err
	}
	return wait(ctx)
}

// enqueue is Start, also during a dispute and while the disk is low. During a
// dispute only orders are answered.
func (r *Replica) enqueue(c command.Command, order bool) (wait func(context.Context) (state.CommandResult, error), err error) {
	if !r.leading.Load() {
		return nil, ErrNotLeader
	}
	if err := r.volume.stores(); err != nil {
		return nil, err
	}
	if needs := command.Needs(c); uint32(needs) > r.newest.Load() {
		return nil, fmt.Errorf("%w: %s, known to who speaks %d", ErrNotYet, c.Kind(), needs)
	}
	encoded := command.EncodeCommand(c)
	if len(encoded) > command.EncodedBytesMax {
		return nil, fmt.Errorf("%s command has %d bytes, an entry takes %d", c.Kind(), len(encoded), command.EncodedBytesMax)
	}
	done := make(chan answer, 1)
	if err := r.queue.push(proposal{flow: command.FlowOf(c), encoded: encoded, order: order, done: done}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (state.CommandResult, error) {
		select {
		case a := <-done:
			return a.result, a.err
		case <-ctx.Done():
			return state.CommandResult{}, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
		case <-r.stopped:
			select {
			case a := <-done:
				return a.result, a.err
			default:
				return state.CommandResult{}, fmt.Errorf("%w: the node stopped", ErrUnknown)
			}
		}
	}, nil
}

// Allow says up to which kind a proposed command may need (command.Needs): what
// every member is known to understand. Until it is called Config.Newest counts.
func (r *Replica) Allow(newest command.Kind) { r.newest.Store(uint32(max(newest, command.KindFirst))) }

// Allowed returns what Allow said last.
func (r *Replica) Allowed() command.Kind { return command.Kind(r.newest.Load()) }

// propose joins what waits into entries. There is no timer: while InFlightMax
// entries are on their way nothing is taken from the queue, and what gathers
// there becomes the next entry. A lone command leaves at once.
func (r *Replica) propose() {
	defer close(r.flights)
	for {
		select {
		case <-r.queue.ready:
		case <-r.closing:
			return
		}
		for more := true; more; {
			select { // a place in the pipeline first: more may have gathered meanwhile
			case r.slots <- struct{}{}:
			case <-r.closing:
				return
			}
			builder := command.NewBuilder(r.cfg.Now().UnixMilli(), uint64(r.cfg.DriftMax.Milliseconds()))
			var joined []proposal
			if joined, more = r.join(builder); len(joined) == 0 {
				<-r.slots
				continue
			}
			now := r.cfg.Now()
			r.progress.proposed(now)
			future := r.raft.Apply(builder.Bytes(), 0)
			r.flights <- flight{future, joined, now} // never waits: it is as long as slots
		}
	}
}

// join fills the entry with what waits; more tells whether it left something.
func (r *Replica) join(builder *command.Builder) (joined []proposal, more bool) {
	for {
		p, ok, more := r.queue.pop(builder.Room())
		if !ok {
			return joined, more
		}
		builder.AddEncoded(p.encoded) // fits: it has at most Room bytes
		p.encoded = nil
		joined = append(joined, p)
	}
}

// settle answers proposals in the order of the log, until propose has ended and
// everything under way is answered.
func (r *Replica) settle() {
	for f := range r.flights {
		err := r.awaitUnless(f.future, r.watch.stalls())
		<-r.slots
		r.queue.landed(f.proposals)
		took := r.progress.settled(r.cfg.Now(), f.began)
		var result state.Result
		if err == nil {
			result, _ = f.future.Response().(state.Result)
			r.cfg.Committed(took, len(f.proposals))
		}
		for i, p := range f.proposals {
			err := err
			if err == nil && r.auditor.withholds(p.order) {
				err = errWithheld
			}
			p.done <- answerOf(i, result, err)
		}
	}
}

// await returns a future's error. Raft leaves futures unanswered that wait in
// its channels when it shuts down, and all of them while a write hangs for ever.
func (r *Replica) await(f raft.Future) error { return r.awaitUnless(f, nil) }

// awaitUnless gives up when stalls is closed: publishers then go elsewhere.
func (r *Replica) awaitUnless(f raft.Future, stalls <-chan struct{}) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-stalls:
		return ErrDiskStalled
	case <-r.stopped:
	case <-r.latch.tripped:
	}
	return raft.ErrRaftShutdown
}

// errWithheld keeps an answer that a state in doubt gave.
var errWithheld = errors.New("this node's state is in doubt")

func answerOf(i int, result state.Result, err error) answer {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return answer{err: fmt.Errorf("%w: %w", ErrNotLeader, err)} // raft refused it at the door
	case errors.Is(err, ErrDiskLow):
		return answer{err: err} // refused before the log was touched
	case err != nil:
		return answer{err: fmt.Errorf("%w: %w", ErrUnknown, err)}
	case i >= len(result.Commands): // the replica stopped itself within the entry
		return answer{err: ErrUnknown}
	}
	return answer{result: result.Commands[i]}
}
