// Package hubtest runs hubs of one or more nodes in this process, over loopback
// and with certificates of a test authority, for the tests of other packages.
package hubtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

// WaitMax bounds every wait of this package.
const WaitMax = 30 * time.Second

// Cluster is a hub of a few nodes, named n1, n2, ... Each can be stopped, killed
// and started again on its own directory and addresses.
type Cluster struct {
	tb        testing.TB
	authority *authority.Authority
	id        string
	pacts     []*pact.Pact
	tune      func(*hub.Config)
	nodes     []*Node
	root      string
	log       *testLog
}

// Node is one node, running or not.
type Node struct {
	Name   string
	Dir    string
	peer   hub.Peer
	tls    *tls.Config
	joins  bool         // it was not among those that founded the hub
	nodes  net.Listener // taken before the others start; nil afterwards
	agents net.Listener

	mu   sync.Mutex
	hub  *hub.Hub // nil while it is stopped
	exit error
}

// Start runs a hub of size nodes until the test ends. tune may change what each
// node is opened with, or be nil.
func Start(tb testing.TB, size int, pacts []*pact.Pact, tune func(*hub.Config)) *Cluster {
	tb.Helper()
	ca, err := authority.New("hubtest", time.Now)
	check(tb, err)
	id, err := hub.NewID(rand.Reader)
	check(tb, err)
	c := &Cluster{tb: tb, authority: ca, id: id.String(), pacts: pacts, tune: tune, log: newTestLog(tb)}
	c.root = tb.TempDir()
	for i := range size {
		c.add(fmt.Sprintf("n%d", i+1))
	}
	for _, n := range c.nodes {
		c.Restart(n)
	}
	tb.Cleanup(func() {
		for _, n := range c.nodes {
			n.Kill()
		}
	})
	return c
}

func (c *Cluster) add(name string) *Node {
	n := &Node{Name: name, Dir: filepath.Join(c.root, name), nodes: listen(c.tb, ""), agents: listen(c.tb, "")}
	n.peer = hub.Peer{Node: name, Nodes: n.nodes.Addr().String(), Agents: n.agents.Addr().String()}
	n.tls = c.TLS(identity.Node{Hub: c.id, Name: name})
	c.nodes = append(c.nodes, n)
	return n
}

// Join lets one more node into the hub, in the place of another if replaces is
// not empty, and starts it.
func (c *Cluster) Join(name, replaces string) *Node {
	c.tb.Helper()
	Eventually(c.tb, "admission of "+name, func() bool {
		return c.Leader().Hub().Admit(context.Background(), name, replaces) == nil
	})
	n := c.add(name)
	n.joins = true
	c.Restart(n)
	return n
}

// Rejoin lets a node whose directory is gone join the hub that another node was
// restored as, under its old name, and starts it.
func (c *Cluster) Rejoin(n *Node) {
	c.tb.Helper()
	Eventually(c.tb, "admission of "+n.Name, func() bool {
		return c.Leader().Hub().Admit(context.Background(), n.Name, "") == nil
	})
	n.joins = true
	c.Restart(n)
}

// Move gives a node that is not running other addresses.
func (c *Cluster) Move(n *Node) {
	c.tb.Helper()
	n.nodes, n.agents = listen(c.tb, ""), listen(c.tb, "")
	n.peer.Nodes, n.peer.Agents = n.nodes.Addr().String(), n.agents.Addr().String()
}

// TLS returns settings with a new certificate of the cluster's authority, valid
// at 127.0.0.1.
func (c *Cluster) TLS(id identity.Identity) *tls.Config {
	c.tb.Helper()
	pair, err := c.authority.Issue(id, "127.0.0.1")
	check(c.tb, err)
	settings, err := authority.Peer(pair, c.authority.CertPEM())
	check(c.tb, err)
	return settings
}

// Authority returns the cluster's, for certificates that are wrong.
func (c *Cluster) Authority() *authority.Authority { return c.authority }

// NodeAddress returns where other nodes reach the node.
func (n *Node) NodeAddress() string { return n.peer.Nodes }

// Nodes returns all nodes.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Addresses returns where agents reach the nodes.
func (c *Cluster) Addresses() []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.peer.Agents)
	}
	return out
}

// ID returns the hub's id.
func (c *Cluster) ID() string { return c.id }

// Restart starts a node that is not running, where it was before.
func (c *Cluster) Restart(n *Node) {
	c.tb.Helper()
	cfg := hub.Config{
		Dir: n.Dir, TLS: n.tls, Agents: n.take(c.tb, &n.agents, n.peer.Agents), Pacts: c.pacts,
		Log:  slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelWarn})).With("node", n.Name),
		Exit: n.exited,
		Timing: hub.Timing{
			Govern: 5 * time.Millisecond, Drain: 2 * time.Second,
			BehindMax: 2 * time.Second,
		},
		Sizes: hub.Sizes{Segment: 1 << 20, MemTable: 2 << 20, Reserve: -1, Ballast: -1}, // whatever disk the test runs on
	}
	nodes := n.take(c.tb, &n.nodes, n.peer.Nodes)
	if len(c.nodes) > 1 || n.joins {
		cfg.Nodes = nodes
		for _, m := range c.nodes {
			switch {
			case n.joins && m != n:
				cfg.Join = append(cfg.Join, m.peer.Nodes)
			case !n.joins && !m.joins:
				cfg.Peers = append(cfg.Peers, m.peer)
			}
		}
		if reached := n.peer; n.joins {
			cfg.Reached = &reached
		}
		cfg.Timing.Heartbeat = 500 * time.Millisecond
	} else {
		check(c.tb, nodes.Close())
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	h, err := hub.Open(context.Background(), cfg)
	check(c.tb, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hub = h
}

func (n *Node) take(tb testing.TB, held *net.Listener, address string) net.Listener {
	tb.Helper()
	if l := *held; l != nil {
		*held = nil
		return l
	}
	return listen(tb, address)
}

func listen(tb testing.TB, address string) net.Listener {
	tb.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	check(tb, err)
	return l
}

// Hub returns the running node, nil while it is stopped.
func (n *Node) Hub() *hub.Hub {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hub
}

// Address returns where agents reach the node.
func (n *Node) Address() string { return n.peer.Agents }

// Exited returns why the node stopped itself, nil if it did not.
func (n *Node) Exited() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exit
}

func (n *Node) exited(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.exit = err
}

// Stop ends the node as an operator does.
func (n *Node) Stop() error {
	if h := n.drop(); h != nil {
		return h.Close()
	}
	return nil
}

// Kill ends the node as nearly like a crash as one process allows.
func (n *Node) Kill() {
	if h := n.drop(); h != nil {
		h.Kill()
	}
}

func (n *Node) drop() *hub.Hub {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hub
	n.hub = nil
	return h
}

// Leader waits until a node leads and the hub holds its pacts.
func (c *Cluster) Leader() *Node {
	c.tb.Helper()
	var leader *Node
	Eventually(c.tb, "a leader of a hub that is ready", func() bool {
		for _, n := range c.nodes {
			if h := n.Hub(); h != nil && h.Status().Leading && len(h.State().Pacts()) >= len(c.pacts) {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// Dial connects an agent to a node. The connection ends with the test.
func (c *Cluster) Dial(n *Node, id identity.Identity) *grpc.ClientConn {
	c.tb.Helper()
	options := append(wire.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(c.TLS(id))))
	conn, err := grpc.NewClient(n.peer.Agents, options...)
	check(c.tb, err)
	c.tb.Cleanup(func() { conn.Close() })
	return conn
}

// Client is Dial for an agent of that site.
func (c *Cluster) Client(n *Node, agent identity.Agent) *wire.Client {
	c.tb.Helper()
	return wire.NewClient(c.Dial(n, agent))
}

// Eventually polls until ok, and fails the test after WaitMax.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(WaitMax)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("no %s within %s", what, WaitMax)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// testLog sends what nodes log to the test, until it has ended.
type testLog struct {
	tb testing.TB

	mu    sync.Mutex
	ended bool
}

func newTestLog(tb testing.TB) *testLog {
	l := &testLog{tb: tb}
	tb.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = true
	})
	return l
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.tb.Logf("%s", bytes.TrimSpace(line))
	}
	return len(line), nil
}
