package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/entente-sync/entente/proto/identity"
)

// Protocols of the node port besides raft, negotiated within TLS. Raft itself
// names none, as in the first version.
const (
	ProtocolNode  = "entente-node/1"  // between nodes; both show their certificates
	ProtocolEnrol = "entente-enrol/1" // the caller has no certificate yet
)

// ErrProtocol reports a node that does not speak a protocol: it is older.
var ErrProtocol = errors.New("the node does not speak this protocol: is it older?")

// raftMay keeps nodes that were removed from speaking raft. They may ask why.
func (s *streamLayer) raftMay(conn *tls.Conn) bool {
	state := conn.ConnectionState()
	if s.removed == nil || state.NegotiatedProtocol != "" {
		return true
	}
	peer, err := identity.NodeFromCertificate(state.PeerCertificates[0])
	return err == nil && !s.removed(peer.Name)
}

// gone reports whether a node has left for good, the membership too. Between the two
// it still speaks on the connections that it has: a leader that is to leave hands over
// on them.
func (s *streamLayer) gone(node string) bool {
	if s.removed == nil || !s.removed(node) {
		return false
	}
	r := s.cluster.Load()
	if r == nil {
		return true
	}
	membership := r.GetConfiguration()
	if membership.Error() != nil {
		return true
	}
	for _, server := range membership.Configuration().Servers {
		if string(server.ID) == node {
			return false
		}
	}
	return true
}

// serverConfig demands a node's certificate of everybody, but for those who ask
// for ProtocolEnrol and nothing else: what they get then is not raft.
func (s *streamLayer) serverConfig() *tls.Config {
	settings := s.security.config(s.hub, "")
	if s.aside == nil {
		return settings
	}
	settings.NextProtos = []string{ProtocolNode}
	enrol := &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{ProtocolEnrol},
		GetCertificate: settings.GetCertificate,
	}
	settings.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, []string{ProtocolEnrol}) {
			return enrol, nil
		}
		return nil, nil
	}
	return settings
}

// DialNode connects to a node by ProtocolNode, at hostPort or, if that is empty,
// where the node is known to be. An empty node means any node of this hub.
func (r *Replica) DialNode(ctx context.Context, node, hostPort string) (net.Conn, error) {
	if hostPort == "" {
		var err error
		if hostPort, err = r.cfg.AddressOf(node); err != nil {
			return nil, err
		}
	}
	settings := r.cfg.Security.config(r.cfg.Hub, node)
	settings.NextProtos = []string{ProtocolNode}
	return DialProtocol(ctx, hostPort, settings)
}

// DialProtocol connects with settings that name one protocol.
func DialProtocol(ctx context.Context, hostPort string, settings *tls.Config) (net.Conn, error) {
	dialer := tls.Dialer{Config: settings}
	conn, err := dialer.DialContext(ctx, "tcp", hostPort)
	if err != nil {
		return nil, fmt.Errorf("node at %s: %w", hostPort, err)
	}
	if secure, ok := conn.(*tls.Conn); !ok || secure.ConnectionState().NegotiatedProtocol != settings.NextProtos[0] {
		conn.Close()
		return nil, fmt.Errorf("node at %s: %w", hostPort, ErrProtocol)
	}
	return conn, nil
}

// DialEnrol connects by ProtocolEnrol to any node of that hub, which must show a
// certificate under roots; the caller shows none.
func DialEnrol(ctx context.Context, hostPort, hub string, roots *x509.CertPool) (net.Conn, error) {
	security := &Security{Roots: roots}
	settings := security.config(hub, "")
	settings.NextProtos = []string{ProtocolEnrol}
	settings.GetClientCertificate = nil
	settings.GetCertificate = nil
	return DialProtocol(ctx, hostPort, settings)
}
