package authority_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

const hub = "00112233445566778899aabbccddeeff"

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New("test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *authority.Authority, id identity.Identity, hosts ...string) authority.Pair {
	t.Helper()
	p, err := a.Issue(id, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// handshake dials server with client's settings and returns whom the server saw.
func handshake(t *testing.T, server, client *tls.Config) (identity.Identity, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	type result struct {
		id  identity.Identity
		err error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer conn.Close()
		s := tls.Server(conn, server)
		if err := s.Handshake(); err != nil {
			done <- result{err: err}
			return
		}
		id, err := identity.FromCertificate(s.ConnectionState().PeerCertificates[0])
		done <- result{id, err}
	}()
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", listener.Addr().String(), client)
	if err == nil {
		defer conn.Close()
	}
	r := <-done
	return r.id, errors.Join(err, r.err)
}

func TestNodeServesAgent(t *testing.T) {
	a := newAuthority(t)
	encoded, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = authority.Load(encoded, time.Now); err != nil {
		t.Fatal(err)
	}
	agent := identity.Agent{Site: "acme", Name: "a1"}
	server, err := authority.Peer(issue(t, a, identity.Node{Hub: hub, Name: "n1"}, "127.0.0.1"), a.CertPEM())
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.Peer(issue(t, a, agent), a.CertPEM())
	if err != nil {
		t.Fatal(err)
	}
	client.ServerName = "127.0.0.1"
	got, err := handshake(t, server, client)
	if err != nil || got != identity.Identity(agent) {
		t.Fatalf("server saw %v, %v", got, err)
	}
}

func TestStrangersAndAgentsThatServeAreRefused(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	agent := identity.Agent{Site: "acme", Name: "a1"}
	node := identity.Node{Hub: hub, Name: "n1"}
	cases := map[string]struct{ server, client authority.Pair }{
		"client of another authority": {issue(t, a, node, "127.0.0.1"), issue(t, other, agent)},
		"server of another authority": {issue(t, other, node, "127.0.0.1"), issue(t, a, agent)},
		"agent as server":             {issue(t, a, agent, "127.0.0.1"), issue(t, a, agent)},
		"server under another name":   {issue(t, a, node, "hub.example"), issue(t, a, agent)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server, err := authority.Peer(c.server, a.CertPEM())
			if err != nil {
				t.Fatal(err)
			}
			client, err := authority.Peer(c.client, a.CertPEM())
			if err != nil {
				t.Fatal(err)
			}
			client.ServerName = "127.0.0.1"
			if id, err := handshake(t, server, client); err == nil {
				t.Fatalf("handshake succeeded as %v", id)
			}
		})
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	p := issue(t, newAuthority(t), identity.Agent{Site: "acme", Name: "a1"})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if s := fmt.Sprintf(verb, p); strings.Contains(s, "PRIVATE") || strings.Contains(s, "2d2d") || strings.Contains(s, "45 45") {
			t.Errorf("%s shows the key", verb)
		}
	}
	if b, err := json.Marshal(map[string]any{"pair": p}); err != nil || strings.Contains(string(b), "KeyPEM") {
		t.Errorf("JSON, and so a log, shows the key: %v", err)
	}
}

func TestLoadRefusesOtherBytes(t *testing.T) {
	a := newAuthority(t)
	leaf := issue(t, a, identity.Agent{Site: "acme", Name: "a1"})
	for name, p := range map[string]authority.Pair{"empty": {}, "leaf": leaf, "garbage": {CertPEM: []byte("x"), KeyPEM: []byte("y")}} {
		if _, err := authority.Load(p, time.Now); !errors.Is(err, authority.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
