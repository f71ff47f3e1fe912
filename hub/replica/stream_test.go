package replica

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

const (
	hubID   = "00112233445566778899aabbccddeeff"
	otherID = "ffeeddccbbaa99887766554433221100"
)

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	ca, err := authority.New("test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func securityOf(t *testing.T, ca, trusted *authority.Authority, id identity.Identity) *Security {
	t.Helper()
	pair, err := ca.Issue(id)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &Security{Certificate: func() (*tls.Certificate, error) { return &cert, nil }, Roots: trusted.Pool()}
}

// layer is a stream layer that reaches every node at one address.
func layer(t *testing.T, node, address string, sec *Security) *streamLayer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newStreamLayer(&Config{
		Hub: hubID, Node: node, Listener: l, Security: sec, RPCTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
		AddressOf: func(string) (string, error) { return address, nil },
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// Who may talk to the raft port of n1, and whom a node takes for n1.
func TestNodePortKnowsRoles(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	n1 := identity.Node{Hub: hubID, Name: "n1"}
	for _, tc := range []struct {
		name           string
		server, client *Security
		ok             bool
	}{
		{"nodes of one hub", securityOf(t, ours, ours, n1), securityOf(t, ours, ours, identity.Node{Hub: hubID, Name: "n2"}), true},
		{"an agent calls", securityOf(t, ours, ours, n1), securityOf(t, ours, ours, identity.Agent{Site: "acme", Name: "main"}), false},
		{"a node of another hub calls", securityOf(t, ours, ours, n1), securityOf(t, ours, ours, identity.Node{Hub: otherID, Name: "n2"}), false},
		{"another authority's node calls", securityOf(t, ours, ours, n1), securityOf(t, theirs, ours, identity.Node{Hub: hubID, Name: "n2"}), false},
		{"another node answers", securityOf(t, ours, ours, identity.Node{Hub: hubID, Name: "n3"}), securityOf(t, ours, ours, identity.Node{Hub: hubID, Name: "n2"}), false},
		{"an agent answers", securityOf(t, ours, ours, identity.Agent{Site: "acme", Name: "main"}), securityOf(t, ours, ours, identity.Node{Hub: hubID, Name: "n2"}), false},
		{"no TLS calls", securityOf(t, ours, ours, n1), nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := layer(t, "n1", "", tc.server)
			go func() { // answers one byte to whoever it lets in
				if conn, err := server.Accept(); err == nil {
					defer conn.Close()
					_, _ = conn.Write([]byte{1}) // whoever was let in reads it
				}
			}()
			client := layer(t, "n2", server.listener.Addr().String(), tc.client)
			err := talk(client)
			if (err == nil) != tc.ok {
				t.Errorf("talking to the port: %v", err)
			}
		})
	}
}

// talk dials n1 and reads the byte; TLS 1.3 tells a client of its refusal only
// when it reads.
func talk(from *streamLayer) error {
	conn, err := from.Dial(raft.ServerAddress("n1"), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{0}); err != nil { // as raft does: the port waits for the first byte
		return err
	}
	if n, err := conn.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("refused: %w", err)
	}
	return nil
}

// A peer that connects and stays silent keeps nobody else out.
func TestSilentPeer(t *testing.T) {
	ca := newAuthority(t)
	server := layer(t, "n1", "", securityOf(t, ca, ca, identity.Node{Hub: hubID, Name: "n1"}))
	address := server.listener.Addr().String()
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	go func() {
		if conn, err := server.Accept(); err == nil {
			defer conn.Close()
			_, _ = conn.Write([]byte{1}) // the caller tells if it does not come
		}
	}()
	if err := talk(layer(t, "n2", address, securityOf(t, ca, ca, identity.Node{Hub: hubID, Name: "n2"}))); err != nil {
		t.Fatal(err)
	}
}
