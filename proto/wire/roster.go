package wire

import (
	"fmt"

	"github.com/entente-sync/entente/crdt"
	storagev1 "github.com/entente-sync/entente/proto/entente/storage/v1"
)

// Roster is what a hub knows of its nodes, at rest.
type Roster struct {
	Nodes  []RosterNode
	Tokens []RosterToken
}

// RosterNode is one node.
type RosterNode struct {
	Name          string
	Nodes, Agents string
	Software      string
	Speaks        uint8
	ExpiresMillis int64
	Replaces      string
	Removed       bool
	Why           string
	ActedMillis   int64
}

// RosterToken is one join token.
type RosterToken struct {
	ID            [8]byte
	Node          string
	Replaces      string
	Secret        [32]byte
	ExpiresMillis int64
	Key           [32]byte // zero while it is not spent
}

// AppendRoster appends r.
func AppendRoster(b []byte, r *Roster) []byte {
	m := &storagev1.Roster{}
	for _, n := range r.Nodes {
		m.Nodes = append(m.Nodes, &storagev1.RosterNode{
			Name: n.Name, Nodes: n.Nodes, Agents: n.Agents, Software: n.Software, Speaks: uint32(n.Speaks),
			ExpiresMs: n.ExpiresMillis, Replaces: n.Replaces, Removed: n.Removed, Why: n.Why, ActedMs: n.ActedMillis,
		})
	}
	for _, t := range r.Tokens {
		one := &storagev1.RosterToken{
			Id: t.ID[:], Node: t.Node, Replaces: t.Replaces, Secret: t.Secret[:], ExpiresMs: t.ExpiresMillis,
		}
		if t.Key != [32]byte{} {
			one.Key = t.Key[:]
		}
		m.Tokens = append(m.Tokens, one)
	}
	return marshal(b, m)
}

// ReadRoster reads what AppendRoster wrote.
func ReadRoster(b []byte) (Roster, error) {
	var m storagev1.Roster
	if err := unmarshal(b, &m); err != nil {
		return Roster{}, err
	}
	var r Roster
	for _, n := range m.GetNodes() {
		if n.GetSpeaks() > 255 {
			return Roster{}, fmt.Errorf("roster: %w: node %.64q speaks %d", crdt.ErrMalformed, n.GetName(), n.GetSpeaks())
		}
		r.Nodes = append(r.Nodes, RosterNode{
			Name: n.GetName(), Nodes: n.GetNodes(), Agents: n.GetAgents(), Software: n.GetSoftware(), Speaks: uint8(n.GetSpeaks()),
			ExpiresMillis: n.GetExpiresMs(), Replaces: n.GetReplaces(), Removed: n.GetRemoved(), Why: n.GetWhy(), ActedMillis: n.GetActedMs(),
		})
	}
	for _, t := range m.GetTokens() {
		one := RosterToken{Node: t.GetNode(), Replaces: t.GetReplaces(), ExpiresMillis: t.GetExpiresMs()}
		if len(t.GetId()) != len(one.ID) || len(t.GetSecret()) != len(one.Secret) || len(t.GetKey()) != 0 && len(t.GetKey()) != len(one.Key) {
			return Roster{}, fmt.Errorf("roster: %w: token of %d, %d and %d bytes", crdt.ErrMalformed, len(t.GetId()), len(t.GetSecret()), len(t.GetKey()))
		}
		copy(one.ID[:], t.GetId())
		copy(one.Secret[:], t.GetSecret())
		copy(one.Key[:], t.GetKey())
		r.Tokens = append(r.Tokens, one)
	}
	return r, nil
}
