package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

const helpdesk = crdt.Pact("helpdesk")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub is a wire.Server made of functions.
type hub struct {
	greet     func(context.Context, wire.Hello) (wire.Welcome, error)
	publish   func(context.Context, wire.PublishStream) error
	subscribe func(context.Context, crdt.Pact, crdt.Position, wire.FeedStream) error
	offer     func(context.Context, wire.OfferStream) error
	offerPact func([]byte) (wire.Acceptance, error)
	history   func(wire.Span) (wire.Timeline, error)
	asOf      func(wire.Moment) (wire.Past, error)
}

func (h hub) History(_ context.Context, span wire.Span) (wire.Timeline, error) {
	return h.history(span)
}

func (h hub) AsOf(_ context.Context, at wire.Moment) (wire.Past, error) { return h.asOf(at) }

func (h hub) Greet(ctx context.Context, m wire.Hello) (wire.Welcome, error) { return h.greet(ctx, m) }

func (h hub) Publish(ctx context.Context, s wire.PublishStream) error { return h.publish(ctx, s) }

func (h hub) Offer(ctx context.Context, s wire.OfferStream) error { return h.offer(ctx, s) }

func (h hub) OfferPact(_ context.Context, document []byte) (wire.Acceptance, error) {
	return h.offerPact(document)
}

func (h hub) Subscribe(ctx context.Context, p crdt.Pact, c crdt.Position, s wire.FeedStream) error {
	return h.subscribe(ctx, p, c, s)
}

// dial serves h in memory and returns a connection to it.
func dial(t *testing.T, h hub) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(wire.ServerOptions()...)
	wire.RegisterServer(server, h)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///hub", append(wire.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return conn
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func op(seq crdt.Seq) crdt.Op {
	o := crdttest.Op(crdt.StampOf(1000, uint16(seq)), "acme", seq, "hello")
	o.Key.Pact = helpdesk
	return o
}

func batch(id uint64) wire.Batch {
	return wire.Batch{ID: id, Pact: helpdesk, Epoch: 7, Ops: []crdt.Op{op(crdt.Seq(id))}}
}

func TestGreet(t *testing.T) {
	c := wire.NewClient(dial(t, hub{greet: func(_ context.Context, h wire.Hello) (wire.Welcome, error) {
		w := wire.Welcome{Hub: strings.Repeat("a", 32), Epoch: 7, DriftMax: time.Minute}
		for _, p := range h.Pacts {
			w.Pacts = append(w.Pacts, wire.PactState{Pact: p, Head: 4})
		}
		if h.Software == "odd" {
			slices.Reverse(w.Pacts)
		}
		return w, nil
	}}))
	ctx := testContext(t)
	w, err := c.Greet(ctx, wire.Hello{Software: "test", Pacts: []crdt.Pact{"a", "b"}})
	if err != nil || w.Epoch != 7 || w.DriftMax != time.Minute || len(w.Pacts) != 2 || w.Pacts[1].Pact != "b" {
		t.Fatalf("got %+v, %v", w, err)
	}
	if _, err := c.Greet(ctx, wire.Hello{Software: "odd", Pacts: []crdt.Pact{"a", "b"}}); wire.ReasonOf(err) != wire.ReasonMalformed {
		t.Fatalf("an answer in another order: %v", err)
	}
	if _, err := c.Greet(ctx, wire.Hello{Protocol: wire.Protocol + 1}); wire.ReasonOf(err) != wire.ReasonVersionNewer {
		t.Fatalf("a newer agent: %v", err)
	}
}

func TestPublish(t *testing.T) {
	c := wire.NewClient(dial(t, hub{publish: func(_ context.Context, s wire.PublishStream) error {
		for {
			b, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			result := wire.OpResult{Outcome: wire.OutcomeApplied, Offset: crdt.Offset(b.Ops[0].Seq)}
			if err := s.Send(wire.BatchResult{Batch: b.ID, Results: []wire.OpResult{result}}); err != nil {
				return err
			}
		}
	}}))
	p, err := c.Publish(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); id <= 20; id++ {
		if err := p.Send(batch(id)); err != nil {
			t.Fatal(err)
		}
		r, err := p.Recv()
		if err != nil || r.Batch != id || r.Results[0].Offset != crdt.Offset(id) {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	if err := p.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the end: %v", err)
	}
}

// The hub reads no further while InFlightMax batches are unanswered.
func TestBatchesInFlight(t *testing.T) {
	received := make(chan uint64, 2*wire.InFlightMax)
	answer := make(chan struct{})
	c := wire.NewClient(dial(t, hub{publish: func(ctx context.Context, s wire.PublishStream) error {
		failed := make(chan error, 1)
		go func() {
			for {
				b, err := s.Recv()
				if err != nil {
					failed <- err
					return
				}
				received <- b.ID
			}
		}()
		for {
			select {
			case <-answer:
				if err := s.Send(wire.BatchResult{Batch: 1}); err != nil {
					return err
				}
			case err := <-failed:
				return err
			}
		}
	}}))
	p, err := c.Publish(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); id <= wire.InFlightMax+1; id++ {
		if err := p.Send(batch(id)); err != nil {
			t.Fatal(err)
		}
	}
	for range wire.InFlightMax {
		<-received
	}
	select {
	case id := <-received:
		t.Fatalf("batch %d was read beyond the limit", id)
	case <-time.After(50 * time.Millisecond):
	}
	answer <- struct{}{}
	if id := <-received; id != wire.InFlightMax+1 {
		t.Fatalf("after an answer: batch %d", id)
	}
}

func TestPublishRefusesOversize(t *testing.T) {
	conn := dial(t, hub{publish: func(_ context.Context, s wire.PublishStream) error {
		_, err := s.Recv()
		return err
	}})
	op := func(valueBytes int) *syncv1.Op {
		return &syncv1.Op{Type: "ticket", Record: make([]byte, 16), Field: "title", Seq: 1, Value: make([]byte, valueBytes)}
	}
	for _, c := range []struct {
		ops    []*syncv1.Op
		reason wire.Reason
		want   string
	}{
		{nil, wire.ReasonMalformed, "a batch without ops"},
		{[]*syncv1.Op{op(crdt.ValueBytesMax + 1)}, wire.ReasonOpOversize, "value of 65537 bytes, limit 65536"},
		{slices.Repeat([]*syncv1.Op{op(1)}, wire.BatchOpsMax+1), wire.ReasonBatchOversize, "1025 ops, limit 1024"},
		{slices.Repeat([]*syncv1.Op{op(crdt.ValueBytesMax)}, 16), wire.ReasonBatchOversize, "bytes, limit 1048576"},
	} {
		raw, err := syncv1.NewSyncServiceClient(conn).Publish(testContext(t)) // which checks nothing
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Send(&syncv1.PublishRequest{Pact: "helpdesk", Ops: c.ops}); err != nil {
			t.Fatal(err)
		}
		_, err = raw.Recv()
		details := status.Convert(err).Details()
		if len(details) != 1 {
			t.Fatalf("%s: got %v", c.want, err)
		}
		if got, ok := details[0].(*syncv1.ErrorDetail); !ok || wire.Reason(got.GetReason()) != c.reason || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s: %s", err, c.reason, c.want)
		}
	}
}

// One byte beyond the message limit is refused, with a reason.
func TestMessageLimit(t *testing.T) {
	c := wire.NewClient(dial(t, hub{greet: func(_ context.Context, h wire.Hello) (wire.Welcome, error) {
		w := wire.Welcome{Hub: strings.Repeat("a", 32)}
		for _, p := range h.Pacts {
			w.Pacts = append(w.Pacts, wire.PactState{Pact: p, Document: make([]byte, 1<<20)})
		}
		return w, nil
	}}))
	ctx := testContext(t)
	if _, err := c.Greet(ctx, wire.Hello{Pacts: []crdt.Pact{"a", "b", "c"}}); err != nil {
		t.Fatalf("below the limit: %v", err)
	}
	if _, err := c.Greet(ctx, wire.Hello{Pacts: []crdt.Pact{"a", "b", "c", "d"}}); wire.ReasonOf(err) != wire.ReasonOversize {
		t.Fatalf("above the limit: %v", err)
	}
}

// endless sends slices for as long as the subscriber lets it.
func endless(sent chan<- crdt.Offset) func(context.Context, crdt.Pact, crdt.Position, wire.FeedStream) error {
	return func(ctx context.Context, _ crdt.Pact, from crdt.Position, s wire.FeedStream) error {
		for offset := from.Offset + 1; ; offset++ {
			o := op(crdt.Seq(offset))
			err := s.Send(wire.Slice{
				Entries: []wire.Entry{{Offset: offset, Register: crdt.NewRegister(o, crdt.Position{Epoch: 7, Offset: offset})}},
				Cursor:  crdt.Position{Epoch: 7, Offset: offset}, Head: offset,
			})
			if err != nil {
				return err
			}
			select {
			case sent <- offset:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// A subscriber that stops reading stops the hub after FeedWindow messages.
func TestCreditsBoundTheHub(t *testing.T) {
	sent := make(chan crdt.Offset, 100)
	c := wire.NewClient(dial(t, hub{subscribe: endless(sent)}))
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	feed, err := c.Subscribe(ctx, helpdesk, crdt.Position{Epoch: 7, Offset: 3})
	if err != nil {
		t.Fatal(err)
	}
	for range wire.FeedWindow {
		<-sent
	}
	select {
	case offset := <-sent:
		t.Fatalf("offset %d was sent without a credit", offset)
	case <-time.After(50 * time.Millisecond):
	}
	for want := crdt.Offset(4); want < 104; want++ {
		s, err := feed.Recv()
		if err != nil || len(s.Entries) != 1 || s.Entries[0].Offset != want || s.Cursor.Offset != want {
			t.Fatalf("got %+v, %v, want offset %d", s, err, want)
		}
		if r := &s.Entries[0].Register; r.Digest != r.Op.Digest() || r.Birth.Offset != want || r.Op.Key.Pact != helpdesk {
			t.Fatalf("register %+v", r)
		}
	}
	cancel()
	for err == nil {
		_, err = feed.Recv()
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("after cancel: %v", err)
	}
}

func TestExcessCreditsEndTheStream(t *testing.T) {
	ended := make(chan error, 1)
	conn := dial(t, hub{subscribe: func(ctx context.Context, _ crdt.Pact, _ crdt.Position, _ wire.FeedStream) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}})
	for name, grants := range map[string][]uint32{
		"at once": {wire.CreditsMax + 1}, "none": {0}, "in sum": {wire.CreditsMax, 1}, "none later": {1, 0},
	} {
		stream, err := syncv1.NewSyncServiceClient(conn).Subscribe(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range grants {
			if err := stream.Send(&syncv1.SubscribeRequest{Pact: "helpdesk", Credits: n}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := stream.Recv(); err == nil || !strings.Contains(err.Error(), "credits") {
			t.Errorf("%s: %v", name, err)
		}
		if len(grants) > 1 {
			if err := <-ended; wire.ReasonOf(err) != wire.ReasonCreditExcess {
				t.Errorf("%s: the server saw %v", name, err)
			}
		}
	}
}

func TestClosingTheSenderEndsTheSubscription(t *testing.T) {
	conn := dial(t, hub{subscribe: func(ctx context.Context, _ crdt.Pact, _ crdt.Position, _ wire.FeedStream) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	stream, err := syncv1.NewSyncServiceClient(conn).Subscribe(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&syncv1.SubscribeRequest{Pact: "helpdesk", Credits: 1}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
}

// Every reason crosses the wire with all that belongs to it.
func TestErrorsCrossTheWire(t *testing.T) {
	var fail error
	c := wire.NewClient(dial(t, hub{
		greet: func(context.Context, wire.Hello) (wire.Welcome, error) { return wire.Welcome{}, fail },
		subscribe: func(context.Context, crdt.Pact, crdt.Position, wire.FeedStream) error {
			return fail
		},
	}))
	ctx := testContext(t)
	for _, d := range wire.Reasons() {
		want := &wire.Error{Reason: d.Reason, Message: "why", RetryAfter: 1500 * time.Millisecond, Leader: "10.0.0.1:7430"}
		fail = fmt.Errorf("wrapped: %w", want)
		_, err := c.Greet(ctx, wire.Hello{})
		var got *wire.Error
		if !errors.As(err, &got) || got.Reason != want.Reason || got.Message != "why" ||
			got.RetryAfter != want.RetryAfter || got.Leader != want.Leader || !errors.Is(err, want) ||
			got.Retryable() != d.Retryable {
			t.Errorf("%s: got %#v", d.Reason, err)
		}
		feed, err := c.Subscribe(ctx, helpdesk, crdt.Position{})
		if err == nil {
			_, err = feed.Recv()
		}
		if wire.ReasonOf(err) != d.Reason {
			t.Errorf("%s: a stream got %v", d.Reason, err)
		}
	}
	fail = errors.New("secret detail")
	_, err := c.Greet(ctx, wire.Hello{})
	if wire.ReasonOf(err) != wire.ReasonHubInternal || strings.Contains(err.Error(), "secret") {
		t.Errorf("an error without reason: %v", err)
	}
	for _, fail = range []error{io.EOF, fmt.Errorf("stored row: %w", io.ErrUnexpectedEOF), wire.Errorf(wire.ReasonHubBusy, "snapshot: %w", io.EOF)} {
		want := wire.ReasonOf(fail)
		if want == "" {
			want = wire.ReasonHubInternal
		}
		if _, err := c.Greet(ctx, wire.Hello{}); wire.ReasonOf(err) != want {
			t.Errorf("%v came as %v", fail, err)
		}
	}
	fail = context.DeadlineExceeded
	if _, err := c.Greet(ctx, wire.Hello{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	conn, err := grpc.NewClient("passthrough:///hub", append(wire.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return nil, errors.New("no route") }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = wire.NewClient(conn).Greet(testContext(t), wire.Hello{})
	var e *wire.Error
	if !errors.As(err, &e) || e.Reason != wire.ReasonHubUnreachable || !e.Retryable() {
		t.Fatalf("got %v", err)
	}
}

func TestReservedServiceIsUnserved(t *testing.T) {
	stream, err := syncv1.NewBlobServiceClient(dial(t, hub{})).Get(testContext(t), &syncv1.GetRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Fatalf("got %v", err)
	}
}

func TestReasonTable(t *testing.T) {
	seen := map[wire.Reason]bool{}
	for _, d := range wire.Reasons() {
		if seen[d.Reason] || d.Sentence == "" || !strings.Contains(string(d.Reason), ".") || d.Code == 0 {
			t.Errorf("bad row %+v", d)
		}
		seen[d.Reason] = true
		if fate := d.Fate.Sentence(); (fate == "") != (d.Fate == wire.FateNone) || d.Fate.String() == "unknown" {
			t.Errorf("%s does not say what happens to an op", d.Reason)
		}
		if d.Fate == wire.FateRewind && !d.Retryable || (d.Fate == wire.FateHold || d.Fate == wire.FateRestamp) && d.Retryable {
			t.Errorf("%s: %s, and retryable is %v", d.Reason, d.Fate, d.Retryable)
		}
	}
	for _, r := range []string{
		pact.ReasonUnknown, pact.ReasonNotMember, pact.ReasonVersion, pact.ReasonType, pact.ReasonField,
		pact.ReasonWriter, pact.ReasonDelete, pact.ReasonValue, pact.ReasonForged, pact.ReasonMalformed, pact.ReasonNewer,
	} {
		if !wire.Reason(r).Known() {
			t.Errorf("package pact answers %q, which is not in the table", r)
		}
	}
	if d := wire.Describe("future.reason"); d.Retryable || d.Fate != wire.FateHold || wire.Reason("future.reason").Known() {
		t.Errorf("an unknown code is %+v", d)
	}
}
