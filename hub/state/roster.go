package state

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/command"
)

// Limits of the roster.
const (
	// NodesMax bounds the nodes that have not been removed.
	NodesMax = 64
	// removedMax bounds those that have; the one removed longest ago is forgotten.
	removedMax = 1024
	// TokensMax bounds the tokens that have not expired.
	TokensMax = 64
)

// Roster is what the hub knows of its nodes besides who votes, which raft alone
// says: who may join, where each is reached, who follows whom, who is gone. It is
// immutable: Apply puts a new one in its place.
type Roster struct {
	Nodes  []NodeState  // sorted by name
	Tokens []TokenState // sorted by id
}

// NodeState is one node. A name stands for one node for ever: that of a removed
// one is not used again, so its old disk and certificate open nothing.
type NodeState struct {
	Name string

	// What the node said of itself last; empty before it did.
	Nodes, Agents string
	Software      string
	Speaks        command.Kind
	ExpiresMillis int64 // of its certificate

	// Replaces names the node that leaves once this one votes.
	Replaces string

	Removed bool
	Why     string // of the removal
	// ActedMillis is when an operator's act last changed this, by the entry's clock.
	ActedMillis int64
}

// Told reports whether the node has said of itself where it is.
func (n *NodeState) Told() bool { return n.Nodes != "" }

// TokenState is one join token.
type TokenState struct {
	ID            command.TokenID
	Node          string
	Replaces      string
	Secret        [32]byte // SHA-256 of it
	ExpiresMillis int64
	Key           [32]byte // that it was spent by; zero while it was not
}

// Node returns what is known of a node.
func (r *Roster) Node(name string) (NodeState, bool) {
	if i, ok := r.find(name); ok {
		return r.Nodes[i], true
	}
	return NodeState{}, false
}

// Token returns a token that has not been replaced; whether it has expired is
// for the caller to ask.
func (r *Roster) Token(id command.TokenID) (TokenState, bool) {
	i, ok := r.findToken(id)
	if !ok {
		return TokenState{}, false
	}
	return r.Tokens[i], true
}

// IsRemoved reports whether name is a node's that was removed.
func (r *Roster) IsRemoved(name string) bool {
	n, ok := r.Node(name)
	return ok && n.Removed
}

func (r *Roster) find(name string) (int, bool) {
	return slices.BinarySearchFunc(r.Nodes, name, func(n NodeState, name string) int { return cmp.Compare(n.Name, name) })
}

func (r *Roster) findToken(id command.TokenID) (int, bool) {
	return slices.BinarySearchFunc(r.Tokens, id, func(t TokenState, id command.TokenID) int { return slices.Compare(t.ID[:], id[:]) })
}

// isEmpty reports whether nothing was ever told: the roster of every hub before
// its nodes know of rosters.
func (r *Roster) isEmpty() bool { return len(r.Nodes) == 0 && len(r.Tokens) == 0 }

// sum is the digest by which a restored roster is known to be whole; zero if it
// is empty. Its input is not a format: it is computed from the content each time.
func (r *Roster) sum() (sum [sha256.Size]byte) {
	if r.isEmpty() {
		return sum
	}
	var b []byte
	for i := range r.Nodes {
		n := &r.Nodes[i]
		for _, s := range []string{n.Name, n.Nodes, n.Agents, n.Software, n.Replaces, n.Why} {
			b = codec.AppendBytes(b, s)
		}
		b = codec.AppendFixed64(append(b, byte(n.Speaks), boolByte(n.Removed)), uint64(n.ExpiresMillis))
		b = codec.AppendFixed64(b, uint64(n.ActedMillis))
	}
	b = append(b, 0) // no name is empty
	for i := range r.Tokens {
		t := &r.Tokens[i]
		b = append(append(append(b, t.ID[:]...), t.Secret[:]...), t.Key[:]...)
		b = codec.AppendBytes(codec.AppendBytes(b, t.Node), t.Replaces)
		b = codec.AppendFixed64(b, uint64(t.ExpiresMillis))
	}
	return sha256.Sum256(b)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// check reports whether a roster that was read is one that Apply could have made.
func (r *Roster) check() bool {
	for i := range r.Nodes {
		if !validNode(r.Nodes[i].Name) || i > 0 && r.Nodes[i-1].Name >= r.Nodes[i].Name {
			return false
		}
	}
	for i := 1; i < len(r.Tokens); i++ {
		if slices.Compare(r.Tokens[i-1].ID[:], r.Tokens[i].ID[:]) >= 0 {
			return false
		}
	}
	return true
}

func validNode(name string) bool {
	_, err := crdt.ParseAgentName(name) // nodes and agents are named alike
	return err == nil
}

// Roster returns what the hub knows of its nodes.
func (m *Machine) Roster() *Roster {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.roster
}

// node applies a Node command.
func (m *Machine) node(c *command.Node, nowMillis int64) Reason {
	if m.hub.IsZero() {
		return ReasonUnfounded
	}
	next := m.roster.clone()
	reason := next.node(c, nowMillis)
	if reason == "" {
		m.setRoster(next)
	}
	return reason
}

// token applies a Token command.
func (m *Machine) token(c *command.Token, nowMillis int64) Reason {
	if m.hub.IsZero() {
		return ReasonUnfounded
	}
	next := m.roster.clone()
	next.Tokens = slices.DeleteFunc(next.Tokens, func(t TokenState) bool { return t.ExpiresMillis <= nowMillis })
	var reason Reason
	switch c.Act {
	case command.TokenIssue:
		reason = next.issue(c, nowMillis)
	case command.TokenSpend:
		reason = next.spend(c, nowMillis)
	default:
		reason = ReasonMalformed
	}
	if reason == "" {
		m.setRoster(next)
	}
	return reason
}

func (m *Machine) setRoster(r *Roster) {
	m.roster = r
	m.dirty.roster = true
}

func (r *Roster) clone() *Roster {
	return &Roster{Nodes: slices.Clone(r.Nodes), Tokens: slices.Clone(r.Tokens)}
}
