package load

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/bench/crash/ledger"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// session is one connection of a publisher.
type session struct {
	publisher *Publisher
	peer      Peer
	stream    *wire.PublishClient
	epoch     crdt.Epoch
	flight    chan flight
	rewind    chan struct{} // holds a token after a gap or a put-off
	heard     func()
}

// flight is one batch without an answer.
type flight struct {
	attempt  *ledger.Attempt
	id       uint64
	from, to int
}

// inFlightMax batches wait for their answers.
const inFlightMax = 4

// errMoved ends a session at a node that does not lead.
var errMoved = errors.New("another node leads")

func (s *session) run(ctx context.Context) {
	p := s.publisher
	welcome, err := greet(ctx, p.tls, s.peer.Address, p.pact)
	if err != nil || welcome.Pacts[0].Refused != "" {
		rest(ctx, 20*time.Millisecond)
		return
	}
	s.epoch = welcome.Epoch
	conn, err := dial(p.tls, s.peer.Address)
	if err != nil {
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	group, ctx := errgroup.WithContext(ctx)
	if s.stream, err = wire.NewClient(conn).Publish(ctx); err != nil {
		return
	}
	var stop func()
	s.heard, stop = watched(cancel)
	defer stop()
	s.flight, s.rewind = make(chan flight, inFlightMax), make(chan struct{}, 1)
	group.Go(func() error { return s.send(ctx) })
	group.Go(func() error { return s.receive(ctx) })
	_ = group.Wait() // why a session ended is no matter: the next one goes on
	for {
		select {
		case f := <-s.flight:
			s.lost(f)
		default:
			return
		}
	}
}

// lost is a batch whose answer will not come.
func (s *session) lost(f flight) {
	f.attempt.Break()
	s.publisher.mu.Lock()
	defer s.publisher.mu.Unlock()
	s.publisher.inFlight--
}

func (s *session) send(ctx context.Context) error {
	p := s.publisher
	next := 0
	var id uint64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case <-s.rewind:
			next = 0
		default:
		}
		p.mu.Lock()
		dice, size := p.draw.IntN(60), 1+p.draw.IntN(24)
		p.mu.Unlock()
		b, from, to := p.waiting(next, size)
		if from > to {
			if s.idle() {
				s.heard()
			}
			rest(ctx, 3*time.Millisecond)
			continue
		}
		skipped := false
		switch {
		case dice == 0: // what was answered long ago, once more
			if again, f, t := p.old(size); f <= t {
				b, from, to, skipped = again, f, t, true
			}
		case dice == 1: // what must wait for its predecessor, before it
			if ahead, f, t := p.waiting(to, size); f <= t {
				b, from, to, skipped = ahead, f, t, true
			}
		}
		id++
		b.ID, b.Epoch = id, s.epoch
		if err := s.sendBatch(ctx, b, from, to); err != nil {
			return err
		}
		if !skipped {
			next = to
		}
	}
}

// idle reports whether no answer is owed.
func (s *session) idle() bool {
	s.publisher.mu.Lock()
	defer s.publisher.mu.Unlock()
	return s.publisher.inFlight == 0
}

func (s *session) sendBatch(ctx context.Context, b wire.Batch, from, to int) error {
	s.publisher.mu.Lock()
	s.publisher.inFlight++
	s.publisher.mu.Unlock()
	f := flight{attempt: s.publisher.lane.Send(from, to), id: b.ID, from: from, to: to}
	select {
	case s.flight <- f:
	case <-ctx.Done():
		s.lost(f)
		return ctx.Err()
	}
	if err := s.stream.Send(b); err != nil {
		<-ctx.Done() // the receiver learns why
		return err
	}
	return nil
}

func (s *session) receive(ctx context.Context) error {
	p := s.publisher
	for {
		result, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.heard()
		var f flight
		select {
		case f = <-s.flight:
		case <-ctx.Done():
			return ctx.Err()
		}
		if result.Batch != f.id {
			s.lost(f)
			return errors.New("the hub answered another batch")
		}
		err = f.attempt.Answer(result.Results)
		p.mu.Lock()
		p.inFlight--
		p.mu.Unlock()
		if err != nil {
			return err
		}
		p.answered(f.from, result.Results)
		if err := s.follow(ctx, &result); err != nil {
			return err
		}
	}
}

// follow reads in an answer what to do next.
func (s *session) follow(ctx context.Context, result *wire.BatchResult) error {
	for _, r := range result.Results {
		if r.Outcome != wire.OutcomeRetry && r.Outcome != wire.OutcomeGap {
			continue
		}
		if r.Reason == wire.ReasonLeaderMoved {
			s.publisher.mu.Lock()
			s.publisher.leader = result.Leader
			s.publisher.mu.Unlock()
			return errMoved
		}
		if r.Reason == wire.ReasonLeaderNone {
			return errMoved
		}
		select {
		case s.rewind <- struct{}{}:
		default:
		}
		rest(ctx, min(max(result.RetryAfter, time.Millisecond), 50*time.Millisecond))
		return nil
	}
	return nil
}
