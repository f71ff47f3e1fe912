// Package cluster runs the hub's nodes as processes of the real binary, each on a
// disk of its own that can lose power, with wires between them and towards the
// agents that can be cut.
package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/entente-sync/entente/bench/crash/disk"
	"github.com/entente-sync/entente/bench/crash/link"
	"github.com/entente-sync/entente/bench/crash/load"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

// Heartbeat is the nodes' election timeout: a tenth of the default, so that a
// round of faults takes seconds.
const Heartbeat = 300 * time.Millisecond

// Cluster is a hub of processes. Its methods are for one goroutine, but for TLS.
type Cluster struct {
	Nodes []*Node

	dir       string
	binary    string
	authority *authority.Authority
	hub       string
	pacts     []string // files
}

// Build compiles the binary of the project at root.
func Build(ctx context.Context, root, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/entente")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
}

// Start makes a hub of size nodes below dir and runs them. pacts are the texts of
// its pact files.
func Start(dir, binary string, size int, pacts []string) (*Cluster, error) {
	ca, err := authority.New("crash", time.Now)
	if err != nil {
		return nil, err
	}
	id, err := hub.NewID(rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, binary: binary, authority: ca, hub: id.String()}
	for i, text := range pacts {
		path := filepath.Join(dir, fmt.Sprintf("pact%d.yaml", i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
		c.pacts = append(c.pacts, path)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), ca.CertPEM(), 0o600); err != nil {
		return nil, err
	}
	for i := range size {
		n := &Node{cluster: c, index: i, Name: fmt.Sprintf("n%d", i+1), disk: disk.New()}
		c.Nodes = append(c.Nodes, n)
	}
	for _, n := range c.Nodes {
		if err := n.prepare(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	for _, n := range c.Nodes {
		if err := n.configure(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// TLS returns the settings of an agent.
func (c *Cluster) TLS(who identity.Agent) (*tls.Config, error) {
	pair, err := c.authority.Issue(who, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	return authority.Peer(pair, c.authority.CertPEM())
}

// Peers returns the nodes as agents reach them.
func (c *Cluster) Peers() []load.Peer {
	var out []load.Peer
	for _, n := range c.Nodes {
		out = append(out, n.Peer())
	}
	return out
}

// Heal ends every fault but those of processes that do not run.
func (c *Cluster) Heal() error {
	var errs []error
	for _, n := range c.Nodes {
		n.agents.Heal()
		for _, l := range n.links {
			if l != nil {
				l.Heal()
			}
		}
		n.disk.Slow(0)
		n.disk.FailSyncs(0)
		n.disk.Drain()
		errs = append(errs, n.Resume())
	}
	return errors.Join(errs...)
}

// Leader returns the node that leads, of those that say so the one with the
// greatest term; nil if none does.
func (c *Cluster) Leader(ctx context.Context) *Node {
	var leader *Node
	var term float64
	for _, n := range c.Nodes {
		m, err := n.Metrics(ctx)
		if err == nil && m["entente_hub_raft_is_leader"] == 1 && m["entente_hub_raft_term"] > term {
			leader, term = n, m["entente_hub_raft_term"]
		}
	}
	return leader
}

// Close ends everything. It may be called twice.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}

// links returns the wires between two nodes, both as dialled by a and by b.
func links(a, b *Node) (fromA, fromB *link.Link) { return a.links[b.index], b.links[a.index] }

// Cut holds what goes from a to b, whoever dialled.
func (c *Cluster) Cut(a, b *Node) {
	fromA, fromB := links(a, b)
	fromA.Hold(link.Out)
	fromB.Hold(link.Back)
}
