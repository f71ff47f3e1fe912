package identity_test

import (
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/entente-sync/entente/proto/identity"
)

const hub = "00112233445566778899aabbccddeeff"

func TestRoundTrip(t *testing.T) {
	for _, id := range []identity.Identity{
		identity.Agent{Site: "acme", Name: "desk-1"},
		identity.Node{Hub: hub, Name: "n1"},
	} {
		got, err := identity.Parse(id.String())
		if err != nil || got != id {
			t.Errorf("Parse(%s) = %v, %v", id, got, err)
		}
		got, err = identity.FromCertificate(certificate(id.URI()))
		if err != nil || got != id {
			t.Errorf("FromCertificate(%s) = %v, %v", id, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "entente:", "entente://", "entente://agent", "entente://agent/acme", "entente://agent/acme/",
		"entente://agent//desk", "entente://agent/acme/desk/", "entente://agent/acme/desk?x=1",
		"entente://agent/acme/desk#f", "entente://user@agent/acme/desk", "entente://agent:1/acme/desk",
		"entente://agent/Acme/desk", "entente://agent/acme/%64esk", "entente://hub/acme/desk",
		"https://agent/acme/desk", "ENTENTE://agent/acme/desk",
		"entente://node/acme/n1", "entente://node/" + strings.ToUpper(hub) + "/n1", "entente://node/" + hub + "/",
		"entente://agent/" + strings.Repeat("a", 64) + "/desk",
	} {
		if id, err := identity.Parse(s); !errors.Is(err, identity.ErrMalformed) {
			t.Errorf("Parse(%q) = %v, %v; want ErrMalformed", s, id, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	agent := identity.Agent{Site: "acme", Name: "desk"}
	node := identity.Node{Hub: hub, Name: "n1"}
	other := &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/x"}
	for _, c := range []struct {
		name                   string
		cert                   *x509.Certificate
		asAny, asAgent, asNode error
	}{
		{"agent", certificate(agent.URI()), nil, nil, identity.ErrRole},
		{"node", certificate(node.URI()), nil, identity.ErrRole, nil},
		{"agent beside another scheme", certificate(other, agent.URI()), nil, nil, identity.ErrRole},
		{"nothing", certificate(), identity.ErrNone, identity.ErrNone, identity.ErrNone},
		{"another scheme", certificate(other), identity.ErrNone, identity.ErrNone, identity.ErrNone},
		{"both roles", certificate(agent.URI(), node.URI()), identity.ErrMany, identity.ErrMany, identity.ErrMany},
		{
			"malformed", certificate(&url.URL{Scheme: "entente", Host: "agent"}),
			identity.ErrMalformed, identity.ErrMalformed, identity.ErrMalformed,
		},
	} {
		_, err := identity.FromCertificate(c.cert)
		if !errors.Is(err, c.asAny) {
			t.Errorf("%s: %v, want %v", c.name, err, c.asAny)
		}
		gotAgent, err := identity.AgentFromCertificate(c.cert)
		if !errors.Is(err, c.asAgent) || err == nil && gotAgent != agent {
			t.Errorf("%s as agent: %v, %v, want %v", c.name, gotAgent, err, c.asAgent)
		}
		gotNode, err := identity.NodeFromCertificate(c.cert)
		if !errors.Is(err, c.asNode) || err == nil && gotNode != node {
			t.Errorf("%s as node: %v, %v, want %v", c.name, gotNode, err, c.asNode)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("entente://agent/acme/desk")
	f.Add("entente://node/" + hub + "/n1")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := identity.Parse(s); err == nil && id.String() != s {
			t.Errorf("Parse(%q).String() = %q", s, id)
		}
	})
}

func certificate(uris ...*url.URL) *x509.Certificate { return &x509.Certificate{URIs: uris} }
