// Package nodes runs hubs for measurements as they run in production: each node
// is a process of its own that executes entente hub run with a configuration file,
// mutual TLS on both ports and its state on disk. The process is this very
// program, started again: its main must call Child first. So the bytes under
// measurement are those of this build, and a profile of each node can be taken.
package nodes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
	"github.com/entente-sync/entente/proto/wire"
)

// Cluster is one hub on this machine. Its methods are for one goroutine.
type Cluster struct {
	Nodes []*Node

	dir        string
	id         string
	ca         *authority.Authority
	kind       string        // of child
	checkpoint time.Duration // at least so often; 0 for the default
	extra      []string      // of each child's environment
}

// New lays out a hub of size nodes below dir: certificates, pact, configuration.
// Nothing runs yet.
// Checkpoints are taken at least so often, checkpoint 0 meaning the default.
func New(dir string, size int, checkpoint time.Duration) (*Cluster, error) {
	return layOut(dir, size, kindHub, checkpoint)
}

// NewCeiling is New for nodes that run nothing but raft, and whose leader
// proposes entries for as long as took says, after a second of warming up.
func NewCeiling(dir string, size int, took time.Duration) (*Cluster, error) {
	c, err := layOut(dir, size, kindCeiling, 0)
	if err == nil {
		c.extra = append(c.extra, envTook+"="+took.String())
	}
	return c, err
}

func layOut(dir string, size int, kind string, checkpoint time.Duration) (*Cluster, error) {
	ca, err := authority.New("bench", time.Now)
	if err != nil {
		return nil, err
	}
	id, err := hub.NewID(rand.Reader)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(4 * size)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, id: id.String(), ca: ca, kind: kind, checkpoint: checkpoint}
	for i := range size {
		c.Nodes = append(c.Nodes, &Node{
			Name: fmt.Sprintf("n%d", i+1), cluster: c,
			Agents: ports[4*i], nodes: ports[4*i+1], metrics: ports[4*i+2], pprof: ports[4*i+3],
		})
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "pact.yaml"), []byte(pactText()), 0o600); err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		if err := c.writeNode(n); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func pactText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: entente/v1\nkind: Pact\nmetadata: {name: %s, version: 1}\nmembers: [%s]\nrecord: %s\ndelete: {grant: []}\nfields:\n",
		workload.Pact, strings.Join(workload.Sites(), ", "), workload.Type)
	for _, f := range workload.Fields() {
		fmt.Fprintf(&b, "  %s: {type: text, max: 255}\n", f)
	}
	return b.String()
}

// opsPerSecond is every quota: admission counts, and turns nothing away.
const opsPerSecond = 100_000_000

func (c *Cluster) writeNode(n *Node) error {
	pair, err := c.ca.Issue(identity.Node{Hub: c.id, Name: n.Name}, "127.0.0.1")
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: entente/v1\nkind: Hub\ndir: store\ntls: {cert: node.crt, key: node.key, ca: ca.crt}\n"+
		"listen: {agents: %[1]q, nodes: %[2]q}\nmetrics: %[3]q\npacts: [../pact.yaml]\nlimits: {ops_per_second: %[4]d, bytes_per_second: %[5]d, pact_ops_per_second: %[4]d, pact_bytes_per_second: %[5]d}\npeers:\n",
		n.Agents, n.nodes, n.metrics, opsPerSecond, opsPerSecond*wire.BatchBytesMax/wire.BatchOpsMax)
	for _, p := range c.Nodes {
		fmt.Fprintf(&b, "  %s: {agents: %q, nodes: %q}\n", p.Name, p.Agents, p.nodes)
	}
	if c.checkpoint > 0 {
		fmt.Fprintf(&b, "timing: {checkpoint: %s}\n", c.checkpoint)
	}
	if err := os.MkdirAll(n.Dir(), 0o700); err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"hub.yaml": []byte(b.String()), "node.crt": pair.CertPEM, "node.key": pair.KeyPEM, "ca.crt": c.ca.CertPEM(),
	} {
		if err := os.WriteFile(filepath.Join(n.Dir(), name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns loopback addresses that were free a moment ago. A node's
// address must be known to the others before it starts.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that none is given twice
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// Start runs every node and returns when all are ready and one leads.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return errors.Join(err, c.Kill())
		}
	}
	for _, n := range c.Nodes {
		if err := n.Ready(ctx); err != nil {
			return errors.Join(err, c.Kill())
		}
	}
	return nil
}

// Kill ends every node at once.
func (c *Cluster) Kill() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.Kill())
	}
	return errors.Join(errs...)
}

// Leader waits for the node that leads.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	for {
		for _, n := range c.Nodes {
			if n.leads(ctx) {
				return n, nil
			}
		}
		if err := pause(ctx, pollEvery); err != nil {
			return nil, fmt.Errorf("no node leads: %w", err)
		}
	}
}

// Follower returns a node that is not n.
func (c *Cluster) Follower(n *Node) *Node {
	for _, m := range c.Nodes {
		if m != n {
			return m
		}
	}
	return n
}

// Connect dials a node as an agent does.
func (c *Cluster) Connect(n *Node, agent identity.Agent) (*grpc.ClientConn, error) {
	pair, err := c.ca.Issue(agent)
	if err != nil {
		return nil, err
	}
	settings, err := authority.Peer(pair, c.ca.CertPEM())
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(n.Agents, append(wire.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(settings)))...)
}

const pollEvery = 5 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
