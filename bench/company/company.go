// Package company runs whole agents in this process, each beside a sandbox desk
// and against a hub of package hubtest: over real connections, with certificates,
// with stores on disk. It is for tests of what only hub and agents together show.
package company

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/agent"
	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/binding"
	sandbox "github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
	"github.com/entente-sync/entente/proto/wire"
)

// Pact is the name of the pact that all companies share.
const Pact = crdt.Pact("tickets")

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

// Company is one agent and its desk. The desk outlives the agent's process.
type Company struct {
	Desk *sandbox.System

	tb     testing.TB
	config agent.Config
	agent  *agent.Agent // nil while it is stopped
	stop   context.CancelFunc
	ended  chan error
}

// Start runs the agent of a member of the pact until the test ends. It knows the
// hub at addresses; where the hub names another node, it dials that one too.
func Start(tb testing.TB, c *hubtest.Cluster, site crdt.Site, addresses ...string) *Company {
	tb.Helper()
	desk := sandbox.New(sandbox.Config{Name: "desk"})
	tls := c.TLS(identity.Agent{Site: site, Name: "main"})
	agreed := agreement(tb)
	bound, findings := binding.Load("binding.yaml", []byte(bindingText), agreed)
	if len(findings) > 0 {
		tb.Fatal(findings)
	}
	m := &Company{Desk: desk, tb: tb, config: agent.Config{
		Site: site, Name: "main", Dir: filepath.Join(tb.TempDir(), string(site)), Hub: addresses,
		Dial: func(address string) (*grpc.ClientConn, error) {
			return grpc.NewClient(address, append(wire.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(tls)))...)
		},
		Pacts: []*pact.Pact{agreed}, Software: "test", Log: slog.New(slog.DiscardHandler),
		Systems: []agent.System{{
			Name: "desk", Connector: desk.Connector(), Capabilities: desk.Capabilities(), Binding: bound, Poll: 10 * time.Millisecond,
		}},
	}}
	m.Run()
	tb.Cleanup(m.Stop)
	return m
}

func agreement(tb testing.TB) *pact.Pact {
	tb.Helper()
	p, findings := pactfile.Load("pact.yaml", []byte(pactText))
	if len(findings) > 0 {
		tb.Fatal(findings)
	}
	return p
}

// Run starts an agent that is stopped, on its own store.
func (m *Company) Run() {
	m.tb.Helper()
	m.config.Metrics = prometheus.NewRegistry()
	a, err := agent.Open(m.config)
	if err != nil {
		m.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.agent, m.stop, m.ended = a, cancel, make(chan error, 1)
	go func() { m.ended <- a.Run(ctx) }()
}

// Stop ends the agent as an operator does.
func (m *Company) Stop() {
	m.tb.Helper()
	if m.agent == nil {
		return
	}
	m.stop()
	if err := errors.Join(<-m.ended, m.agent.Close()); err != nil {
		m.tb.Error(err)
	}
	m.agent = nil
}

// WaitMax bounds every wait: an agent that found no hub for a while looks again
// after a quarter of a minute.
const WaitMax = 2 * time.Minute

// Eventually polls until ok, and fails the test after WaitMax.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(WaitMax); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %s", WaitMax, what)
		}
	}
}

// Status is what the agent says of itself.
func (m *Company) Status() admin.Status {
	m.tb.Helper()
	s, err := m.agent.Status()
	if err != nil {
		m.tb.Fatal(err)
	}
	return s
}

// Settled waits until the agent has sent and read everything.
func (m *Company) Settled() {
	m.tb.Helper()
	Eventually(m.tb, fmt.Sprintf("rest at %s", m.config.Site), func() bool {
		s := m.Status()
		p, d := s.Pacts[0], s.Systems[0]
		return s.Hub.Connected && p.Outbox == 0 && !p.Offering && p.Cursor == p.Head && d.Reads == 0 && d.Intents == 0
	})
}

// Ticket opens one at the desk.
func (m *Company) Ticket(title string) { m.Desk.Create("ana", titled(title), time.Time{}) }

// Retitle edits the ticket of one title.
func (m *Company) Retitle(from, to string) {
	m.tb.Helper()
	for _, key := range m.Desk.Keys() {
		if r, ok := m.Desk.Get(key); ok && r.Fields["title"].AsText() == from {
			if err := m.Desk.Edit("ana", key, titled(to), time.Time{}); err != nil {
				m.tb.Fatal(err)
			}
			return
		}
	}
	m.tb.Fatalf("no ticket %q at %s", from, m.config.Site)
}

func titled(s string) map[string]value.Value { return map[string]value.Value{"title": value.Text(s)} }

// Titles counts the desk's tickets by title.
func (m *Company) Titles() map[string]int {
	out := map[string]int{}
	for _, key := range m.Desk.Keys() {
		if r, ok := m.Desk.Get(key); ok {
			out[r.Fields["title"].AsText()]++
		}
	}
	return out
}
