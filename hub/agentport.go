package hub

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/proto/identity"
)

// Connections that the port for agents holds open. Half-open ones count, so the
// oldest makes room for a new one, as far as it belongs to the same caller or to
// nobody yet.
const (
	// agentConnsMax bounds those of one agent, which needs one. All that show a
	// certificate of something else are one agent.
	agentConnsMax = 32
	// unprovenMax and unprovenOfMax bound those that have shown no certificate yet:
	// of all, and of one address. They have wire's connection timeout to do so.
	unprovenMax, unprovenOfMax = 512, 64
	// agentsConnsMax bounds all. Beyond it a new one takes the place of the oldest
	// unproven one, or is closed.
	agentsConnsMax = 8192
)

// Codes of what the port for agents refuses.
const (
	crowdedUnproven = "crowded.unproven"
	crowdedAgent    = "crowded.agent"
	crowdedNode     = "crowded.node"
)

// agentPort is the listener and the credentials of the port for agents: it bounds
// the connections, of which grpc itself takes any number. Safe for concurrent use.
type agentPort struct {
	net.Listener
	credentials.TransportCredentials
	log     *slog.Logger
	refused func(code string)

	mu       sync.Mutex
	open     int
	unproven []*agentConn                    // the oldest first
	proven   map[identity.Agent][]*agentConn // the oldest first; never empty
}

func newAgentPort(on net.Listener, secure credentials.TransportCredentials, log *slog.Logger, refused func(code string)) *agentPort {
	return &agentPort{Listener: on, TransportCredentials: secure, log: log, refused: refused, proven: map[identity.Agent][]*agentConn{}}
}

// Accept implements net.Listener.
func (p *agentPort) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &agentConn{Conn: conn, port: p}
		if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			c.from = tcp.AddrPort().Addr().Unmap()
		}
		if p.enter(c) {
			return c, nil
		}
	}
}

// enter counts a connection until it is closed; false: it is closed already.
func (p *agentPort) enter(c *agentConn) bool {
	p.mu.Lock()
	of, first := 0, -1 // of its address
	for i, other := range p.unproven {
		if other.from == c.from {
			of++
			if first < 0 {
				first = i
			}
		}
	}
	var oldest *agentConn
	code := crowdedUnproven
	switch {
	case of >= unprovenOfMax:
		oldest = p.unproven[first]
	case len(p.unproven) >= unprovenMax:
		oldest = p.unproven[0]
	case p.open >= agentsConnsMax && len(p.unproven) > 0:
		oldest, code = p.unproven[0], crowdedNode
	case p.open >= agentsConnsMax:
		p.mu.Unlock()
		p.refuse(c, crowdedNode)
		_ = c.Conn.Close() // it was never counted
		return false
	}
	p.open++
	p.unproven = append(p.unproven, c)
	if oldest != nil {
		p.forget(oldest)
	}
	p.mu.Unlock()
	p.end(oldest, code)
	return true
}

// ServerHandshake implements credentials.TransportCredentials: from here on the
// connection is its agent's.
func (p *agentPort) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := p.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	var who identity.Agent
	if shown, ok := info.(credentials.TLSInfo); ok && len(shown.State.PeerCertificates) > 0 {
		if agent, err := identity.AgentFromCertificate(shown.State.PeerCertificates[0]); err == nil {
			who = agent
		}
	}
	if c, ok := raw.(*agentConn); ok {
		p.prove(c, who)
	}
	return conn, info, nil
}

// Clone implements credentials.TransportCredentials; the bounds stay common.
func (p *agentPort) Clone() credentials.TransportCredentials { return p }

func (p *agentPort) prove(c *agentConn, who identity.Agent) {
	p.mu.Lock()
	if c.gone {
		p.mu.Unlock()
		return
	}
	p.drop(c)
	var oldest *agentConn
	if of := p.proven[who]; len(of) >= agentConnsMax {
		oldest = of[0]
		p.forget(oldest)
	}
	c.who = &who
	p.proven[who] = append(p.proven[who], c)
	p.mu.Unlock()
	p.end(oldest, crowdedAgent)
}

// forget counts a connection no more. Under mu.
func (p *agentPort) forget(c *agentConn) {
	if c.gone {
		return
	}
	c.gone = true
	p.open--
	p.drop(c)
}

// drop takes a connection out of its list. Under mu.
func (p *agentPort) drop(c *agentConn) {
	is := func(other *agentConn) bool { return other == c }
	if c.who == nil {
		p.unproven = slices.DeleteFunc(p.unproven, is)
		return
	}
	if of := slices.DeleteFunc(p.proven[*c.who], is); len(of) > 0 {
		p.proven[*c.who] = of
	} else {
		delete(p.proven, *c.who)
	}
}

// end closes what had to make room; nil: nothing had to.
func (p *agentPort) end(c *agentConn, code string) {
	if c == nil {
		return
	}
	p.refuse(c, code)
	_ = c.Close() // nobody waits for it
}

func (p *agentPort) refuse(c *agentConn, code string) {
	p.refused(code)
	p.log.Warn("refused on the port for agents; the connection is closed", "code", code, "address", c.RemoteAddr().String())
}

// agentConn counts until it is closed.
type agentConn struct {
	net.Conn
	port *agentPort
	from netip.Addr

	who  *identity.Agent // nil: unproven; under port.mu
	gone bool            // not counted any more; under port.mu
}

// Close implements net.Conn.
func (c *agentConn) Close() error {
	c.port.mu.Lock()
	c.port.forget(c)
	c.port.mu.Unlock()
	return c.Conn.Close()
}
