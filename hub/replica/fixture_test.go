package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

const (
	testEpoch crdt.Epoch = 0xe1
	waitMax              = 20 * time.Second
)

var author = crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}

func founding() []command.Command {
	p := &pact.Pact{
		Name: "tickets", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Fields: []pact.Field{{Name: "title", Type: pact.TypeText}},
	}
	return []command.Command{&command.Found{Hub: command.HubID{1}, Epoch: testEpoch}, &command.PutPact{Document: p.Encode()}}
}

// publish is a batch of n ops from seq on, each on a record of its own.
func publish(from crdt.Seq, n int) *command.Publish {
	c := &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: testEpoch}
	if from > 1 {
		c.After = crdt.OpID{Author: author, Seq: from - 1}
	}
	for i := range n {
		seq := from + crdt.Seq(i)
		c.Ops = append(c.Ops, crdt.Op{
			Key:   crdt.Key{Pact: "tickets", Type: "ticket", Record: crdt.RecordID{0: 1, 13: byte(seq >> 16), 14: byte(seq >> 8), 15: byte(seq)}, Field: "title"},
			Stamp: crdt.StampOf(1_700_000_000_000+int64(seq), 0), Author: author, Seq: seq, PactVersion: 1, Binding: 1,
			Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text(fmt.Sprintf("title %d", seq))),
		})
	}
	return c
}

// cluster is a few replicas in this process, over TCP.
type cluster struct {
	t     testing.TB
	names []string
	tune  func(*Config)

	mu    sync.Mutex
	dirs  map[string]string
	addrs map[string]string
	nodes map[string]*Replica
	exits map[string]error
}

func newCluster(t testing.TB, size int, tune func(*Config)) *cluster {
	t.Helper()
	c := prepareCluster(t, size, tune)
	c.startAll()
	return c
}

// prepareCluster leaves it to the caller to start the nodes.
func prepareCluster(t testing.TB, size int, tune func(*Config)) *cluster {
	t.Helper()
	c := &cluster{
		t: t, tune: tune, dirs: map[string]string{}, addrs: map[string]string{},
		nodes: map[string]*Replica{}, exits: map[string]error{},
	}
	root := t.TempDir()
	for i := range size {
		name := fmt.Sprintf("n%d", i+1)
		c.names = append(c.names, name)
		c.dirs[name] = filepath.Join(root, name)
	}
	t.Cleanup(func() {
		for _, name := range c.names {
			c.stop(name)
		}
	})
	return c
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, name := range c.names {
		if err := c.start(name); err != nil {
			c.t.Fatal(err)
		}
	}
}

// listen keeps a node's address for its later lives.
func (c *cluster) listen(name string) (net.Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr := c.addrs[name]
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		c.addrs[name] = l.Addr().String()
	}
	return l, err
}

func (c *cluster) address(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.addrs[name] == "" {
		return "", errors.New("unknown node")
	}
	return c.addrs[name], nil
}

func (c *cluster) start(name string) error {
	listener, err := c.listen(name)
	if err != nil {
		return err
	}
	cfg := Config{
		Hub: "00112233445566778899aabbccddeeff", Node: name, Dir: c.dirs[name], Listener: listener,
		AddressOf: c.address, Voters: c.names, SegmentBytes: 1 << 20, MemTableBytes: 1 << 20,
		HeartbeatTimeout: 300 * time.Millisecond, RPCTimeout: 2 * time.Second,
		ReserveBytes: -1, BallastBytes: -1, // the machine's disk is none of a test's business
		Exit: func(err error) { c.mu.Lock(); defer c.mu.Unlock(); c.exits[name] = err },
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	r, err := Open(cfg, func([]crdt.Pact) {})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = r
	return nil
}

func (c *cluster) stop(name string) {
	c.mu.Lock()
	r := c.nodes[name]
	delete(c.nodes, name)
	c.mu.Unlock()
	if r != nil {
		if err := r.Close(); err != nil {
			c.t.Logf("close %s: %v", name, err)
		}
	}
}

func (c *cluster) exited(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exits[name]
}

func (c *cluster) running() []*Replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*Replica
	for _, name := range c.names {
		if r := c.nodes[name]; r != nil {
			out = append(out, r)
		}
	}
	return out
}

// leader waits for one.
func (c *cluster) leader() *Replica {
	c.t.Helper()
	var leader *Replica
	eventually(c.t, "a leader", func() bool {
		for _, r := range c.running() {
			if r.Leading() {
				leader = r
				return true
			}
		}
		return false
	})
	return leader
}

// leaderBeside waits for a leader other than old.
func (c *cluster) leaderBeside(old *Replica) *Replica {
	c.t.Helper()
	var leader *Replica
	eventually(c.t, "another leader", func() bool {
		for _, r := range c.running() {
			if r != old && r.Leading() {
				leader = r
			}
		}
		return leader != nil
	})
	return leader
}

// propose sends the same bytes to whoever leads until they are answered.
func (c *cluster) propose(cmd command.Command) state.CommandResult {
	c.t.Helper()
	var result state.CommandResult
	eventually(c.t, "an answer", func() bool {
		for _, r := range c.running() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			got, err := r.Propose(ctx, cmd)
			cancel()
			if err == nil {
				result = got
				return true
			}
		}
		return false
	})
	return result
}

func (c *cluster) found() {
	c.t.Helper()
	for _, cmd := range founding() {
		if res := c.propose(cmd); res.Reason != "" && res.Reason != state.ReasonFounded {
			c.t.Fatalf("founding: %s", res.Reason)
		}
	}
}

// publish sends ops until all of them are applied, and fails on anything else.
func (c *cluster) publish(from crdt.Seq, n int) {
	c.t.Helper()
	res := c.propose(publish(from, n))
	for i, op := range res.Ops {
		if op.Outcome != state.OutcomeApplied {
			c.t.Fatalf("op %d: %s %s", int(from)+i, op.Outcome, op.Reason)
		}
	}
	if len(res.Ops) != n {
		c.t.Fatalf("%d results for %d ops", len(res.Ops), n)
	}
}

// equal waits until every running replica holds ops 1..seq, and compares digests.
func (c *cluster) equal(seq crdt.Seq) {
	c.t.Helper()
	eventually(c.t, "equal replicas", func() bool {
		for _, r := range c.running() {
			if authors := r.State().Authors("tickets", "acme", "main"); len(authors) != 1 || authors[0].Applied != seq {
				return false
			}
		}
		return true
	})
	var first command.PactDigest
	for i, r := range c.running() {
		info, err := r.State().Pact("tickets")
		if err != nil {
			c.t.Fatal(err)
		}
		if i == 0 {
			first = info.Digest
		}
		if info.Digest != first || info.Digest.Registers.Count() != uint64(seq) {
			c.t.Fatalf("%s holds %+v, another %+v, want %d registers", r.cfg.Node, info.Digest, first, seq)
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitMax)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, waitMax)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
