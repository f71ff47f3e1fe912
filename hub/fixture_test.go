package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

var (
	acme   = identity.Agent{Site: "acme", Name: "main"}
	globex = identity.Agent{Site: "globex", Name: "main"}
	other  = identity.Agent{Site: "initech", Name: "main"}
)

func tickets() []*pact.Pact {
	return []*pact.Pact{{
		Name: "tickets", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Fields: []pact.Field{
			{Name: "note", Type: pact.TypeText, Writers: []crdt.Site{"globex"}}, {Name: "title", Type: pact.TypeText},
		},
	}}
}

// op is always the same for the same seq: what is sent again are the same bytes.
func op(who identity.Agent, seq crdt.Seq, field crdt.Field) crdt.Op {
	return crdt.Op{
		Key: crdt.Key{
			Pact: "tickets", Type: "ticket", Field: field,
			Record: crdt.RecordID{0: who.Site[0], 13: byte(seq >> 16), 14: byte(seq >> 8), 15: byte(seq)},
		},
		Stamp: crdt.StampOf(1_700_000_000_000+int64(seq), 0), Author: author(who), Seq: seq, PactVersion: 1, Binding: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text(fmt.Sprintf("%s %d", field, seq))),
	}
}

func author(who identity.Agent) crdt.Author {
	return crdt.Author{Site: who.Site, Agent: who.Name, Incarnation: 1}
}

func batch(who identity.Agent, epoch crdt.Epoch, from crdt.Seq, n int) wire.Batch {
	b := wire.Batch{ID: uint64(from), Pact: "tickets", Epoch: epoch}
	if from > 1 {
		b.After = crdt.OpID{Author: author(who), Seq: from - 1}
	}
	for i := range n {
		b.Ops = append(b.Ops, op(who, from+crdt.Seq(i), "title"))
	}
	return b
}

func epochOf(c *hubtest.Cluster) crdt.Epoch {
	_, epoch := c.Leader().Hub().State().Hub()
	return epoch
}

// publishOnce sends one batch over a stream of its own.
func publishOnce(ctx context.Context, client *wire.Client, b wire.Batch) (wire.BatchResult, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := client.Publish(ctx)
	if err != nil {
		return wire.BatchResult{}, err
	}
	if err := stream.Send(b); err != nil {
		_, err = stream.Recv()
		return wire.BatchResult{}, err
	}
	return stream.Recv()
}

// publisher sends an agent's ops to whichever node takes them, again and again
// until they are acked, and keeps the acks.
type publisher struct {
	c       *hubtest.Cluster
	who     identity.Agent
	clients []*wire.Client
	epoch   crdt.Epoch

	mu    sync.Mutex
	acked map[crdt.Seq]crdt.Offset
}

func newPublisher(c *hubtest.Cluster, who identity.Agent) *publisher {
	p := &publisher{c: c, who: who, epoch: epochOf(c), acked: map[crdt.Seq]crdt.Offset{}}
	for _, n := range c.Nodes() {
		p.clients = append(p.clients, c.Client(n, who))
	}
	return p
}

// publish returns when ops from..from+n-1 are acked, or an error when something
// is answered that sending the same bytes again does not cure.
func (p *publisher) publish(ctx context.Context, from crdt.Seq, n int) error {
	b := batch(p.who, p.epoch, from, n)
	for turn := 0; ; turn++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		result, err := publishOnce(ctx, p.clients[turn%len(p.clients)], b)
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		done := true
		for i, r := range result.Results {
			switch r.Outcome {
			case wire.OutcomeApplied:
				p.mu.Lock()
				p.acked[from+crdt.Seq(i)] = r.Offset
				p.mu.Unlock()
			case wire.OutcomeRefused:
				return fmt.Errorf("op %d refused: %s", int(from)+i, r.Reason)
			default:
				done = false
			}
		}
		if done {
			return nil
		}
	}
}

// collect reads a feed from a node until the cursor reaches head, checking that
// it is ordered and unique.
func collect(t testing.TB, client *wire.Client, from crdt.Position, head crdt.Offset) map[crdt.OpID]crdt.Offset {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hubtest.WaitMax)
	defer cancel()
	feed, err := client.Subscribe(ctx, "tickets", from)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[crdt.OpID]crdt.Offset{}
	last := from.Offset
	for {
		slice, err := feed.Recv()
		if err != nil {
			t.Fatalf("feed at %d of %d: %v", last, head, err)
		}
		for _, e := range slice.Entries {
			if e.Offset <= last {
				t.Fatalf("offset %d after %d", e.Offset, last)
			}
			last = e.Offset
			seen[e.Register.Op.ID()] = e.Offset
		}
		if slice.Cursor.Offset >= head {
			return seen
		}
	}
}

// equalDigests waits until all running nodes stand at one head, and compares.
func equalDigests(t testing.TB, c *hubtest.Cluster) {
	t.Helper()
	hubtest.Eventually(t, "equal digests on all nodes", func() bool {
		var digests []string
		for _, n := range c.Nodes() {
			h := n.Hub()
			if h == nil {
				continue
			}
			info, err := h.State().Pact("tickets")
			if err != nil {
				return false
			}
			digests = append(digests, fmt.Sprintf("%+v", info.Digest))
		}
		for _, d := range digests {
			if d != digests[0] {
				return false
			}
		}
		return true
	})
}

// gauge returns the value of a metric without labels.
func gauge(t testing.TB, h *hub.Hub, name string) float64 {
	t.Helper()
	r := httptest.NewRecorder()
	h.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(r.Body.String()) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func writeFile(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
