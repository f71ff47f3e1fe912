package replica

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// The library's heartbeat fast path breaks Raft (raft#695): the connection's
// goroutine makes an old leader a follower of the new term while its main loop
// still waits in the leader's loop. The next command that comes in there is
// written as if this node led the new term: two entries of one index and term.
//
// The interleaving is made by choosing which messages get through, not by luck;
// the transport is the product's, over TCP, and the only difference between the
// two runs is whether its wrapper is there.
func TestHeartbeatsOfANewLeaderFindAnOldOne(t *testing.T) {
	const rounds = 3
	t.Run("without the fast path", func(t *testing.T) {
		for range rounds {
			if found := deposeOldLeader(t, func(own transport) peerTransport { return own }); len(found) > 0 {
				t.Fatalf("the logs differ: %v", found)
			}
		}
	})
	t.Run("with the fast path", func(t *testing.T) {
		for range rounds {
			if found := deposeOldLeader(t, func(own transport) peerTransport { return own.NetworkTransport }); len(found) > 0 {
				t.Logf("found as expected: %v", found)
				return
			}
		}
		t.Fatalf("raft#695 was not found in %d rounds: this test proves nothing any more", rounds)
	})
}

// deposeOldLeader plays it once: an old leader is cut off, hears of its successor
// by heartbeats only, is given a command, and is then healed. It returns where
// the three nodes differ in the end.
func deposeOldLeader(t *testing.T, wrap func(transport) peerTransport) []string {
	t.Helper()
	c := newRaftTrio(t, wrap)
	defer c.close()
	old := c.nodes[0]
	c.makeLeader(old)
	for i := range 5 {
		if err := old.raft.Apply(fmt.Appendf(nil, "before %d", i), 0).Error(); err != nil {
			t.Fatal(err)
		}
	}
	c.converge(old.raft.LastIndex())

	c.only(func(from, to string, _ bool) bool { return from != old.name && to != old.name })
	fresh := c.otherLeader(old)
	c.only(func(from, to string, heartbeat bool) bool {
		return from != old.name && to != old.name || from == fresh.name && heartbeat
	})
	eventually(t, "heartbeat at the old leader", func() bool {
		return old.raft.State() != raft.Leader && old.raft.CurrentTerm() == fresh.raft.CurrentTerm()
	})
	late := old.raft.Apply([]byte("too late"), 0)
	for i := range 5 {
		if err := fresh.raft.Apply(fmt.Appendf(nil, "after %d", i), 0).Error(); err != nil {
			t.Fatal(err)
		}
	}
	if err := late.Error(); !errors.Is(err, raft.ErrNotLeader) && !errors.Is(err, raft.ErrLeadershipLost) {
		t.Fatalf("the old leader answers a late command with %v", err)
	}
	c.only(func(string, string, bool) bool { return true })
	c.converge(fresh.raft.LastIndex())
	return c.differences()
}

// peerTransport is what raft asks of a transport, pre-votes included.
type peerTransport interface {
	raft.Transport
	raft.WithPreVote
}

// raftTrio is three rafts on the product's transport and log, without the hub.
type raftTrio struct {
	t     *testing.T
	nodes []*raftNode

	mu     sync.Mutex
	passes func(from, to string, heartbeat bool) bool
}

type raftNode struct {
	name    string
	raft    *raft.Raft
	disk    *disk
	own     transport
	applied recorder
}

func newRaftTrio(t *testing.T, wrap func(transport) peerTransport) *raftTrio {
	t.Helper()
	c := &raftTrio{t: t, passes: func(string, string, bool) bool { return true }}
	names, addresses := []string{"n1", "n2", "n3"}, map[string]string{}
	var listeners []net.Listener
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners, addresses[name] = append(listeners, l), l.Addr().String()
	}
	for i, name := range names {
		cfg := Config{
			Hub: hubID, Node: name, Listener: listeners[i], HeartbeatTimeout: 200 * time.Millisecond,
			AddressOf:  func(node string) (string, error) { return addresses[node], nil },
			RPCTimeout: 2 * time.Second,
		}
		if i == 0 { // stands for one that was suspended: nothing but a message wakes it
			cfg.HeartbeatTimeout = time.Minute
			cfg.LeaderLease = time.Minute
		}
		c.nodes = append(c.nodes, c.start(cfg.withDefaults(), names, wrap))
	}
	return c
}

func (c *raftTrio) start(cfg Config, voters []string, wrap func(transport) peerTransport) *raftNode {
	c.t.Helper()
	d, err := openDisk(c.t, c.t.TempDir())
	if err != nil {
		c.t.Fatal(err)
	}
	n := &raftNode{name: cfg.Node, disk: d, own: newTransport(newStreamLayer(&cfg), cfg.RPCTimeout, new(atomic.Bool), slog.New(slog.DiscardHandler))}
	filtered := &filter{peerTransport: wrap(n.own), from: n.name, trio: c}
	snapshots := raft.NewDiscardSnapshotStore()
	if err := raft.BootstrapCluster(cfg.raftConfig(), d.log, d.log.hints, snapshots, filtered, membership(voters)); err != nil {
		c.t.Fatal(err)
	}
	if n.raft, err = raft.NewRaft(cfg.raftConfig(), &n.applied, d.log, d.log.hints, snapshots, filtered); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *raftTrio) close() {
	for _, n := range c.nodes {
		if err := n.raft.Shutdown().Error(); err != nil {
			c.t.Error(err)
		}
		if err := n.own.Close(); err != nil {
			c.t.Error(err)
		}
		n.disk.close()
	}
}

// only lets those messages through, from now on.
func (c *raftTrio) only(passes func(from, to string, heartbeat bool) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passes = passes
}

func (c *raftTrio) makeLeader(want *raftNode) {
	c.t.Helper()
	eventually(c.t, "leadership of "+want.name, func() bool {
		for _, n := range c.nodes {
			if n.raft.State() == raft.Leader && n != want {
				_ = n.raft.LeadershipTransferToServer(raft.ServerID(want.name), raft.ServerAddress(want.name)).Error() // tried again
			}
		}
		return want.raft.State() == raft.Leader && want.raft.Barrier(time.Second).Error() == nil
	})
}

func (c *raftTrio) otherLeader(old *raftNode) *raftNode {
	c.t.Helper()
	var leader *raftNode
	eventually(c.t, "a leader beside "+old.name, func() bool {
		for _, n := range c.nodes {
			if n != old && n.raft.State() == raft.Leader && n.raft.Barrier(time.Second).Error() == nil {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// converge waits until every node has applied entry index.
func (c *raftTrio) converge(index uint64) {
	c.t.Helper()
	eventually(c.t, "the same position of all nodes", func() bool {
		for _, n := range c.nodes {
			if n.raft.AppliedIndex() < index {
				return false
			}
		}
		return true
	})
}

// differences lists violations of log matching and of state machine safety.
func (c *raftTrio) differences() []string {
	c.t.Helper()
	var logs []*logStore
	for _, n := range c.nodes {
		logs = append(logs, n.disk.log)
	}
	found := differences(c.t, logs)
	first := c.nodes[0].applied.all()
	for _, n := range c.nodes[1:] {
		own := n.applied.all()
		for index := range n.raft.AppliedIndex() + 1 {
			if first[index] != own[index] {
				found = append(found, fmt.Sprintf("at entry %d %s applied %q, %s %q", index, c.nodes[0].name, first[index], n.name, own[index]))
			}
		}
	}
	return found
}

// differences compares the checksum, over index, term, type and content, of
// every entry that is in all the logs.
func differences(t *testing.T, logs []*logStore) []string {
	t.Helper()
	var first, last uint64 = 1, 1 << 62
	for _, l := range logs {
		from, err := l.FirstIndex()
		if err != nil {
			t.Fatal(err)
		}
		to, err := l.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		first, last = max(first, from), min(last, to)
	}
	var found []string
	for index := first; index <= last; index++ {
		var seals [][sealBytes]byte
		for _, l := range logs {
			var entry raft.Log
			if err := l.GetLog(index, &entry); err != nil {
				t.Fatal(err)
			}
			seals = append(seals, sealOf(&entry))
		}
		for _, seal := range seals {
			if seal != seals[0] {
				found = append(found, fmt.Sprintf("entry %d differs: %x", index, seals))
				break
			}
		}
	}
	return found
}

// filter drops messages on their way out.
type filter struct {
	peerTransport
	from string
	trio *raftTrio
}

var errCut = errors.New("the network is cut here")

func (f *filter) check(to raft.ServerID, heartbeat bool) error {
	f.trio.mu.Lock()
	defer f.trio.mu.Unlock()
	if !f.trio.passes(f.from, string(to), heartbeat) {
		return errCut
	}
	return nil
}

func (f *filter) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := req.PrevLogEntry == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0
	if err := f.check(id, heartbeat); err != nil {
		return err
	}
	return f.peerTransport.AppendEntries(id, to, req, resp)
}

func (f *filter) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := f.check(id, false); err != nil {
		return err
	}
	return f.peerTransport.RequestVote(id, to, req, resp)
}

func (f *filter) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := f.check(id, false); err != nil {
		return err
	}
	return f.peerTransport.RequestPreVote(id, to, req, resp)
}

// recorder remembers what was applied where.
type recorder struct {
	mu      sync.Mutex
	entries map[uint64]string
}

func (r *recorder) Apply(entry *raft.Log) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entries == nil {
		r.entries = map[uint64]string{}
	}
	r.entries[entry.Index] = string(entry.Data)
	return nil
}

func (r *recorder) all() map[uint64]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[uint64]string{}
	for index, data := range r.entries {
		out[index] = data
	}
	return out
}

func (r *recorder) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots here") }
func (r *recorder) Restore(in io.ReadCloser) error      { return in.Close() }
