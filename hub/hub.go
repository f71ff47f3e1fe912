// Package hub is one node of a hub, put together:
//
//	rpc → admission → replica (raft log) → state.Apply → store
//	                                          ↓
//	                          rpc ← fanout (feeds)
//
// Each arrow is a package that knows only what is below it; this one wires them,
// founds a new hub, puts pacts in force, and answers for health and metrics.
package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/admission"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/fanout"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/rpc"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Hub is one running node. Safe for concurrent use.
type Hub struct {
	cfg     Config
	self    identity.Node
	replica *replica.Replica
	fanout  *fanout.Fanout
	server  *rpc.Server
	grpc    *grpc.Server
	metrics *metrics
	backups backups

	draining atomic.Bool  // Close has begun
	admin    net.Listener // nil: nobody administers this node

	// ordering spans an order about members, from the look at the membership to the
	// change of it: one decided meanwhile would count on a node that leaves.
	ordering sync.Mutex

	opened        chan struct{} // closed once replica is set: connections may come before
	expires       time.Time     // end of this node's certificate
	spoken        spoken
	dials         dials
	fromNodes     *conns
	fromStrangers *conns
	enrolling     chan struct{}
	strangers     *strangers

	cancel    context.CancelFunc
	keeping   chan struct{} // closed when no backup is under way any more
	loops     sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Open starts the node on what its directory holds; in an empty one it founds
// the hub of Config.Peers together with them. It returns when the node accepts
// agents, which may be before the hub has a leader: see Status. ctx bounds the
// opening only.
func Open(ctx context.Context, cfg Config) (*Hub, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	self, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	h := &Hub{
		cfg: cfg, self: self, fromNodes: newConns(), fromStrangers: newConns(), enrolling: make(chan struct{}, enrolsMax),
		opened: make(chan struct{}), strangers: newStrangers(cfg.Now),
	}
	if h.expires, err = cfg.expires(); err != nil {
		return nil, err
	}
	h.metrics = newMetrics(h)
	if err := h.open(); err != nil {
		return nil, fmt.Errorf("node %s: %w", self.Name, errors.Join(err, h.release()))
	}
	h.serve()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	h.loops.Go(func() { h.govern(running) })
	if cfg.Nodes != nil {
		h.serveNodes(running)
		h.loops.Go(func() { h.tell(running) })
	}
	if h.admin != nil {
		h.loops.Go(func() { h.administer(running) })
	}
	h.keeping = make(chan struct{})
	go func() {
		defer close(h.keeping)
		if cfg.Backup != nil {
			h.keepBackups(running)
		}
	}()
	return h, nil
}

// open takes what may be refused. The socket comes first: a directory whose node
// runs already is told from a damaged one.
func (h *Hub) open() (err error) {
	if h.cfg.Admin != "" {
		if h.admin, err = adminhttp.Listen(h.cfg.Admin, admin.Who); err != nil {
			return err
		}
	}
	if h.replica, err = replica.Open(h.replicaConfig(), h.advanced); err != nil {
		return err
	}
	close(h.opened)
	return h.metrics.register(h.cfg.Metrics)
}

// release undoes what open did of itself.
func (h *Hub) release() error {
	err := h.cfg.Agents.Close()
	if h.admin != nil {
		err = errors.Join(err, h.admin.Close())
	}
	switch {
	case h.replica != nil:
		err = errors.Join(err, h.replica.Close())
	case h.cfg.Nodes != nil:
		_ = h.cfg.Nodes.Close() // a replica that did not open has closed it already
	}
	return err
}

// advanced is called by the replica, maybe before Open has returned.
func (h *Hub) advanced(pacts []crdt.Pact) { h.fanout.Advanced(pacts) }

func (h *Hub) replicaConfig() replica.Config {
	cfg := &h.cfg
	h.fanout = fanout.New(fanout.Config{
		State: feedState{h}, Heartbeat: cfg.Timing.FeedBeat, BehindMax: cfg.Timing.BehindMax,
		Newest: func() bool { return h.replica.Leading() },
	})
	voters := []string{h.self.Name}
	if len(cfg.Join) > 0 {
		voters = nil
	}
	if len(cfg.Peers) > 0 {
		voters = nil
		for _, p := range cfg.Peers {
			voters = append(voters, p.Node)
		}
	}
	nodes := cfg.Nodes
	if nodes == nil {
		nodes = newNobody()
	}
	return replica.Config{
		Hub: h.self.Hub, Node: h.self.Name, Dir: cfg.Dir, Listener: nodes, Voters: voters,
		AddressOf: h.nodeAddress, Aside: h.aside, Newest: command.KindFirst,
		Removed: func(node string) bool { return h.removed(node) },
		Security: &replica.Security{
			Certificate: func() (*tls.Certificate, error) { return &cfg.TLS.Certificates[0], nil },
			Roots:       cfg.TLS.RootCAs,
		},
		Now: cfg.Now, DriftMax: cfg.DriftMax, Log: cfg.Log, Exit: cfg.Exit, Committed: h.metrics.committed, Synced: h.metrics.synced,
		HeartbeatTimeout: cfg.Timing.Heartbeat, RPCTimeout: cfg.Timing.Message, CommitTimeout: cfg.Timing.Commit, AuditInterval: cfg.Timing.Audit, ScrubInterval: cfg.Timing.Scrub,
		CheckpointInterval: cfg.Timing.Checkpoint, CheckpointBytes: cfg.Sizes.Checkpoint,
		QueueBytes: cfg.Limits.QueueBytes, PactQueueBytes: cfg.Limits.PactQueueBytes,
		TrailingBytes: cfg.Sizes.Trailing, SegmentBytes: cfg.Sizes.Segment, MemTableBytes: cfg.Sizes.MemTable,
		DiskStall: cfg.Timing.DiskStall, ReserveBytes: cfg.Sizes.Reserve, BallastBytes: cfg.Sizes.Ballast,
	}
}

// feedState lets fanout be made before the replica that wakes it.
type feedState struct{ hub *Hub }

func (f feedState) Feed(name crdt.Pact, after crdt.Position, entriesMax, bytesMax int) (state.Slice, error) {
	return f.hub.replica.State().Feed(name, after, entriesMax, bytesMax)
}

func (h *Hub) serve() {
	gate := admission.New(admission.Config{
		Log: h.replica, State: h.replica.State(), Now: h.cfg.Now, Self: h.self.Name,
		AgentAddress: h.agentAddress, Answered: h.metrics.answered, Offered: h.metrics.offered,
		Site: admission.Rate{Ops: h.cfg.Limits.OpsPerSecond, Bytes: h.cfg.Limits.BytesPerSecond},
		Pact: admission.Rate{Ops: h.cfg.Limits.PactOpsPerSecond, Bytes: h.cfg.Limits.PactBytesPerSecond},
	})
	h.server = rpc.New(rpc.Config{
		Admission: gate, Feeds: h.fanout, State: h.replica.State(), Ready: h.ready,
		Now: h.cfg.Now, DriftMax: h.cfg.DriftMax,
	})
	secure := h.cfg.TLS.Clone()
	secure.MinVersion = tls.VersionTLS13
	secure.ClientAuth = tls.RequireAndVerifyClientCert
	secure.SessionTicketsDisabled = true // a resumed session would outlive a revoked certificate
	port := newAgentPort(h.cfg.Agents, credentials.NewTLS(secure), h.cfg.Log, h.metrics.crowded)
	h.grpc = grpc.NewServer(append(wire.ServerOptions(), grpc.Creds(port))...)
	wire.RegisterServer(h.grpc, h.server)
	h.loops.Go(func() {
		if err := h.grpc.Serve(port); err != nil && !errors.Is(err, net.ErrClosed) {
			h.cfg.Log.Error("agents are not served any more", "error", err)
		}
	})
}

// Node returns who this node is.
func (h *Hub) Node() identity.Node { return h.self }

// State returns the merged state, for reading.
func (h *Hub) State() *state.Machine { return h.replica.State() }

// Status returns where the node stands.
func (h *Hub) Status() replica.Status { return h.replica.Status() }

// Checkpoint makes the state durable as of now and cuts the log.
func (h *Hub) Checkpoint() error { return h.replica.Checkpoint() }

// TransferLeadership hands over to another node, if this one leads.
func (h *Hub) TransferLeadership() error { return h.replica.TransferLeadership() }

// Close stops the node: it hands over leadership, answers what was admitted,
// tells agents to go elsewhere, and waits at most Timing.Drain for them.
func (h *Hub) Close() error {
	h.closeOnce.Do(func() {
		h.draining.Store(true)
		h.cancel()
		if h.mayHandOver() {
			if err := h.replica.TransferLeadership(); err != nil {
				h.cfg.Log.Debug("leadership is not handed over", "error", err)
			}
		}
		h.stop(true)
	})
	return h.closeErr
}

// Kill stops the node as a crash would, as far as a process can do that to
// itself: nothing is handed over, no answer is waited for. For tests.
func (h *Hub) Kill() {
	h.closeOnce.Do(func() {
		h.cancel()
		h.stop(false)
	})
}

func (h *Hub) stop(graceful bool) {
	h.draining.Store(true)
	if graceful {
		h.server.Drain()
		drained := make(chan struct{})
		go func() { defer close(drained); h.grpc.GracefulStop() }()
		select {
		case <-drained:
		case <-time.After(h.cfg.Timing.Drain):
		}
	}
	h.grpc.Stop()
	select {
	case <-h.keeping:
	case <-time.After(h.cfg.Timing.Drain): // a file system that hangs holds up no stop
	}
	h.closeErr = h.replica.Close()
	h.loops.Wait()
	h.metrics.unregister(h.cfg.Metrics)
}

func (h *Hub) peer(node string) (Peer, bool) {
	for _, p := range h.cfg.Peers {
		if p.Node == node {
			return p, true
		}
	}
	return Peer{}, false
}

// mayHandOver reports whether another node could lead.
func (h *Hub) mayHandOver() bool {
	members, err := h.replica.Members()
	if err != nil || h.replica.Status().Stopped != nil {
		return false
	}
	return slices.ContainsFunc(members, func(m replica.Member) bool { return m.Voter && m.Node != h.self.Name })
}

// Handler serves /metrics, /healthz and /readyz.
func (h *Hub) Handler() http.Handler { return h.handler() }

// nobody is the node port of a hub of one: it listens nowhere.
type nobody struct {
	closed chan struct{}
	once   sync.Once
}

func newNobody() *nobody { return &nobody{closed: make(chan struct{})} }

func (n *nobody) Accept() (net.Conn, error) {
	<-n.closed
	return nil, net.ErrClosed
}

func (n *nobody) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *nobody) Addr() net.Addr { return &net.UnixAddr{Name: "nobody"} }
