package hub_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

func TestOneNode(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	node := c.Leader()
	ctx := context.Background()
	client := c.Client(node, acme)
	hubtest.Eventually(t, "greeting", func() bool {
		w, err := client.Greet(ctx, wire.Hello{Incarnation: 1, Pacts: []crdt.Pact{"tickets", "nothing"}})
		return err == nil && w.Hub == c.ID() && w.Pacts[0].Version == 1 && w.Pacts[1].Refused == wire.ReasonPactUnknown
	})
	p := newPublisher(c, acme)
	for i := range 20 {
		if err := p.publish(ctx, crdt.Seq(1+10*i), 10); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		head := headOf(t, c)
		got := collect(t, c.Client(c.Leader(), globex), crdt.Position{}, head)
		if len(got) != 200 {
			t.Fatalf("feed holds %d ops, want 200", len(got))
		}
		for seq, offset := range p.acked {
			if got[crdt.OpID{Author: author(acme), Seq: seq}] != offset {
				t.Fatalf("op %d was acked at offset %d and is at %d", seq, offset, got[crdt.OpID{Author: author(acme), Seq: seq}])
			}
		}
	}
	check()
	for range 2 {
		if err := node.Stop(); err != nil {
			t.Fatal(err)
		}
		c.Restart(node)
		check()
		node.Kill()
		c.Restart(node)
		check()
	}
}

// nopListener is a listener by name only.
type nopListener struct{ net.Listener }

func headOf(t testing.TB, c *hubtest.Cluster) crdt.Offset {
	t.Helper()
	info, err := c.Leader().Hub().State().Pact("tickets")
	if err != nil {
		t.Fatal(err)
	}
	return info.Head
}

// The leader dies again and again while two agents publish. Nothing that was
// acked is lost, each op counts once, and every node holds the same and serves it.
func TestLeaderKilledMidStream(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	ctx, cancel := context.WithTimeout(context.Background(), hubtest.WaitMax)
	defer cancel()
	const batches, ops = 60, 8
	publishers := []*publisher{newPublisher(c, acme), newPublisher(c, globex)}
	done := make(chan error, len(publishers))
	progress := make(chan int, 2*batches)
	for _, p := range publishers {
		go func() {
			for i := range batches {
				if err := p.publish(ctx, crdt.Seq(1+ops*i), ops); err != nil {
					done <- err
					return
				}
				progress <- i
			}
			done <- nil
		}()
	}
	for kill := range 2 {
		for range batches / 2 {
			<-progress
		}
		victim := c.Leader()
		if kill == 0 {
			victim.Kill()
		} else if err := victim.Stop(); err != nil {
			t.Error(err)
		}
		c.Leader()
		c.Restart(victim)
	}
	for range publishers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	equalDigests(t, c)
	head := headOf(t, c)
	if head != 2*batches*ops {
		t.Fatalf("head is %d after %d ops on registers of their own: something was applied twice or not at all", head, 2*batches*ops)
	}
	for _, n := range c.Nodes() {
		hubtest.Eventually(t, "readiness", func() bool { return n.Hub().Readyz() == nil })
		got := collect(t, c.Client(n, acme), crdt.Position{}, head)
		for _, p := range publishers {
			for seq, offset := range p.acked {
				if got[crdt.OpID{Author: author(p.who), Seq: seq}] != offset {
					t.Fatalf("%s: op %d of %s was acked at %d", n.Name, seq, p.who, offset)
				}
			}
		}
		if err := n.Exited(); err != nil {
			t.Fatalf("%s stopped itself: %v", n.Name, err)
		}
	}
}

// A follower sends publishers to the leader, and serves the feed as it grows.
func TestFollower(t *testing.T) {
	// The leader must stay one on a machine that is busy with other tests.
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) { cfg.Timing.Heartbeat = 3 * time.Second })
	leader := c.Leader()
	follower := c.Nodes()[0]
	if follower == leader {
		follower = c.Nodes()[1]
	}
	ctx := t.Context()
	hubtest.Eventually(t, "ready follower", func() bool { return follower.Hub().Readyz() == nil })
	epoch := epochOf(c)
	result, err := publishOnce(ctx, c.Client(follower, acme), batch(acme, epoch, 1, 3))
	if err != nil {
		t.Fatal(err)
	}
	if r := result.Results[2]; r.Outcome != wire.OutcomeRetry || r.Reason != wire.ReasonLeaderMoved || result.Leader != leader.Address() {
		t.Fatalf("a follower answers %+v, leader %q", r, result.Leader)
	}
	feed, err := c.Client(follower, globex).Subscribe(ctx, "tickets", crdt.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := feed.Recv(); err != nil || len(first.Entries) != 0 {
		t.Fatalf("an empty feed begins with %+v, %v", first, err)
	}
	for i := range 10 {
		result, err := publishOnce(ctx, c.Client(leader, acme), batch(acme, epoch, crdt.Seq(1+i), 1))
		if err != nil || result.Results[0].Outcome != wire.OutcomeApplied {
			t.Fatalf("publish: %+v, %v", result, err)
		}
		slice, err := feed.Recv()
		if err != nil || len(slice.Entries) != 1 || slice.Entries[0].Offset != crdt.Offset(1+i) {
			t.Fatalf("feed: %+v, %v", slice, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	ctx := t.Context()
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	with := func(change func(*wire.Batch)) wire.Batch {
		b := batch(acme, epoch, 1, 1)
		change(&b)
		return b
	}
	for _, tc := range []struct {
		name    string
		who     identity.Agent
		batch   wire.Batch
		outcome wire.Outcome
		reason  wire.Reason
	}{
		{"not a member", other, batch(other, epoch, 1, 1), wire.OutcomeRetry, wire.ReasonPactNotMember},
		{"another epoch", acme, batch(acme, epoch+1, 1, 1), wire.OutcomeRetry, wire.ReasonEpochChanged},
		{"another author", globex, batch(acme, epoch, 1, 1), wire.OutcomeRefused, wire.ReasonAuthorForged},
		{"a gap", acme, batch(acme, epoch, 5, 1), wire.OutcomeGap, wire.ReasonSeqGap},
		{
			"unknown pact", acme, with(func(b *wire.Batch) { b.Pact, b.Ops[0].Key.Pact = "nothing", "nothing" }),
			wire.OutcomeRetry, wire.ReasonPactUnknown,
		},
		{
			"stamp of tomorrow", acme, with(func(b *wire.Batch) { b.Ops[0].Stamp = crdt.StampAt(time.Now().Add(24 * time.Hour)) }),
			wire.OutcomeRefused, wire.ReasonStampFuture,
		},
		{
			"field of another writer", acme,
			wire.Batch{
				Pact: "tickets", Epoch: epoch,
				After: crdt.OpID{Author: author(acme), Seq: 1}, Ops: []crdt.Op{op(acme, 2, "note")},
			},
			wire.OutcomeRefused, wire.ReasonPactWriter,
		},
	} {
		result, err := publishOnce(ctx, c.Client(leader, tc.who), tc.batch)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if r := result.Results[0]; r.Outcome != tc.outcome || r.Reason != tc.reason {
			t.Errorf("%s: %s %q, want %s %q", tc.name, r.Outcome, r.Reason, tc.outcome, tc.reason)
		}
	}
	if _, err := c.Client(leader, other).Greet(ctx, wire.Hello{}); err != nil {
		t.Errorf("greeting without pacts: %v", err)
	}
	node := wire.NewClient(c.Dial(leader, identity.Node{Hub: c.ID(), Name: "n9"}))
	if _, err := node.Greet(ctx, wire.Hello{}); wire.ReasonOf(err) != wire.ReasonAuthorUnknown {
		t.Errorf("a node's certificate on the agents' port: %v", err)
	}
}

func TestRefusedFeeds(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	for _, tc := range []struct {
		name   string
		who    identity.Agent
		cursor crdt.Position
		reason wire.Reason
	}{
		{"not a member", other, crdt.Position{}, wire.ReasonPactNotMember},
		{"another epoch", acme, crdt.Position{Epoch: epoch + 1, Offset: 1}, wire.ReasonEpochChanged},
		{"beyond the head", acme, crdt.Position{Epoch: epoch, Offset: 99}, wire.ReasonCursorBeyond},
	} {
		feed, err := c.Client(leader, tc.who).Subscribe(t.Context(), "tickets", tc.cursor)
		if err == nil {
			_, err = feed.Recv()
		}
		if wire.ReasonOf(err) != tc.reason {
			t.Errorf("subscribe, %s: %v, want %s", tc.name, err, tc.reason)
		}
	}
}

func TestQuota(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) { cfg.Limits.OpsPerSecond = 1 })
	leader, epoch := c.Leader(), epochOf(c)
	client := c.Client(leader, acme)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	first, err := publishOnce(t.Context(), client, batch(acme, epoch, 1, 1000))
	if err != nil || first.Results[999].Outcome != wire.OutcomeApplied {
		t.Fatalf("the burst: %v", err)
	}
	second, err := publishOnce(t.Context(), client, batch(acme, epoch, 1001, 100))
	if err != nil {
		t.Fatal(err)
	}
	if r := second.Results[0]; r.Reason != wire.ReasonQuotaOps || r.Outcome != wire.OutcomeRetry || second.RetryAfter < 30*time.Second {
		t.Fatalf("beyond the quota: %+v, retry after %s", r, second.RetryAfter)
	}
	third, err := publishOnce(t.Context(), c.Client(leader, globex), batch(globex, epoch, 1, 100))
	if err != nil || third.Results[0].Outcome != wire.OutcomeApplied {
		t.Fatalf("another site pays for it: %+v, %v", third.Results[0], err)
	}
}

// Open streams do not keep a node from stopping, and are told where things stand.
func TestDrain(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	node := c.Leader()
	hubtest.Eventually(t, "readiness", func() bool { return node.Hub().Readyz() == nil })
	feed, err := c.Client(node, acme).Subscribe(t.Context(), "tickets", crdt.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Recv(); err != nil {
		t.Fatal(err)
	}
	stream, err := c.Client(node, acme).Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(batch(acme, epochOf(c), 1, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("stopping took %s", took)
	}
	for err == nil { // the op comes first
		_, err = feed.Recv()
	}
	if wire.ReasonOf(err) != wire.ReasonHubDraining {
		t.Errorf("the feed ended with %v", err)
	}
	if _, err := stream.Recv(); wire.ReasonOf(err) != wire.ReasonHubDraining {
		t.Errorf("the publish stream ended with %v", err)
	}
}

// A subscriber that reads nothing costs no more than what it granted, and slows
// nobody; when it reads again it finds the newest versions.
func TestLaggard(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) { cfg.Timing.FeedBeat = 20 * time.Millisecond })
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 1); err != nil {
		t.Fatal(err)
	}
	feed, err := c.Client(c.Leader(), globex).Subscribe(t.Context(), "tickets", crdt.Position{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := p.publish(t.Context(), crdt.Seq(2+100*i), 100); err != nil {
			t.Fatal(err)
		}
	}
	seen, beats := 0, 0
	for seen < 5001 || beats == 0 {
		slice, err := feed.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen += len(slice.Entries)
		if len(slice.Entries) == 0 && slice.Cursor.Offset == slice.Head {
			beats++
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	node := c.Leader()
	hubtest.Eventually(t, "readiness", func() bool { return node.Hub().Readyz() == nil })
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 7); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		node.Hub().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	_, text := get("/metrics")
	for _, want := range []string{
		"entente_hub_raft_is_leader 1", "entente_hub_ready 1", "entente_hub_registers 7", "entente_hub_pacts 1",
		`entente_hub_ops_total{outcome="applied",reason=""} 7`, "entente_hub_raft_commit_seconds_count",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
}

// With its peers gone a leader steps down: it is not ready, and not unhealthy.
func TestMinority(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	leader := c.Leader()
	for _, n := range c.Nodes() {
		if n != leader {
			n.Kill()
		}
	}
	hubtest.Eventually(t, "unreadiness", func() bool {
		var e *wire.Error
		return errors.As(leader.Hub().Readyz(), &e) && e.Reason == wire.ReasonLeaderNone
	})
	if err := leader.Hub().Healthz(); err != nil {
		t.Error(err)
	}
}

func TestConfigRefused(t *testing.T) {
	c := hubtest.Start(t, 1, nil, nil)
	good := func() hub.Config {
		return hub.Config{
			Dir: t.TempDir(), TLS: c.TLS(identity.Node{Hub: c.ID(), Name: "n1"}), Agents: nopListener{}, Exit: func(error) {},
		}
	}
	cfg := good()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]func(*hub.Config){
		"agent's certificate": func(cfg *hub.Config) { cfg.TLS = c.TLS(acme) },
		"no certificate":      func(cfg *hub.Config) { cfg.TLS = nil },
		"no directory":        func(cfg *hub.Config) { cfg.Dir = "" },
		"no listener":         func(cfg *hub.Config) { cfg.Agents = nil },
		"no exit":             func(cfg *hub.Config) { cfg.Exit = nil },
		"peers without node port": func(cfg *hub.Config) {
			cfg.Peers = []hub.Peer{{Node: "n1", Nodes: "a:1", Agents: "a:2"}}
		},
		"stranger among peers": func(cfg *hub.Config) {
			cfg.Nodes, cfg.Peers = nopListener{}, []hub.Peer{{Node: "n2", Nodes: "a:1", Agents: "a:2"}}
		},
		"peer without port": func(cfg *hub.Config) {
			cfg.Nodes, cfg.Peers = nopListener{}, []hub.Peer{{Node: "n1", Nodes: "a", Agents: "a:2"}}
		},
		"pact twice":   func(cfg *hub.Config) { cfg.Pacts = append(tickets(), tickets()...) },
		"invalid pact": func(cfg *hub.Config) { cfg.Pacts = tickets(); cfg.Pacts[0].Members = nil },
	} {
		cfg := good()
		breakIt(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
