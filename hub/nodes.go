package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/identity"
)

// askMax bounds one call to another node.
const askMax = 10 * time.Second

// forwardPatience is how many such bounds an order that is handed on may take: the
// leader puts it into the log, and then changes the membership.
const forwardPatience = 3

// asideMax bounds the connections of one protocol: those that wait to be served
// and those that are, together.
const asideMax = 64

// conns is a listener for connections that another one accepted.
type conns struct {
	queue chan net.Conn
	slots chan struct{} // one is held by each connection until it is closed
	done  chan struct{}
	once  sync.Once
}

func newConns() *conns {
	return &conns{queue: make(chan net.Conn, asideMax), slots: make(chan struct{}, asideMax), done: make(chan struct{})}
}

// hand never waits: beyond the bound a caller is turned away.
func (c *conns) hand(conn adminhttp.Known) {
	select {
	case <-c.done:
		conn.Close()
		return
	default:
	}
	select {
	case c.slots <- struct{}{}:
		c.queue <- &slotted{Known: conn, slots: c.slots} // there is room for all that hold slots
	default:
		conn.Close()
	}
}

// slotted gives its slot back when it is closed.
type slotted struct {
	adminhttp.Known
	slots chan struct{}
	once  sync.Once
}

func (s *slotted) Close() error {
	err := s.Known.Close()
	s.once.Do(func() { <-s.slots })
	return err
}

func (c *conns) Accept() (net.Conn, error) {
	select {
	case conn := <-c.queue:
		return conn, nil
	case <-c.done:
		return nil, net.ErrClosed
	}
}

func (c *conns) Close() error {
	c.once.Do(func() { close(c.done) })
	for {
		select {
		case conn := <-c.queue:
			conn.Close()
		default:
			return nil
		}
	}
}

func (c *conns) Addr() net.Addr { return &net.UnixAddr{Name: "node port"} }

// aside takes what comes to the node port and is not raft.
func (h *Hub) aside(protocol string, conn *tls.Conn) {
	chain := conn.ConnectionState().PeerCertificates
	switch {
	case protocol == replica.ProtocolEnrol:
		h.fromStrangers.hand(fromStranger{conn})
		return
	case protocol == replica.ProtocolNode && len(chain) > 0:
		if peer, err := identity.NodeFromCertificate(chain[0]); err == nil {
			h.fromNodes.hand(fromNode{conn, peer})
			return
		}
	}
	conn.Close()
}

// serveNodes answers other nodes, and those who would become one, until ctx ends.
func (h *Hub) serveNodes(ctx context.Context) {
	serve := func(listener net.Listener, handler http.Handler) {
		h.loops.Go(func() {
			if err := adminhttp.ServeOn(ctx, listener, handler); err != nil && ctx.Err() == nil {
				h.cfg.Log.Error("nodes are not answered any more", "error", err)
			}
		})
	}
	serve(h.fromNodes, adminhttp.Handler(h.nodeVerbs()...))
	serve(h.fromStrangers, adminhttp.Once(adminhttp.Guard(h.mayAsk, adminhttp.Handler(admin.ServeEnrol(h.enrol)))))
}

// nodeVerbs are what other nodes may ask. Who is not a member may only tell of
// itself, which is how it becomes one, or learns why not.
func (h *Hub) nodeVerbs() []adminhttp.Verb {
	verbs := []adminhttp.Verb{admin.ServeTell(h.hear)}
	for _, v := range append(h.changes(), admin.ServeMembers(h.Members), admin.ServeSpend(h.spend)) {
		verbs = append(verbs, h.fromMember(v))
	}
	return verbs
}

// fromMember lets only members ask.
func (h *Hub) fromMember(v adminhttp.Verb) adminhttp.Verb {
	return adminhttp.Verb{Pattern: v.Pattern, Serve: func(w http.ResponseWriter, r *http.Request) error {
		if name := caller(r.Context()); !h.isMember(name) {
			return notMember(name)
		}
		return v.Serve(w, r)
	}}
}

// callerKey is for the name of the calling node in a request's context.
type callerKey struct{}

func caller(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

func notMember(name string) error {
	return &adminhttp.Error{
		Status: http.StatusForbidden, Code: replica.RefusedUnknown, Message: "node " + name + " is no member of this hub",
		Next: "let it join: entente hub token create " + name,
	}
}

// fromNode is a connection whose other side has shown a node's certificate. It
// hides TLS from net/http, which would look for a protocol of that name.
type fromNode struct {
	net.Conn
	peer identity.Node
}

// With implements adminhttp.Known.
func (c fromNode) With(ctx context.Context) context.Context {
	return context.WithValue(ctx, callerKey{}, c.peer.Name)
}

// fromStranger is one whose other side has shown nothing.
type fromStranger struct{ net.Conn }

func (h *Hub) isMember(name string) bool {
	members, err := h.replica.Members()
	if err != nil {
		return false
	}
	for _, m := range members {
		if m.Node == name {
			return true
		}
	}
	return false
}

// ask returns a client of another node; an empty address means where the hub
// knows it to be. A call ends in time, also when the other node takes it and then
// falls silent.
func (h *Hub) ask(node, address string) *admin.Client {
	return h.askWithin(h.cfg.askMax, node, address)
}

func (h *Hub) askWithin(limit time.Duration, node, address string) *admin.Client {
	where := node
	if where == "" {
		where = address
	}
	return admin.NewNodeClient(where, func(ctx context.Context) (net.Conn, error) { // for one call alone
		until := time.Now().Add(limit)
		ctx, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		conn, err := h.replica.DialNode(ctx, node, address)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(until); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	})
}

// forward hands a request on to another node.
func (h *Hub) forward(node, address string, w http.ResponseWriter, r *http.Request) error {
	err := h.askWithin(forwardPatience*h.cfg.askMax, node, address).Forward(w, r)
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: "leader.lost", Message: "the leader does not answer: " + err.Error(),
			Next: "look what became of it: entente hub members",
		}
	}
	return err
}

// atLeader serves a verb where it can be served: here if this node leads, else
// the request is handed on to the leader, which hands it on to nobody.
func (h *Hub) atLeader(v adminhttp.Verb) adminhttp.Verb {
	return adminhttp.Verb{Pattern: v.Pattern, Serve: func(w http.ResponseWriter, r *http.Request) error {
		leader := h.replica.Leader()
		switch {
		case h.replica.Leading():
			return v.Serve(w, r)
		case leader == "" || leader == h.self.Name || h.cfg.Nodes == nil:
			return noLeader(h.self.Name)
		}
		return h.forward(leader, "", w, r)
	}}
}

func noLeader(node string) error {
	return &adminhttp.Error{
		Status: http.StatusServiceUnavailable, Code: "leader.none", Message: "node " + node + " knows no leader at the moment",
		Next: "try again; if it stays so: start the other nodes, else entente hub recover --dry-run -f FILE",
	}
}
