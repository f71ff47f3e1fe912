// Package identity reads who a peer is from the URI in its certificate:
//
//	entente://agent/<site>/<agent>   an agent; may talk to hubs
//	entente://node/<hub>/<node>      a node of a hub; serves agents, talks to nodes
//
// A certificate has exactly one role. The two are different types here, so that
// one cannot be taken for the other: an agent's certificate opens no node's port.
// The package is pure; whether a certificate is valid is for crypto/tls to say.
package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/entente-sync/entente/crdt"
)

// Scheme of every identity URI.
const Scheme = "entente"

// Errors, to be matched with errors.Is.
var (
	ErrNone      = errors.New("certificate names no Entente identity")
	ErrMany      = errors.New("certificate names more than one Entente identity")
	ErrRole      = errors.New("certificate has another role")
	ErrMalformed = errors.New("malformed Entente identity")
)

// Identity is an Agent or a Node.
type Identity interface {
	// String returns the URI, which Parse reads.
	String() string
	// URI is what goes into a certificate.
	URI() *url.URL
	role() string
}

const (
	roleAgent = "agent"
	roleNode  = "node"
)

// Agent is one agent of one site.
type Agent struct {
	Site crdt.Site
	Name crdt.AgentName
}

// Node is one node of one hub.
type Node struct {
	Hub  string // 32 hexadecimal digits
	Name string // as an agent's name
}

func (a Agent) role() string { return roleAgent }

// URI returns entente://agent/<site>/<agent>.
func (a Agent) URI() *url.URL { return uri(roleAgent, string(a.Site), string(a.Name)) }

// String returns the URI as text.
func (a Agent) String() string { return a.URI().String() }

// Validate reports the first malformed name.
func (a Agent) Validate() error {
	if _, err := crdt.ParseSite(string(a.Site)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := crdt.ParseAgentName(string(a.Name)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (n Node) role() string { return roleNode }

// URI returns entente://node/<hub>/<node>.
func (n Node) URI() *url.URL { return uri(roleNode, n.Hub, n.Name) }

// String returns the URI as text.
func (n Node) String() string { return n.URI().String() }

// Validate reports the first malformed part.
func (n Node) Validate() error {
	if !isHub(n.Hub) {
		return fmt.Errorf("%w: hub id of %d bytes, want 32 lower-case hexadecimal digits", ErrMalformed, len(n.Hub))
	}
	if _, err := crdt.ParseAgentName(n.Name); err != nil {
		return fmt.Errorf("%w: node: %w", ErrMalformed, err)
	}
	return nil
}

// Parse reads the URI of either role, in its one spelling.
func Parse(s string) (Identity, error) {
	rest, ok := strings.CutPrefix(s, Scheme+"://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return nil, fmt.Errorf("%w: want %s://agent/<site>/<agent> or %s://node/<hub>/<node>", ErrMalformed, Scheme, Scheme)
	}
	switch parts[0] {
	case roleAgent:
		a := Agent{Site: crdt.Site(parts[1]), Name: crdt.AgentName(parts[2])}
		if err := a.Validate(); err != nil {
			return nil, err
		}
		return a, nil
	case roleNode:
		n := Node{Hub: parts[1], Name: parts[2]}
		if err := n.Validate(); err != nil {
			return nil, err
		}
		return n, nil
	}
	return nil, fmt.Errorf("%w: unknown role", ErrMalformed)
}

// FromCertificate returns whom c names: one URI of Scheme, no more. URIs of
// other schemes do not count. c must have been verified already.
func FromCertificate(c *x509.Certificate) (Identity, error) {
	var found Identity
	for _, u := range c.URIs {
		if u.Scheme != Scheme {
			continue
		}
		if found != nil {
			return nil, ErrMany
		}
		var err error
		if found, err = Parse(u.String()); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, ErrNone
	}
	return found, nil
}

// AgentFromCertificate is FromCertificate where only an agent will do.
func AgentFromCertificate(c *x509.Certificate) (Agent, error) { return as[Agent](c, roleAgent) }

// NodeFromCertificate is FromCertificate where only a node will do.
func NodeFromCertificate(c *x509.Certificate) (Node, error) { return as[Node](c, roleNode) }

func as[T Identity](c *x509.Certificate, role string) (T, error) {
	var none T
	id, err := FromCertificate(c)
	if err != nil {
		return none, err
	}
	t, ok := id.(T)
	if !ok {
		return none, fmt.Errorf("%w: %s, want %s", ErrRole, id.role(), role)
	}
	return t, nil
}

func uri(role, a, b string) *url.URL {
	return &url.URL{Scheme: Scheme, Host: role, Path: "/" + a + "/" + b}
}

func isHub(s string) bool {
	if len(s) != 32 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
