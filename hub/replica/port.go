package replica

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// peerConnsMax bounds the raft connections of one node, of which it needs five.
	// Half-open ones count, so the oldest makes room for a new one.
	peerConnsMax = 32
	// portConnsMax bounds those of all nodes.
	portConnsMax = 512
	// peerLargeMax bounds the messages of one node beyond frameLarge that are in
	// memory at the same time. A leader sends one after the other.
	peerLargeMax = 2
	frameLarge   = 1 << 20
	// answerBytesMax bounds what a node may answer to one message.
	answerBytesMax = 64 << 10
	// snapshotRate is how many bytes a sender's own deadline for a snapshot allows
	// for each RPC timeout.
	snapshotRate = 256 << 10
)

// raftPort is what keeps the raft port's callers, who have shown a certificate,
// from harming this node. Safe for concurrent use.
type raftPort struct {
	timeout time.Duration
	log     *slog.Logger
	entry   func() func([]byte) error // makes a vetter's question; nil: none
	gone    func(peer string) bool    // whoever has left for good; nil: nobody

	mu       sync.Mutex
	peers    map[string]*callers
	open     int
	counters map[string]uint64 // of refusals, by code
}

// callers is the connections of one node.
type callers struct {
	conns []*raftConn // the oldest first
	large chan struct{}
}

func newRaftPort(cfg *Config) *raftPort {
	p := &raftPort{timeout: cfg.RPCTimeout, log: cfg.Log, entry: cfg.vet, peers: map[string]*callers{}, counters: map[string]uint64{}}
	for _, code := range refusalCodes {
		p.counters[code] = 0
	}
	return p
}

// refusals returns how often each code was given.
func (p *raftPort) refusals() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]uint64, len(p.counters))
	for code, n := range p.counters {
		out[code] = n
	}
	return out
}

func (p *raftPort) refused(peer string, from net.Addr, err error) {
	code := refusedShape
	var known *refused
	if errors.As(err, &known) {
		code = known.code
	}
	p.mu.Lock()
	p.counters[code]++
	p.mu.Unlock()
	p.log.Warn("refused on the node port; the connection is closed", "code", code, "peer", peer, "address", from.String(), "error", err)
}

// enter puts a connection of peer behind the port's checks; false: it is closed.
// Of peer "" nothing is known, so only the port's own bound holds.
func (p *raftPort) enter(peer string, conn net.Conn, begun []byte) (net.Conn, bool) {
	c := &raftConn{Conn: conn, port: p, peer: peer, vetter: vetter{peer: peer}, patience: p.timeout}
	c.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(begun), conn), frameChunk)
	if p.entry != nil {
		c.vetter.entry = p.entry()
	}
	p.mu.Lock()
	if p.open >= portConnsMax {
		p.mu.Unlock()
		p.refused(peer, conn.RemoteAddr(), refuse(refusedCrowded, "%d connections are open", portConnsMax))
		conn.Close()
		return nil, false
	}
	p.open++
	of := p.peers[peer]
	if of == nil {
		of = &callers{large: make(chan struct{}, peerLargeMax)}
		p.peers[peer] = of
	}
	c.large = of.large
	var oldest *raftConn
	if peer != "" && len(of.conns) >= peerConnsMax {
		oldest = of.conns[0]
	}
	of.conns = append(of.conns, c)
	p.mu.Unlock()
	if oldest != nil {
		p.refused(peer, oldest.RemoteAddr(), refuse(refusedCrowded, "the oldest of %d connections", peerConnsMax+1))
		oldest.Close()
	}
	return c, true
}

func (p *raftPort) leave(c *raftConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.peers[c.peer]
	p.open--
	for i, other := range of.conns {
		if other == c {
			of.conns = append(of.conns[:i:i], of.conns[i+1:]...)
			break
		}
	}
	if len(of.conns) == 0 {
		delete(p.peers, c.peer)
	}
}

// raftConn lets whole, vetted messages through to raft's decoder, and nothing
// after the first that is refused. One goroutine reads it, the same writes it; Close
// is safe for all.
type raftConn struct {
	net.Conn
	port   *raftPort
	peer   string
	vetter vetter
	in     *bufio.Reader
	large  chan struct{} // slots for large messages of this peer
	holds  atomic.Bool   // one of them

	frame    frame
	rest     []byte        // of frame, not handed out yet
	follows  int64         // bytes of a snapshot still to come
	patience time.Duration // left for waiting for them
	failed   error

	once sync.Once
	err  error // of Close
}

// Read implements net.Conn.
func (c *raftConn) Read(b []byte) (int, error) {
	if c.failed != nil || len(b) == 0 {
		return 0, c.failed
	}
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	var n int
	var err error
	if c.follows > 0 {
		n, err = c.snapshot(b)
	} else if err = c.next(); err == nil {
		return c.Read(b)
	}
	if err == nil {
		return n, nil
	}
	c.failed = err
	c.done()
	var known *refused
	if errors.As(err, &known) || errors.Is(err, errShape) {
		c.port.refused(c.peer, c.RemoteAddr(), err)
	}
	c.Close()
	return n, err
}

// next waits for a message, however long; once it has begun it must end in time.
func (c *raftConn) next() error {
	if c.done() {
		c.frame.bytes = nil
	}
	kind, err := c.in.ReadByte()
	if err != nil {
		return err
	}
	if kind >= rpcKinds {
		return refuse(refusedKind, "%#x", kind)
	}
	if c.port.gone != nil && c.peer != "" && c.port.gone(c.peer) { // maybe since the connection was opened
		return refuse(refusedRemoved, "it was removed from the hub")
	}
	deadline := time.Now().Add(c.port.timeout)
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	if err := c.frame.read(kind, c.reserving(deadline)); err != nil {
		return slow(err)
	}
	follows, err := c.vetter.vet(c.frame.bytes)
	if err != nil {
		return err
	}
	c.rest, c.follows, c.patience = c.frame.bytes, follows, c.port.timeout
	return c.SetReadDeadline(time.Time{})
}

// done gives back what a large message took, and says whether it had taken it.
func (c *raftConn) done() bool {
	held := c.holds.CompareAndSwap(true, false)
	if held {
		<-c.large
	}
	return held
}

// reserving takes a slot for what is larger than most messages.
func (c *raftConn) reserving(until time.Time) *frameSource {
	return &frameSource{in: c.in, left: frameLarge, more: func() error {
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		if c.peer == "" {
			return nil
		}
		select {
		case c.large <- struct{}{}:
			c.holds.Store(true)
			return nil
		case <-ctx.Done():
			return refuse(refusedSlow, "%d large messages are under way", peerLargeMax)
		}
	}}
}

// frameSource calls more once, when left bytes were read.
type frameSource struct {
	in   io.Reader
	left int
	more func() error
}

func (s *frameSource) Read(b []byte) (int, error) {
	if s.left <= 0 && s.more != nil {
		if err := s.more(); err != nil {
			return 0, err
		}
		s.more = nil
	}
	n, err := s.in.Read(b)
	s.left -= n
	return n, err
}

// snapshot hands out what follows a message that installs one. Who sends more
// slowly than senders allow themselves is cut off: raft's main loop waits for it.
func (c *raftConn) snapshot(b []byte) (int, error) {
	began := time.Now()
	if err := c.SetReadDeadline(began.Add(c.patience)); err != nil {
		return 0, err
	}
	n, err := c.in.Read(b[:min(int64(len(b)), c.follows)])
	if err != nil {
		return n, slow(noEOF(err))
	}
	c.follows -= int64(n)
	earned := time.Duration(int64(c.port.timeout) * int64(n) / snapshotRate)
	c.patience = min(c.patience-time.Since(began)+earned, c.port.timeout)
	if c.follows == 0 {
		return n, c.SetReadDeadline(time.Time{})
	}
	return n, nil
}

func slow(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &refused{refusedSlow, err}
	}
	return err
}

// Write implements net.Conn: a caller that does not read its answers is cut off.
func (c *raftConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.port.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *raftConn) Close() error {
	c.once.Do(func() {
		c.port.leave(c)
		c.done()
		c.err = c.Conn.Close()
	})
	return c.err
}

// calledConn is a connection that this node made: to each message there is a short
// answer. One goroutine uses it at a time.
type calledConn struct {
	net.Conn
	left int
}

func (c *calledConn) Write(b []byte) (int, error) {
	c.left = answerBytesMax
	return c.Conn.Write(b)
}

func (c *calledConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the answer is longer than any of raft's")
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
