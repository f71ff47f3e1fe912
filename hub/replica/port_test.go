package replica

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

// hostile is a caller of the raft port that holds a node's certificate.
const hostile = "mallory"

func packed(kind byte, message any) []byte {
	out := bytes.NewBuffer([]byte{kind})
	if err := codec.NewEncoder(out, &codec.MsgpackHandle{}).Encode(message); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func headerOf(node string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(node), Addr: []byte(node)}
}

func appending(term uint64, entries ...*raft.Log) []byte {
	return packed(rpcAppendEntries, raft.AppendEntriesRequest{RPCHeader: headerOf(hostile), Term: term, Entries: entries})
}

func installing(change func(*raft.InstallSnapshotRequest)) []byte {
	req := raft.InstallSnapshotRequest{
		RPCHeader: headerOf(hostile), SnapshotVersion: 1, Term: 1, LastLogIndex: 9, LastLogTerm: 1, Size: 10,
		Configuration: raft.EncodeConfiguration(membership([]string{hostile})), ConfigurationIndex: 1,
	}
	change(&req)
	return packed(rpcInstallSnapshot, req)
}

// hostileFrame is one message that must not reach raft.
type hostileFrame struct {
	name  string
	code  string
	bytes []byte
}

func entryOf(kind raft.LogType, data []byte) *raft.Log {
	return &raft.Log{Index: 1, Term: 1, Type: kind, Data: data}
}

func hostileFrames() []hostileFrame {
	good := command.NewBuilder(1, 1).Bytes()
	torn := slices.Clone(good)
	torn[3] ^= 1
	nobody := raft.EncodeConfiguration(raft.Configuration{})
	many := make([]*raft.Log, appendEntriesMax+1)
	for i := range many {
		many[i] = &raft.Log{Index: uint64(i + 1), Term: 1, Type: raft.LogNoop}
	}
	str32 := append([]byte{rpcAppendEntries, 0x81, 0xa1, 'x', 0xdb}, 0xff, 0xff, 0xff, 0xff)
	return []hostileFrame{
		{"an entry that is nil", refusedEntries, appending(1, nil)},
		{"a second entry that is nil", refusedEntries, appending(1, entryOf(raft.LogNoop, nil), nil)},
		{"an entry of an unknown type", refusedEntries, appending(1, entryOf(77, nil))},
		{"an entry of a type that nobody writes", refusedEntries, appending(1, entryOf(raft.LogAddPeerDeprecated, []byte("n9")))},
		{"a torn command", refusedEntries, appending(1, entryOf(raft.LogCommand, torn))},
		{"a command of nothing", refusedEntries, appending(1, entryOf(raft.LogCommand, nil))},
		{"a command that is too large", refusedEntries, appending(1, entryOf(raft.LogCommand, make([]byte, command.EntryBytesMax+1)))},
		{"a gap before the first entry", refusedEntries, appending(1, &raft.Log{Index: 7, Term: 1, Type: raft.LogNoop})},
		{"an entry of a term to come", refusedEntries, appending(1, &raft.Log{Index: 1, Term: 2, Type: raft.LogNoop})},
		{"a membership that is noise", refusedMembership, appending(1, entryOf(raft.LogConfiguration, []byte{0xc1, 0xff}))},
		{"a membership that is cut off", refusedMembership, appending(1, entryOf(raft.LogConfiguration, []byte{0x81, 0xa7, 'S', 'e'}))},
		{"a membership without voters", refusedMembership, appending(1, entryOf(raft.LogConfiguration, nobody))},
		{"more entries than are sent", refusedShape, appending(1, many...)},
		{"the last term of all", refusedTerm, appending(1 << 63)},
		{"a vote in another node's name", refusedSender, packed(rpcRequestVote, raft.RequestVoteRequest{RPCHeader: headerOf("n2"), Term: 9})},
		{"a vote of the last term of all", refusedTerm, packed(rpcRequestVote, raft.RequestVoteRequest{RPCHeader: headerOf(hostile), Term: ^uint64(0)})},
		{"a vote to come of the last term", refusedTerm, packed(rpcRequestPreVote, raft.RequestPreVoteRequest{RPCHeader: headerOf(hostile), Term: ^uint64(0)})},
		{"an election in another node's name", refusedSender, packed(rpcTimeoutNow, raft.TimeoutNowRequest{RPCHeader: headerOf("n1")})},
		{"no kind of message", refusedKind, []byte{0x2a}},
		{"a string of 4 GiB", refusedShape, str32},
		{"an array of 4 G entries", refusedShape, []byte{rpcAppendEntries, 0x81, 0xa7, 'E', 'n', 't', 'r', 'i', 'e', 's', 0xdd, 0xff, 0xff, 0xff, 0xff}},
		{"a map of 4 G fields", refusedShape, []byte{rpcRequestVote, 0xdf, 0xff, 0xff, 0xff, 0xff}},
		{"a thousand arrays in each other", refusedShape, append([]byte{rpcAppendEntries}, bytes.Repeat([]byte{0x91}, 1000)...)},
		{"a tag that is none", refusedShape, []byte{rpcTimeoutNow, 0xc1}},
		{"a term that is a word", refusedDecode, append([]byte{rpcAppendEntries, 0x81, 0xa4, 'T', 'e', 'r', 'm', 0xa4}, "much"...)},
		{"a snapshot of less than nothing", refusedSnapshot, installing(func(r *raft.InstallSnapshotRequest) { r.Size = -1 })},
		{"a snapshot without end", refusedSnapshot, installing(func(r *raft.InstallSnapshotRequest) { r.Size = 1 << 62 })},
		{"a snapshot of another version", refusedSnapshot, installing(func(r *raft.InstallSnapshotRequest) { r.SnapshotVersion = 9 })},
		{"a snapshot with noise for members", refusedMembership, installing(func(r *raft.InstallSnapshotRequest) { r.Configuration = []byte{0xc1} })},
		{"a message that does not end", refusedSlow, []byte{rpcAppendEntries, 0x8a, 0xa4, 'T', 'e'}},
	}
}

// secured is a cluster over TLS, and its authority.
func secured(t *testing.T, size int, tune func(*Config)) (*cluster, *authority.Authority) {
	t.Helper()
	ca := newAuthority(t)
	return newCluster(t, size, func(cfg *Config) {
		cfg.Hub, cfg.RPCTimeout = hubID, time.Second
		cfg.Security = securityOf(t, ca, ca, identity.Node{Hub: hubID, Name: cfg.Node})
		if tune != nil {
			tune(cfg)
		}
	}), ca
}

// intrude connects to a node's raft port with the certificate of name.
func (c *cluster) intrude(ca *authority.Authority, name, to string) net.Conn {
	c.t.Helper()
	t, ok := c.t.(*testing.T)
	address, err := c.address(to)
	if err != nil || !ok {
		c.t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", address, securityOf(t, ca, ca, identity.Node{Hub: hubID, Name: name}).config(hubID, to))
	if err != nil {
		c.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(waitMax)); err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// A caller that holds a node's certificate and sends what raft would die of is cut
// off at once, counted under its code, and nothing else happens: same term, same
// leader, same state, no node stops, and work goes on.
func TestHostileFramesAreRefused(t *testing.T) {
	c, ca := secured(t, 3, nil)
	c.found()
	c.publish(1, 10)
	c.equal(10)
	leader := c.leader()
	term := leader.Status().Term
	seq := crdt.Seq(10)
	for _, frame := range hostileFrames() {
		t.Run(frame.name, func(t *testing.T) {
			for _, victim := range c.running() {
				before := victim.Status().PortRefusals
				conn := c.intrude(ca, hostile, victim.cfg.Node)
				defer conn.Close()
				if _, err := conn.Write(frame.bytes); err != nil {
					t.Fatal(err)
				}
				if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("%s answered", victim.cfg.Node)
				}
				after := victim.Status().PortRefusals
				before[frame.code]++
				for code, n := range after {
					if n != before[code] {
						t.Errorf("%s counted %d of %s, want %d", victim.cfg.Node, n, code, before[code])
					}
				}
			}
			c.publish(seq+1, 1)
			seq++
		})
	}
	c.equal(seq)
	for _, r := range c.running() {
		if s := r.Status(); s.Term != term || s.Leader != leader.cfg.Node || s.Stopped != nil || c.exited(r.cfg.Node) != nil {
			t.Errorf("%s: term %d, leader %s, stopped %v; it was term %d of %s", r.cfg.Node, s.Term, s.Leader, s.Stopped, term, leader.cfg.Node)
		}
	}
}

// A connection that was open when its node was removed carries no further message;
// those of a member that is to leave do until it has left.
func TestRemovedNodesAreCutOff(t *testing.T) {
	var mu sync.Mutex
	left := map[string]bool{}
	c, ca := secured(t, 3, func(cfg *Config) {
		cfg.Removed = func(node string) bool {
			mu.Lock()
			defer mu.Unlock()
			return left[node]
		}
	})
	c.found()
	leader := c.leader()
	speak := func(conn net.Conn) error {
		ask := raft.RequestPreVoteRequest{RPCHeader: headerOf(hostile), Term: 1}
		if _, err := conn.Write(packed(rpcRequestPreVote, ask)); err != nil {
			return err
		}
		dec := codec.NewDecoder(conn, &codec.MsgpackHandle{})
		var said string
		var answer raft.RequestPreVoteResponse
		return errors.Join(dec.Decode(&said), dec.Decode(&answer))
	}
	var conns []net.Conn
	for _, victim := range c.running() {
		conn := c.intrude(ca, hostile, victim.cfg.Node)
		defer conn.Close()
		if err := speak(conn); err != nil {
			t.Fatalf("before the removal: %v", err)
		}
		conns = append(conns, conn)
	}
	mu.Lock()
	left[hostile], left[leader.cfg.Node] = true, true
	mu.Unlock()
	for i, victim := range c.running() {
		if err := speak(conns[i]); err == nil {
			t.Errorf("%s answers a removed node", victim.cfg.Node)
		}
		if n := victim.Status().PortRefusals[refusedRemoved]; n != 1 {
			t.Errorf("%s counted %d refusals", victim.cfg.Node, n)
		}
	}
	for _, victim := range c.running() {
		if victim.stream.gone(leader.cfg.Node) {
			t.Errorf("%s takes a member for gone", victim.cfg.Node)
		}
	}
}

// A node without end of connections closes its own, the oldest first; others keep theirs.
func TestConnectionsOfOnePeerAreBounded(t *testing.T) {
	c, ca := secured(t, 3, nil)
	c.found()
	victim := c.leader()
	term := victim.Status().Term
	var conns []net.Conn
	for range peerConnsMax + 3 {
		conn := c.intrude(ca, hostile, victim.cfg.Node)
		defer conn.Close()
		if _, err := conn.Write([]byte{rpcRequestVote}); err != nil { // the port waits for the first byte
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if len(conns) == 1 {
			eventually(t, "the first connection", func() bool {
				victim.stream.port.mu.Lock()
				defer victim.stream.port.mu.Unlock()
				return victim.stream.port.peers[hostile] != nil
			})
		}
	}
	if _, err := conns[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest connection was answered")
	}
	eventually(t, "three refusals", func() bool { return victim.Status().PortRefusals[refusedCrowded] == 3 })
	victim.stream.port.mu.Lock()
	open := len(victim.stream.port.peers[hostile].conns)
	victim.stream.port.mu.Unlock()
	if open > peerConnsMax {
		t.Errorf("%d connections are open", open)
	}
	c.publish(1, 10)
	c.equal(10)
	if got := victim.Status(); got.Term != term || !got.Leading {
		t.Errorf("the leader lost its office: %+v", got)
	}
}

// What a length announces is not allocated before it arrives.
func TestAnnouncedBytesAreNotAllocated(t *testing.T) {
	announced := binary.BigEndian.AppendUint32([]byte{0x81, 0xa1, 'x', 0xdb}, frameBytesMax/2)
	var f frame
	if err := f.read(rpcAppendEntries, io.MultiReader(bytes.NewReader(announced), bytes.NewReader(make([]byte, 100)))); err == nil {
		t.Fatal("a message that is cut off was read")
	}
	if cap(f.bytes) > 2*frameChunk {
		t.Fatalf("%d bytes were made for 100", cap(f.bytes))
	}
}

// A snapshot that is noise changes nothing, not even at the next start.
func TestNoiseForASnapshot(t *testing.T) {
	c, ca := secured(t, 3, nil)
	c.found()
	c.publish(1, 10)
	c.equal(10)
	leader := c.leader()
	victim := c.running()[0]
	if victim == leader {
		victim = c.running()[1]
	}
	name, noise := victim.cfg.Node, bytes.Repeat([]byte("noise"), 2000)
	conn := c.intrude(ca, hostile, name)
	defer conn.Close()
	message := installing(func(r *raft.InstallSnapshotRequest) {
		r.Term, r.LastLogIndex, r.Size = leader.Status().Term, 1000, int64(len(noise))
	})
	if _, err := conn.Write(append(message, noise...)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the node does not answer: %v", err)
	}
	c.publish(11, 10)
	c.equal(20)
	c.stop(name)
	if err := c.start(name); err != nil {
		t.Fatalf("after the noise: %v", err)
	}
	c.publish(21, 10)
	c.equal(30)
}

// A snapshot whose sender falls silent holds raft's main loop no longer than a
// message may take.
func TestSilenceInASnapshot(t *testing.T) {
	c, ca := secured(t, 3, nil)
	c.found()
	c.publish(1, 10)
	leader := c.leader()
	victim := c.running()[0]
	if victim == leader {
		victim = c.running()[1]
	}
	conn := c.intrude(ca, hostile, victim.cfg.Node)
	defer conn.Close()
	message := installing(func(r *raft.InstallSnapshotRequest) {
		r.Term, r.LastLogIndex, r.Size = leader.Status().Term, 1000, 1<<30
	})
	if _, err := conn.Write(append(message, "some"...)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal", func() bool { return victim.Status().PortRefusals[refusedSlow] == 1 })
	c.publish(11, 10)
	c.equal(20)
}
