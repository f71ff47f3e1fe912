// Package uplink is the loop between an agent and its hub: it dials out, greets,
// publishes the outbox in order, and hands the feed to the core. It decides
// nothing and remembers nothing that must survive: after any break it begins
// again at what the store says.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// Engine is the part of the agent's engine that this loop needs. Step blocks
// until its event is on stable storage.
type Engine interface {
	Step(build func(nowMillis int64) core.Event) error
}

// Memory is what the loop reads of the agent's store.
type Memory interface {
	// Incarnation that the agent writes with.
	Incarnation() (uint64, error)
	// FeedCursor is where the feed of pact goes on.
	FeedCursor(pact crdt.Pact) (crdt.Position, error)
	// Pending returns a run of ops that wait for an answer, from place from in the
	// outbox (0: the first) onwards, the op before that run, and the place after it.
	// At most opsMax ops and bytesMax bytes, but at least one op if there is any.
	Pending(pact crdt.Pact, from uint64, opsMax, bytesMax int) (after crdt.OpID, ops []crdt.Op, next uint64, err error)
	// NextOffer returns the next part of what a hub of a new epoch must be brought;
	// open is false if there is nothing to bring. Pending returns nothing while it
	// is open.
	NextOffer(pact crdt.Pact) (part core.OfferPart, open bool, err error)
}

// Dialer connects to one node of the hub. The loop closes the connection.
type Dialer func(address string) (*grpc.ClientConn, error)

// Config of the loop.
type Config struct {
	Addresses []string // of the hub's nodes; any of them will do
	Dial      Dialer
	Software  string
	Pacts     []crdt.Pact
	Engine    Engine
	Memory    Memory
	// Documents checks the hub's pact document against what the site accepted; an
	// error keeps that pact out of the session.
	Documents func(wire.PactState) error
	// Document is the one that the site accepted. A hub that lacks it is told so.
	Document func(crdt.Pact) (document []byte, version uint32)
	// SilenceMax is how long the feed may be silent, or a batch without an answer,
	// before the connection counts as dead; the hub sends a heartbeat every 10 s.
	// 0 means 30 s.
	SilenceMax time.Duration
	Now        func() time.Time
	Log        *slog.Logger
}

// Loop is the uplink of one agent. Its methods are safe for concurrent use.
type Loop struct {
	config Config
	target int // index into Addresses of the node to dial next
	leader string
	served bool // the last session was greeted

	mu     sync.Mutex
	rewind map[crdt.Pact]bool
	wake   chan struct{}

	asks  chan *errand
	asked *errand // what ended the session

	heardUnix atomic.Int64
	status    atomic.Pointer[Status]
	client    atomic.Pointer[wire.Client] // of the session; nil while there is none
}

// Status is what an operator wants to know of the uplink.
type Status struct {
	Connected bool
	Address   string
	Hub       string
	Epoch     crdt.Epoch
	Pacts     map[crdt.Pact]PactStatus
	Problem   string // why the last session ended, or why there is none
}

// PactStatus is where one pact stands.
type PactStatus struct {
	Head    crdt.Offset // as last heard
	Cursor  crdt.Offset
	Refused string // why this site may not take part, or ""
	// Offering: the hub is brought what this agent holds; nothing else is sent or
	// read meanwhile.
	Offering bool
	// Delayed is why the hub put ops of this agent, or a part of an offer, off when it last answered, or "".
	// They stay and are sent again.
	Delayed wire.Reason
}

// New returns a loop that has not begun.
func New(c Config) *Loop {
	if c.SilenceMax <= 0 {
		c.SilenceMax = 30 * time.Second
	}
	l := &Loop{config: c, rewind: map[crdt.Pact]bool{}, wake: make(chan struct{}, 1), asks: make(chan *errand)}
	l.status.Store(&Status{Problem: "not connected yet"})
	return l
}

// Publish says that the outbox of a pact has ops to send; it never blocks.
func (l *Loop) Publish(p core.Publish) {
	l.mu.Lock()
	l.rewind[p.Pact] = l.rewind[p.Pact] || p.Rewind
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Status returns a copy of the newest status.
func (l *Loop) Status() Status {
	s := *l.status.Load()
	pacts := make(map[crdt.Pact]PactStatus, len(s.Pacts))
	for name, p := range s.Pacts {
		pacts[name] = p
	}
	s.Pacts = pacts
	return s
}

// HeardUnix returns when the hub was last heard, in Unix seconds; 0 for never.
func (l *Loop) HeardUnix() int64 { return l.heardUnix.Load() }

// Run keeps a session with the hub until ctx ends (nil) or the engine stopped.
func (l *Loop) Run(ctx context.Context) error {
	backoff := retry.Backoff{Min: 200 * time.Millisecond, Max: 15 * time.Second}
	for ctx.Err() == nil {
		began := l.config.Now()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errAsked) {
			if err := l.answer(); err != nil {
				return err
			}
			continue
		}
		var local *localError
		if errors.As(err, &local) {
			return local.err
		}
		if l.config.Now().Sub(began) > time.Minute || l.served && sentOn(err) {
			backoff.Reset()
		}
		wait := l.follow(err, backoff.Next())
		l.update(func(s *Status) { s.Connected, s.Problem = false, err.Error() })
		l.config.Log.Warn("session with the hub ended; trying again", "error", err, "wait", wait)
		l.sleep(ctx, wait)
		if err := l.answer(); err != nil {
			return err
		}
	}
	return nil
}

// sentOn reports whether a session ended because another node serves, which is no
// failure of the hub.
func sentOn(err error) bool {
	reason := wire.ReasonOf(err)
	return reason == wire.ReasonHubDraining || reason == wire.ReasonLeaderMoved || errors.Is(err, errMoved)
}

// follow reads in the end of a session where to go next, and how long to wait.
func (l *Loop) follow(err error, wait time.Duration) time.Duration {
	var e *wire.Error
	if errors.As(err, &e) {
		wait = max(wait, min(e.RetryAfter, retryAfterMax))
		if e.Reason == wire.ReasonLeaderMoved {
			l.leader = e.Leader
		}
	}
	if errors.Is(err, errMoved) || l.leader != "" {
		wait = min(wait, movedMax)
	}
	return wait
}

// Bounds on waits.
const (
	retryAfterMax = time.Minute            // that a hub may ask for
	movedMax      = 500 * time.Millisecond // before the leader is dialled
	askAgainEvery = time.Minute            // for pacts that were refused
)

// Reasons to begin a session anew.
var (
	errMoved      = errors.New("another node leads")
	errRegreet    = errors.New("the hub's feed or the pacts changed")
	errSilent     = errors.New("the hub is silent")
	errUnanswered = errors.New("the hub left a batch without an answer")
)

// localError is a failure of this agent, not of the hub: trying again is no use.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func local(err error) error {
	if err == nil {
		return nil
	}
	return &localError{err}
}

// session dials one node and works until something breaks.
func (l *Loop) session(ctx context.Context) error {
	address := l.next()
	l.served = false
	conn, err := l.config.Dial(address)
	if err != nil {
		return fmt.Errorf("dial %s: %w", address, err)
	}
	defer conn.Close() // the session is over; nothing depends on how it closes
	client := wire.NewClient(conn)
	welcome, err := l.greet(ctx, client, address)
	if err != nil {
		return err
	}
	pacts := open(&welcome)
	if len(pacts) == 0 {
		return fmt.Errorf("hub %s: none of this agent's pacts can run: %s", welcome.Hub, l.refusals())
	}
	l.served = true
	l.client.Store(client)
	defer l.client.Store(nil)
	group, gctx := errgroup.WithContext(ctx)
	if len(pacts) < len(welcome.Pacts) {
		group.Go(func() error { return l.askAgain(gctx, client, len(pacts)) })
	}
	group.Go(func() error { return l.awaitAsk(gctx) })
	group.Go(func() error { return l.publish(gctx, client, welcome.Epoch, pacts) })
	for _, p := range pacts {
		group.Go(func() error {
			if err := l.offer(gctx, client, welcome.Epoch, p); err != nil {
				return err
			}
			return l.subscribe(gctx, client, p)
		})
	}
	return group.Wait()
}

// next picks the node to dial: the leader that was named, or the next in turn.
func (l *Loop) next() string {
	if l.leader != "" {
		address := l.leader
		l.leader = ""
		return address
	}
	address := l.config.Addresses[l.target%len(l.config.Addresses)]
	l.target++
	return address
}

func (l *Loop) heard() { l.heardUnix.Store(l.config.Now().Unix()) }

// update changes the status; the loops of a session call it at the same time.
func (l *Loop) update(change func(*Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.Status()
	change(&s)
	l.status.Store(&s)
}
