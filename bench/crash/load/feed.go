package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/entente-sync/entente/bench/crash/ledger"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Subscriber follows one pact's feed, at one node or at any, and keeps what it
// was shown. Safe for concurrent use.
type Subscriber struct {
	ledger *ledger.Ledger
	name   string
	tls    *tls.Config
	pact   crdt.Pact
	peers  []Peer // one: it stays there

	mu      sync.Mutex
	fold    *ledger.Fold
	session context.CancelCauseFunc
}

// NewSubscriber returns a subscriber that has not begun.
func NewSubscriber(book *ledger.Ledger, name string, settings *tls.Config, pact crdt.Pact, peers []Peer) *Subscriber {
	return &Subscriber{ledger: book, name: name, tls: settings, pact: pact, peers: peers, fold: ledger.NewFold()}
}

// Run follows until ctx ends.
func (s *Subscriber) Run(ctx context.Context, draw *rand.Rand) {
	for ctx.Err() == nil {
		peer := s.peers[draw.IntN(len(s.peers))]
		if err := s.follow(ctx, peer); err != nil && ctx.Err() == nil {
			s.judge(peer, err)
		}
		rest(ctx, 20*time.Millisecond)
	}
}

// Hop ends the session, as a network does; the next one resumes.
func (s *Subscriber) Hop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		s.session(errSilent)
	}
}

// Fold returns a copy of what the subscriber holds.
func (s *Subscriber) Fold() *ledger.Fold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fold.Clone()
}

// Cursor returns how far the subscriber is.
func (s *Subscriber) Cursor() crdt.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fold.Cursor.Offset
}

// Current returns what the subscriber holds of one register.
func (s *Subscriber) Current(key crdt.Key) ledger.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fold.Registers[key]
}

// follow reads one stream until it breaks.
func (s *Subscriber) follow(ctx context.Context, peer Peer) error {
	conn, err := dial(s.tls, peer.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heard, stop := watched(cancel)
	defer stop()
	s.mu.Lock()
	s.session = cancel
	from := s.fold.Cursor
	s.mu.Unlock()
	feed, err := wire.NewClient(conn).Subscribe(ctx, s.pact, from)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		slice, err := feed.Recv()
		if err != nil {
			return err
		}
		heard()
		s.take(peer, &slice, first)
	}
}

func (s *Subscriber) take(peer Peer, slice *wire.Slice, first bool) {
	for i := range slice.Entries {
		s.ledger.See(s.pact, slice.Cursor.Epoch, &slice.Entries[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, problem := range s.fold.Take(slice, first) {
		s.ledger.Violate(ledger.Order, "feed of %s at node %s (%s): %s", s.pact, peer.Name, s.name, problem)
	}
}

// judge tells what may happen to a subscriber from what may not.
func (s *Subscriber) judge(peer Peer, err error) {
	switch reason := wire.ReasonOf(err); reason {
	case wire.ReasonCursorBeyond, wire.ReasonEpochChanged, wire.ReasonPactUnknown, wire.ReasonPactNotMember,
		wire.ReasonMalformed, wire.ReasonOpMalformed:
		if s.Cursor() > 0 {
			s.ledger.Violate(ledger.Lost, "feed of %s at node %s (%s) from %d: %v", s.pact, peer.Name, s.name, s.Cursor(), err)
		}
	}
}

// Read reads a pact from a cursor to a head at one node, on top of what the
// subscriber held there.
func Read(ctx context.Context, book *ledger.Ledger, settings *tls.Config, pact crdt.Pact, peer Peer,
	from *ledger.Fold, head crdt.Offset,
) (*ledger.Fold, error) {
	s := NewSubscriber(book, "reader", settings, pact, []Peer{peer})
	s.fold = from.Clone()
	var err error
	for range patience {
		if err = s.readTo(ctx, peer, head); !temporary(err) || ctx.Err() != nil {
			break
		}
		rest(ctx, 50*time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s at %s from %d: %w", pact, peer.Name, from.Cursor.Offset, err)
	}
	return s.Fold(), nil
}

// readTo follows one stream until the cursor is at head.
func (s *Subscriber) readTo(ctx context.Context, peer Peer, head crdt.Offset) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- s.follow(ctx, peer) }()
	for {
		select {
		case err := <-done:
			if s.Cursor() >= head {
				return nil // ended by us, or when it had told everything
			}
			return err
		case <-time.After(2 * time.Millisecond):
			if s.Cursor() >= head {
				cancel(nil)
			}
		}
	}
}
