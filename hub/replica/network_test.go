package replica

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
)

// network stands between the nodes of a cluster: every connection goes through
// a proxy of the pair that it connects, which can be cut.
type network struct {
	of func(node string) (string, error) // where nodes really are

	mu    sync.Mutex
	links map[[2]string]*link
	cut   func(from, to string) bool
}

// link is the proxy from one node to another.
type link struct {
	from, to string
	listener net.Listener
	conns    map[net.Conn]bool // guarded by network.mu
}

// newNetworked is a cluster whose nodes reach each other through a network.
func newNetworked(t testing.TB, size int, tune func(*Config)) (*cluster, *network) {
	t.Helper()
	n := &network{links: map[[2]string]*link{}, cut: func(string, string) bool { return false }}
	c := prepareCluster(t, size, func(cfg *Config) {
		cfg.AddressOf = n.addressFor(cfg.Node)
		if tune != nil {
			tune(cfg)
		}
	})
	n.of = c.address
	c.startAll()
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, l := range n.links {
			l.listener.Close()
			for conn := range l.conns {
				conn.Close()
			}
		}
	})
	return c, n
}

// addressFor is the address book of one node.
func (n *network) addressFor(from string) func(string) (string, error) {
	return func(to string) (string, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		l := n.links[[2]string{from, to}]
		if l == nil {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return "", err
			}
			l = &link{from: from, to: to, listener: listener, conns: map[net.Conn]bool{}}
			n.links[[2]string{from, to}] = l
			go n.serve(l)
		}
		return l.listener.Addr().String(), nil
	}
}

func (n *network) serve(l *link) {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		go n.carry(l, conn)
	}
}

func (n *network) carry(l *link, near net.Conn) {
	defer near.Close()
	address, err := n.of(l.to)
	if err != nil {
		return
	}
	far, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer far.Close()
	n.mu.Lock()
	if n.cut(l.from, l.to) {
		n.mu.Unlock()
		return
	}
	l.conns[near], l.conns[far] = true, true
	n.mu.Unlock()
	done := make(chan struct{}, 2)
	copyTo := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // ends when either side is closed
		done <- struct{}{}
	}
	go copyTo(far, near)
	go copyTo(near, far)
	<-done
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(l.conns, near)
	delete(l.conns, far)
}

// cutIf cuts those links, those under way included, and heals all others.
func (n *network) cutIf(cut func(from, to string) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	for _, l := range n.links {
		if cut(l.from, l.to) {
			for conn := range l.conns {
				conn.Close()
			}
		}
	}
}

func (n *network) heal() { n.cutIf(func(string, string) bool { return false }) }

func (n *network) isolate(node string) {
	n.cutIf(func(from, to string) bool { return from == node || to == node })
}

// Leaders are cut off while both sides are given commands, and healed while
// these are under way: the logs stay equal in every entry, and the states too.
func TestLeadersCutOffAndHealed(t *testing.T) {
	c, net := newNetworked(t, 3, nil)
	c.found()
	c.publish(1, 1)
	seq := crdt.Seq(1)
	for round := range 5 {
		old, first := c.leader(), seq+1
		stop := make(chan struct{})
		var flood sync.WaitGroup
		flood.Go(func() { // what only the old leader is told, again and again
			for {
				if wait, err := old.Start(publish(first, 1)); err == nil {
					_, _ = wait(t.Context()) // unknown is an answer
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
		if round%2 == 0 {
			net.isolate(old.cfg.Node)
		} else { // it hears the others and reaches nobody
			net.cutIf(func(from, _ string) bool { return from == old.cfg.Node })
		}
		c.leaderBeside(old)
		for i := range 20 {
			if i == 10 {
				net.heal()
			}
			c.publish(seq+1, 4)
			seq += 4
		}
		close(stop)
		flood.Wait()
		c.equal(seq)
		var logs []*logStore
		for _, r := range c.running() {
			logs = append(logs, r.log)
		}
		if found := differences(t, logs); len(found) > 0 {
			t.Fatalf("round %d: %v", round, found)
		}
	}
	for _, name := range c.names {
		if err := c.exited(name); err != nil {
			t.Error(errors.Join(errors.New(name), err))
		}
	}
}
