package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/binding"
	sandbox "github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
	"github.com/entente-sync/entente/proto/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const pactText = `apiVersion: entente/v1
kind: Pact
metadata: {name: tickets, version: 1}
members: [acme, globex]
record: ticket
delete: {grant: []}
fields:
  title: {type: text, max: 255, required: true}
`

const bindingText = `apiVersion: entente/v1
kind: Binding
metadata: {name: desk}
pact: tickets@1
system: {name: desk, connector: memory}
fields:
  title: title
`

func tickets(t *testing.T) *pact.Pact {
	t.Helper()
	p, findings := pactfile.Load("pact.yaml", []byte(pactText))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	return p
}

// hub welcomes an agent to a pact, takes everything, and feeds it back.
type hub struct {
	document []byte
	head     atomic.Uint64
	refuse   atomic.Bool // every batch is put off

	epoch   atomic.Uint64 // beyond 1
	entries []wire.Entry  // of epoch 1, the first slice
	later   atomic.Bool   // every part of an offer is put off
}

// in is the hub's epoch.
func (h *hub) in() crdt.Epoch { return crdt.Epoch(1 + h.epoch.Load()) }

func (h *hub) Greet(_ context.Context, hello wire.Hello) (wire.Welcome, error) {
	w := wire.Welcome{Protocol: wire.Protocol, Hub: strings.Repeat("a", 32), Epoch: h.in()}
	for _, p := range hello.Pacts {
		w.Pacts = append(w.Pacts, wire.PactState{Pact: p, Document: h.document, Head: crdt.Offset(h.head.Load())})
	}
	return w, nil
}

func (h *hub) Publish(_ context.Context, s wire.PublishStream) error {
	for {
		b, err := s.Recv()
		if err != nil {
			return err
		}
		r := wire.BatchResult{Batch: b.ID}
		for range b.Ops {
			if h.refuse.Load() {
				r.Results = append(r.Results, wire.OpResult{Outcome: wire.OutcomeRetry, Reason: wire.ReasonLeaderNone})
			} else {
				r.Results = append(r.Results, wire.OpResult{Outcome: wire.OutcomeApplied, Offset: crdt.Offset(h.head.Add(1))})
			}
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
}

func (h *hub) Offer(_ context.Context, s wire.OfferStream) error {
	for {
		o, err := s.Recv()
		if err != nil {
			return err
		}
		one := wire.OpResult{Outcome: wire.OutcomeApplied, Offset: 1}
		if h.later.Load() {
			one = wire.OpResult{Outcome: wire.OutcomeRetry, Reason: wire.ReasonMemberOlder}
		}
		r := wire.BatchResult{Batch: o.ID, Results: slices.Repeat([]wire.OpResult{one}, len(o.Registers))}
		if o.End != nil {
			r.Results = append(r.Results, one)
		}
		if err := s.Send(r); err != nil {
			return err
		}
	}
}

func (h *hub) OfferPact(context.Context, []byte) (wire.Acceptance, error) {
	return wire.Acceptance{}, wire.Errorf(wire.ReasonPactVersion, "another document is in force here")
}

func (h *hub) Subscribe(ctx context.Context, _ crdt.Pact, from crdt.Position, s wire.FeedStream) error {
	entries := h.entries
	if from.Offset > 0 || h.in() > 1 {
		entries = nil
	}
	for began := h.in(); ; entries = nil {
		if h.in() != began {
			return wire.Errorf(wire.ReasonEpochChanged, "another epoch")
		}
		head := crdt.Offset(h.head.Load())
		if err := s.Send(wire.Slice{Entries: entries, Cursor: crdt.Position{Epoch: began, Offset: head}, Head: head}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// configure returns an agent's configuration beside a hub and a desk in sandbox.
func configure(t *testing.T, h *hub, desk *sandbox.System) Config {
	t.Helper()
	p := tickets(t)
	b, findings := binding.Load("binding.yaml", []byte(bindingText), p)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	if h.document == nil {
		h.document = p.Encode()
	}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(wire.ServerOptions()...)
	wire.RegisterServer(server, h)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return Config{
		Site: "acme", Name: "main", Dir: dir, Admin: filepath.Join(dir, "admin.sock"), Hub: []string{"hub"},
		Dial: func(address string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+address, append(wire.DialOptions(),
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))...)
		},
		Pacts: []*pact.Pact{p}, Software: "test", Metrics: prometheus.NewRegistry(),
		Systems: []System{{
			Name: "desk", Connector: desk.Connector(), Capabilities: desk.Capabilities(), Binding: b, Poll: 10 * time.Millisecond,
		}},
	}
}

// start runs an agent until stop is called, which waits for its end.
func start(t *testing.T, c Config) (a *Agent, stop func()) {
	t.Helper()
	a, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, func() {
		cancel()
		if err := errors.Join(<-done, a.Close()); err != nil {
			t.Error(err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

func get(a *Agent, path string) (int, string) {
	w := httptest.NewRecorder()
	a.Handler(a.config.Metrics.(prometheus.Gatherer)).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	b, _ := io.ReadAll(w.Body)
	return w.Code, string(b)
}

func text(s string) map[string]value.Value { return map[string]value.Value{"title": value.Text(s)} }

// An agent becomes ready when it has caught up, and stays what it was when it
// is started again.
func TestAgent(t *testing.T) {
	h, desk := &hub{}, sandbox.New(sandbox.Config{Name: "desk"})
	c := configure(t, h, desk)
	desk.Create("ana", text("printer"), time.Time{})
	for range 2 {
		a, stop := start(t, c)
		client := admin.NewClient(c.Admin)
		var s admin.Status
		eventually(t, "ready, and everything taken", func() bool {
			var err error
			s, err = client.Status(t.Context())
			return err == nil && s.Ready && s.Pacts[0].Outbox == 0 && s.Systems[0].Linked == 1
		})
		if s.Site != "acme" || s.Agent != "main" || s.Incarnation == 0 || s.Hub.Address != "hub" || s.Pacts[0].Version != 1 ||
			s.Systems[0].Listed == nil || s.Holds != 0 || h.head.Load() == 0 {
			t.Errorf("status %+v", s)
		}
		for _, path := range []string{"/readyz", "/healthz"} {
			if code, body := get(a, path); code != 200 || body != "ok\n" {
				t.Errorf("%s says %d %s", path, code, body)
			}
		}
		if err := client.Poll(t.Context()); err != nil {
			t.Error(err)
		}
		stop()
	}
}

func TestRelease(t *testing.T) {
	c := configure(t, &hub{}, sandbox.New(sandbox.Config{Name: "desk"}))
	a, stop := start(t, c)
	defer stop()
	client := admin.NewClient(c.Admin)
	eventually(t, "ready", func() bool { return len(a.notReady()) == 0 })
	for want, r := range map[string]admin.Release{
		"admin.invalid": {System: "desk", Record: "7"},
		`admin.invalid: invalid request: no system "x"`: {System: "x", Record: crdt.RecordID{1}.String()},
	} {
		if err := client.Release(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("released %+v: %v", r, err)
		}
	}
	if err := client.Release(t.Context(), admin.Release{System: "desk", Record: crdt.RecordID{1}.String()}); err != nil {
		t.Errorf("a hold that is gone: %v", err)
	}
	if holds, err := client.Holds(t.Context()); err != nil || len(holds) != 0 {
		t.Errorf("holds %v, %v", holds, err)
	}
}

// Readiness names what keeps edits from crossing; liveness does not blame the
// agent for it.
func TestNotReady(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*hub, *sandbox.System, *Config)
		want  string
	}{
		"the hub is down": {
			func(_ *hub, _ *sandbox.System, c *Config) {
				c.Dial = func(string) (*grpc.ClientConn, error) { return nil, errors.New("no route") }
			}, "no session with the hub: dial hub: no route",
		},
		"another document": {
			func(h *hub, _ *sandbox.System, _ *Config) { h.document = []byte{1} }, "pact tickets: refused: pact.version",
		},
		"ops are put off": {
			func(h *hub, desk *sandbox.System, _ *Config) {
				h.refuse.Store(true)
				desk.Create("ana", text("printer"), time.Time{})
			}, "pact tickets: the hub does not take our ops now, they wait: leader.none: The hub has no leader",
		},
		"the system is down": {
			func(_ *hub, desk *sandbox.System, _ *Config) {
				desk.SetFaults(sandbox.Fault{Kind: sandbox.Denied, Calls: []sandbox.Call{sandbox.CallList}})
			}, "system desk was not listed to the end yet",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, desk := &hub{}, sandbox.New(sandbox.Config{Name: "desk"})
			config := configure(t, h, desk)
			c.spoil(h, desk, &config)
			a, stop := start(t, config)
			defer stop()
			eventually(t, c.want, func() bool {
				code, body := get(a, "/readyz")
				return code == 503 && strings.Contains(body, c.want)
			})
			if code, body := get(a, "/healthz"); code != 200 {
				t.Errorf("healthz says %d %s", code, body)
			}
		})
	}
}

// One directory is one agent's, and so is a registry.
func TestOpenTwice(t *testing.T) {
	c := configure(t, &hub{}, sandbox.New(sandbox.Config{Name: "desk"}))
	a, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c); err == nil {
		t.Error("one directory opened twice")
	}
	other := c
	other.Dir = filepath.Join(c.Dir, "other")
	if _, err := Open(other); err == nil || !strings.Contains(err.Error(), "agent metrics") {
		t.Errorf("one registry for two agents: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := Open(other); err != nil { // what failed left nothing behind
		t.Error(err)
	} else if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestNoRandomness(t *testing.T) {
	c := configure(t, &hub{}, sandbox.New(sandbox.Config{Name: "desk"}))
	c.Random = strings.NewReader("short")
	a, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no randomness") {
		t.Errorf("got %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func (*hub) History(context.Context, wire.Span) (wire.Timeline, error) {
	return wire.Timeline{}, wire.Errorf(wire.ReasonHistoryNone, "nothing is kept here")
}

func (*hub) AsOf(context.Context, wire.Moment) (wire.Past, error) {
	return wire.Past{}, wire.Errorf(wire.ReasonHistoryNone, "nothing is kept here")
}
