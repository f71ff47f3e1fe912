package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/uplink"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/proto/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	helpdesk = crdt.Pact("helpdesk")
	bugs     = crdt.Pact("bugs")
)

// hub is a scripted wire.Server. It welcomes everybody, answers every batch
// with applied, and keeps feeds alive with heartbeats, unless told otherwise.
type hub struct {
	greet     func(*wire.Welcome) error
	publish   func(context.Context, wire.PublishStream) error
	subscribe func(context.Context, crdt.Pact, crdt.Position, wire.FeedStream) error
	offer     func(context.Context, wire.OfferStream) error
	offerPact func([]byte) (wire.Acceptance, error)

	mu      sync.Mutex
	greets  []time.Time
	batches []wire.Batch
	at      []time.Time // when each batch came
}

func (h *hub) Greet(_ context.Context, hello wire.Hello) (wire.Welcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.greets = append(h.greets, time.Now())
	w := wire.Welcome{Protocol: wire.Protocol, Hub: strings.Repeat("a", 32), Epoch: 1, TimeMillis: 1000}
	for _, p := range hello.Pacts {
		w.Pacts = append(w.Pacts, wire.PactState{Pact: p, Document: []byte("as accepted")})
	}
	if h.greet != nil {
		return w, h.greet(&w)
	}
	return w, nil
}

func (h *hub) Publish(ctx context.Context, s wire.PublishStream) error {
	if h.publish != nil {
		return h.publish(ctx, s)
	}
	return h.take(s, applied)
}

// take answers every batch of s with what answer makes of it.
func (h *hub) take(s wire.PublishStream, answer func(wire.Batch) wire.BatchResult) error {
	for {
		b, err := h.receive(s)
		if err != nil {
			return err
		}
		if err := s.Send(answer(b)); err != nil {
			return err
		}
	}
}

func (h *hub) receive(s wire.PublishStream) (wire.Batch, error) {
	b, err := s.Recv()
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.batches, h.at = append(h.batches, b), append(h.at, time.Now())
	}
	return b, err
}

func (h *hub) Offer(ctx context.Context, s wire.OfferStream) error {
	if h.offer != nil {
		return h.offer(ctx, s)
	}
	return wire.Errorf(wire.ReasonHubReadonly, "nothing was lost here")
}

func (h *hub) History(_ context.Context, span wire.Span) (wire.Timeline, error) {
	return wire.Timeline{Next: span.After + 1}, nil
}

func (h *hub) AsOf(_ context.Context, at wire.Moment) (wire.Past, error) {
	return wire.Past{}, wire.Errorf(wire.ReasonHistoryBefore, "at %d", at.Millis)
}

func (h *hub) OfferPact(_ context.Context, document []byte) (wire.Acceptance, error) {
	if h.offerPact != nil {
		return h.offerPact(document)
	}
	return wire.Acceptance{}, wire.Errorf(wire.ReasonPactVersion, "another document is in force here")
}

func (h *hub) Subscribe(ctx context.Context, p crdt.Pact, from crdt.Position, s wire.FeedStream) error {
	if h.subscribe != nil {
		return h.subscribe(ctx, p, from, s)
	}
	return beat(ctx, s, wire.Slice{Cursor: crdt.Position{Epoch: 1}})
}

// beat sends slice every 10 s.
func beat(ctx context.Context, s wire.FeedStream, slice wire.Slice) error {
	for {
		if err := s.Send(slice); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Second):
		}
	}
}

// sent says which ops each batch had: "helpdesk 0<1,2".
func (h *hub) sent() (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.batches {
		out = append(out, fmt.Sprintf("%s %d<%d-%d", b.Pact, b.After.Seq, b.Ops[0].Seq, b.Ops[len(b.Ops)-1].Seq))
	}
	return out
}

func (h *hub) greeted() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.greets)
}

func results(b wire.Batch, r wire.OpResult) wire.BatchResult {
	out := wire.BatchResult{Batch: b.ID, TimeMillis: 1000}
	for range b.Ops {
		out.Results = append(out.Results, r)
	}
	return out
}

func applied(b wire.Batch) wire.BatchResult {
	return results(b, wire.OpResult{Outcome: wire.OutcomeApplied, Offset: 1})
}

func gap(b wire.Batch) wire.BatchResult {
	return results(b, wire.OpResult{Outcome: wire.OutcomeGap, Reason: wire.ReasonSeqGap})
}

func later(b wire.Batch, reason wire.Reason, wait time.Duration) wire.BatchResult {
	r := results(b, wire.OpResult{Outcome: wire.OutcomeRetry, Reason: reason})
	r.RetryAfter = wait
	return r
}

// agent stands for the engine, the core and the store: an outbox per pact whose
// acked ops leave at once, and the core's rule of when to rewind.
type agent struct {
	loop *uplink.Loop
	fail error // of every step from now on

	mu     sync.Mutex
	boxes  map[crdt.Pact][]crdt.Op
	acked  map[place]bool
	events []core.Event
	step   time.Duration // how long a Fed takes
	asks   int           // for ops of helpdesk
	offers map[crdt.Pact][]core.OfferPart
}

// place names an op in all outboxes.
type place struct {
	pact crdt.Pact
	id   crdt.OpID
}

// run is how many ops the outbox hands out at once.
const run = 2

// config is what a test may prepare.
type config = uplink.Config

// put makes ops and says so.
func (a *agent) put(pact crdt.Pact, n int) {
	a.fill(pact, n)
	a.loop.Publish(core.Publish{Pact: pact})
}

func (a *agent) fill(pact crdt.Pact, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range n {
		op := crdttest.Op(crdt.StampOf(1000, uint16(len(a.boxes[pact]))), "acme", crdt.Seq(len(a.boxes[pact])+1), "hello")
		op.Key.Pact = pact
		a.boxes[pact] = append(a.boxes[pact], op)
	}
}

func (a *agent) Step(build func(int64) core.Event) error {
	event := build(time.Now().UnixMilli())
	if _, fed := event.(core.Fed); fed {
		time.Sleep(a.step)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return a.fail
	}
	a.events = append(a.events, event)
	switch e := event.(type) {
	case core.Offered:
		a.offers[e.Pact] = a.offers[e.Pact][1:]
	case core.Greeted:
		a.loop.Publish(core.Publish{Pact: e.Pact, Rewind: true})
	case core.Acked:
		for _, r := range e.Results {
			if r.Outcome == core.OutcomeApplied || r.Outcome == core.OutcomeRefused {
				a.acked[place{e.Pact, r.Op}] = true
			} else {
				a.loop.Publish(core.Publish{Pact: e.Pact, Rewind: true})
			}
		}
	}
	return nil
}

func (a *agent) Incarnation() (uint64, error) { return 1, nil }

func (a *agent) FeedCursor(crdt.Pact) (crdt.Position, error) {
	return crdt.Position{Epoch: 1, Offset: 7}, nil
}

func (a *agent) Pending(pact crdt.Pact, from uint64, _, _ int) (after crdt.OpID, ops []crdt.Op, next uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if pact == helpdesk {
		a.asks++
	}
	for i, op := range a.boxes[pact] {
		if at := uint64(i + 1); at < from || a.acked[place{pact, op.ID()}] {
			continue
		} else if next = at + 1; len(ops) == 0 && i > 0 {
			after = a.boxes[pact][i-1].ID()
		}
		if ops = append(ops, op); len(ops) == run {
			break
		}
	}
	return after, ops, next, nil
}

func (a *agent) NextOffer(pact crdt.Pact) (core.OfferPart, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := a.offers[pact]
	if len(parts) == 0 {
		return core.OfferPart{}, false, nil
	}
	return parts[0], true, nil
}

// asked counts how often the loop looked for ops of helpdesk.
func (a *agent) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asks
}

// waiting counts the ops that have no answer.
func (a *agent) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := -len(a.acked)
	for _, box := range a.boxes {
		n += len(box)
	}
	return n
}

func eventsOf[E core.Event](a *agent) (out []E) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

// world is one agent's uplink and the nodes that it may dial.
type world struct {
	*agent
	hub    *hub
	dialed []string
	failed chan error // what Run returned
	stop   context.CancelFunc
}

// inWorld runs test in a bubble with virtual time, with a loop that is running.
func inWorld(t *testing.T, h *hub, prepare func(*config, *agent), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			agent:  &agent{boxes: map[crdt.Pact][]crdt.Op{}, acked: map[place]bool{}},
			hub:    h,
			failed: make(chan error, 1),
		}
		listener := bufconn.Listen(1 << 20)
		server := grpc.NewServer(wire.ServerOptions()...)
		wire.RegisterServer(server, h)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		config := uplink.Config{
			Addresses: []string{"one", "two"}, Pacts: []crdt.Pact{helpdesk, bugs}, Software: "test",
			Engine: w, Memory: w, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			Documents: func(wire.PactState) error { return nil },
			Document:  func(crdt.Pact) ([]byte, uint32) { return nil, 0 },
			Dial: func(address string) (*grpc.ClientConn, error) {
				w.dialed = append(w.dialed, address)
				return grpc.NewClient("passthrough:///"+address, append(wire.DialOptions(),
					grpc.WithTransportCredentials(insecure.NewCredentials()),
					grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))...)
			},
		}
		if prepare != nil {
			prepare(&config, w.agent)
		}
		w.loop = uplink.New(config)
		ctx, cancel := context.WithCancel(t.Context())
		w.stop = cancel
		go func() { w.failed <- w.loop.Run(ctx) }()
		synctest.Wait()
		test(t, w)
		cancel()
		if err := <-w.failed; err != nil {
			t.Errorf("a stopped loop returned %v", err)
		}
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
}

// eof makes a script end as a hub does when the agent is done.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
