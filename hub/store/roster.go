package store

import (
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

func appendRoster(b []byte, r *state.Roster) []byte {
	out := &wire.Roster{}
	for _, n := range r.Nodes {
		out.Nodes = append(out.Nodes, wire.RosterNode{
			Name: n.Name, Nodes: n.Nodes, Agents: n.Agents, Software: n.Software, Speaks: uint8(n.Speaks),
			ExpiresMillis: n.ExpiresMillis, Replaces: n.Replaces, Removed: n.Removed, Why: n.Why, ActedMillis: n.ActedMillis,
		})
	}
	for _, t := range r.Tokens {
		out.Tokens = append(out.Tokens, wire.RosterToken{
			ID: t.ID, Node: t.Node, Replaces: t.Replaces, Secret: t.Secret, ExpiresMillis: t.ExpiresMillis, Key: t.Key,
		})
	}
	return wire.AppendRoster(b, out)
}

func readRoster(b []byte) (*state.Roster, error) {
	in, err := wire.ReadRoster(b)
	if err != nil {
		return nil, typed(err)
	}
	out := &state.Roster{}
	for _, n := range in.Nodes {
		out.Nodes = append(out.Nodes, state.NodeState{
			Name: n.Name, Nodes: n.Nodes, Agents: n.Agents, Software: n.Software, Speaks: command.Kind(n.Speaks),
			ExpiresMillis: n.ExpiresMillis, Replaces: n.Replaces, Removed: n.Removed, Why: n.Why, ActedMillis: n.ActedMillis,
		})
	}
	for _, t := range in.Tokens {
		out.Tokens = append(out.Tokens, state.TokenState{
			ID: t.ID, Node: t.Node, Replaces: t.Replaces, Secret: t.Secret, ExpiresMillis: t.ExpiresMillis, Key: t.Key,
		})
	}
	return out, nil
}
