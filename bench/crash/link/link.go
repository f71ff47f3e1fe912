// Package link is a wire between two processes that can be cut: a TCP proxy in
// this process. What TCP would deliver late it delivers late; only a half-open
// connection loses bytes, and such a connection is never good again.
package link

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Way is a direction of a link: from whoever dialled it, or towards it.
type Way int

// Ways.
const (
	Out  Way = iota // from the dialling side
	Back            // towards it
	ways
)

// Link listens at one address and connects to another. Safe for concurrent use.
type Link struct {
	listener net.Listener

	mu      sync.Mutex
	target  string
	held    [ways]bool
	delay   time.Duration // of each piece that is read
	rate    int           // bytes a second in each direction; 0 is no limit
	changed chan struct{} // closed when one of these changes
	pipes   map[*pipe]bool
	closed  bool
}

// pieceBytes is what a connection moves at once.
const pieceBytes = 16 << 10

// New listens at address, "" for any of the loopback. Connections end until
// Connect names a target.
func New(address string) (*Link, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	k := &Link{listener: l, changed: make(chan struct{}), pipes: map[*pipe]bool{}}
	go k.accept()
	return k, nil
}

// Address is where to dial.
func (k *Link) Address() string { return k.listener.Addr().String() }

// Connect names the address that connections go to from now on.
func (k *Link) Connect(target string) { k.set(func() { k.target = target }) }

// Hold keeps back what is sent one way, until Heal. Connections that are dialled
// meanwhile wait too.
func (k *Link) Hold(w Way) { k.set(func() { k.held[w] = true }) }

// Slow delays everything, and lets at most rate bytes a second through; 0 is no
// limit.
func (k *Link) Slow(delay time.Duration, rate int) { k.set(func() { k.delay, k.rate = delay, rate }) }

// HalfOpen makes every connection of now one whose other end is gone without a
// word: what is sent vanishes, and nobody is told. New ones are good. It returns
// how many there were.
func (k *Link) HalfOpen() (n int) {
	k.set(func() {
		for p := range k.pipes {
			p.dead = true
			n++
		}
	})
	return n
}

// Heal ends every fault; half-open connections are reset.
func (k *Link) Heal() {
	k.set(func() {
		k.held, k.delay, k.rate = [ways]bool{}, 0, 0
		for p := range k.pipes {
			if p.dead {
				p.close()
			}
		}
	})
}

// Close ends the link and its connections.
func (k *Link) Close() error {
	k.set(func() {
		k.closed = true
		for p := range k.pipes {
			p.close()
		}
	})
	return k.listener.Close()
}

func (k *Link) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	close(k.changed)
	k.changed = make(chan struct{})
}

// pipe is one connection through the link.
type pipe struct {
	link       *Link
	near, far  net.Conn      // far is nil until the target is dialled
	dead       bool          // guarded by link.mu
	ended      chan struct{} // closed with the pipe
	closedOnce sync.Once
}

// close ends both halves. Caller holds link.mu, or is alone with p.
func (p *pipe) close() {
	p.closedOnce.Do(func() {
		close(p.ended)
		p.near.Close()
		if p.far != nil {
			p.far.Close()
		}
	})
}

func (k *Link) accept() {
	for {
		near, err := k.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p := &pipe{link: k, near: near, ended: make(chan struct{})}
		k.mu.Lock()
		if k.closed {
			p.close()
		} else {
			k.pipes[p] = true
			go p.run()
		}
		k.mu.Unlock()
	}
}

func (p *pipe) run() {
	defer func() {
		p.link.mu.Lock()
		defer p.link.mu.Unlock()
		p.close()
		delete(p.link.pipes, p)
	}()
	if !p.ready(Out) || !p.ready(Back) { // a handshake needs both ways
		return
	}
	p.link.mu.Lock()
	target := p.link.target
	p.link.mu.Unlock()
	far, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return
	}
	p.link.mu.Lock()
	p.far = far
	select {
	case <-p.ended:
		far.Close()
	default:
	}
	p.link.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.move(Out, p.near, far) })
	both.Go(func() { p.move(Back, far, p.near) })
	both.Wait()
}

// move carries one way until either side ends.
func (p *pipe) move(w Way, from, to net.Conn) {
	buf := make([]byte, pieceBytes)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.pace(n)
			if p.ready(w) && !p.isDead() {
				if _, err := to.Write(buf[:n]); err != nil {
					p.end()
					return
				}
			}
		}
		if err != nil {
			p.finish(to, err)
			return
		}
	}
}

// finish passes on how one way ended. A dead pipe tells nobody.
func (p *pipe) finish(to net.Conn, err error) {
	if p.isDead() {
		return
	}
	half, ok := to.(*net.TCPConn)
	if errors.Is(err, io.EOF) && ok {
		_ = half.CloseWrite() // the other side may be gone already
		return
	}
	p.end()
}

func (p *pipe) end() {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	p.close()
}

func (p *pipe) isDead() bool {
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	return p.dead
}

// ready waits while a way is held; false means that the pipe ended meanwhile.
func (p *pipe) ready(w Way) bool {
	for {
		p.link.mu.Lock()
		held, changed := p.link.held[w] && !p.dead, p.link.changed
		p.link.mu.Unlock()
		if !held {
			return true
		}
		select {
		case <-changed:
		case <-p.ended:
			return false
		}
	}
}

// pace waits as long as a slow link takes for n bytes.
func (p *pipe) pace(n int) {
	p.link.mu.Lock()
	wait, changed := p.link.delay, p.link.changed
	if p.link.rate > 0 {
		wait += time.Duration(n) * time.Second / time.Duration(p.link.rate)
	}
	p.link.mu.Unlock()
	if wait == 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-p.ended:
	}
}
