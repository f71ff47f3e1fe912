package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
)

// handshakesMax bounds the connections that have not yet proved who they are.
const handshakesMax = 64

// Security is how nodes prove to each other who they are: mutual TLS 1.3 with
// certificates of the node role. Any other role, agents' included, is refused on
// the raft port, since the library has no notion of identity of its own.
type Security struct {
	// Certificate of this node; asked at each handshake, so that it can be renewed.
	Certificate func() (*tls.Certificate, error)
	// Roots that node certificates must chain to.
	Roots *x509.CertPool
}

// streamLayer carries raft's connections. Raft knows nodes by name only: an
// address in its configuration is a node's name, resolved at each dial, so that
// no network address ever enters the state or the log.
type streamLayer struct {
	self      string
	hub       string
	listener  net.Listener
	security  *Security // nil: plain TCP
	addressOf func(node string) (string, error)
	timeout   time.Duration
	aside     func(protocol string, conn *tls.Conn) // nil: raft alone is spoken
	removed   func(node string) bool
	port      *raftPort

	state   atomic.Pointer[state.Machine] // what questions are answered from
	cluster atomic.Pointer[raft.Raft]     // who is a member; nil while it opens

	accepted chan net.Conn
	done     chan struct{}
	stop     sync.Once
}

func newStreamLayer(cfg *Config) *streamLayer {
	s := &streamLayer{
		self: cfg.Node, hub: cfg.Hub, listener: cfg.Listener, security: cfg.Security,
		addressOf: cfg.AddressOf, timeout: cfg.RPCTimeout, aside: cfg.Aside, removed: cfg.Removed,
		port:     newRaftPort(cfg),
		accepted: make(chan net.Conn), done: make(chan struct{}),
	}
	s.port.gone = s.gone
	go s.accept()
	return s
}

// Dial connects to the node named address and proves that it is that node.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node := string(address)
	hostPort, err := s.addressOf(node)
	if err != nil {
		return nil, fmt.Errorf("address of node %s: %w", node, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, err
	}
	if s.security == nil {
		return &calledConn{Conn: conn, left: answerBytesMax}, nil
	}
	secure := tls.Client(conn, s.security.config(s.hub, node))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("node %s at %s: %w", node, hostPort, err)
	}
	return &calledConn{Conn: secure, left: answerBytesMax}, nil
}

// Accept returns the next connection from a proven node.
func (s *streamLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-s.accepted:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *streamLayer) Close() error {
	s.stop.Do(func() { close(s.done) })
	return s.listener.Close()
}

// Addr returns the node's name: what raft tells others as "the leader's address".
func (s *streamLayer) Addr() net.Addr { return nodeAddr(s.self) }

type nodeAddr string

func (nodeAddr) Network() string  { return "raft" }
func (n nodeAddr) String() string { return string(n) }

// accept shakes hands aside, so that a peer that stays silent delays nobody.
func (s *streamLayer) accept() {
	slots := make(chan struct{}, handshakesMax)
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-time.After(10 * time.Millisecond): // out of descriptors: not for long
				continue
			case <-s.done:
				return
			}
		}
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				s.admit(conn)
			}()
		default:
			conn.Close()
		}
	}
}

func (s *streamLayer) admit(conn net.Conn) {
	peer := ""
	if s.security != nil {
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		defer cancel()
		secure := tls.Server(conn, s.serverConfig())
		if secure.HandshakeContext(ctx) != nil || !s.raftMay(secure) {
			conn.Close()
			return
		}
		conn = secure
		if protocol := secure.ConnectionState().NegotiatedProtocol; protocol != "" {
			s.aside(protocol, secure)
			return
		}
		node, err := identity.NodeFromCertificate(secure.ConnectionState().PeerCertificates[0])
		if err != nil {
			conn.Close()
			return
		}
		peer = node.Name
	}
	conn, ok := s.raft(peer, conn)
	if !ok {
		return
	}
	select {
	case s.accepted <- conn:
	case <-s.done:
		conn.Close()
	}
}

// raft reads the first byte, which a caller sends at once, and answers a question
// of an audit itself; every other connection is raft's.
func (s *streamLayer) raft(peer string, conn net.Conn) (net.Conn, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	var first [1]byte
	err := conn.SetReadDeadline(deadline)
	if err == nil {
		_, err = io.ReadFull(conn, first[:])
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, false
	}
	if m := s.state.Load(); first[0] == questionByte && m != nil {
		answerQuestion(ctx, conn, m)
		return nil, false
	}
	return s.port.enter(peer, conn, first[:])
}

// config returns TLS settings that accept exactly the certificates of nodes of
// hub, and of node only if one is named. Host names play no part: a node is who
// its certificate says, wherever it runs.
func (sec *Security) config(hub, node string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true, // a resumed session would outlive a revoked certificate
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // replaced by VerifyConnection, which also asks for the role
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return sec.Certificate()
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return sec.Certificate()
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			return sec.verify(state.PeerCertificates, hub, node)
		},
	}
}

func (sec *Security) verify(chain []*x509.Certificate, hub, node string) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	opts := x509.VerifyOptions{
		Roots: sec.Roots, Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the role in the URI decides
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	peer, err := identity.NodeFromCertificate(chain[0])
	if err != nil {
		return err
	}
	if peer.Hub != hub || node != "" && peer.Name != node {
		return fmt.Errorf("certificate is of %s, not of node %s of hub %s", peer, node, hub)
	}
	return nil
}
