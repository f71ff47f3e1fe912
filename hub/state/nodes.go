package state

import (
	"slices"

	"github.com/entente-sync/entente/hub/command"
)

// node changes r by one act; a reason means that r is as it was, or to be
// thrown away.
func (r *Roster) node(c *command.Node, nowMillis int64) Reason {
	if !validNode(c.Name) || c.Replaces != "" && (!validNode(c.Replaces) || c.Replaces == c.Name) {
		return ReasonNodeMalformed
	}
	if r.IsRemoved(c.Name) {
		return ReasonNodeRemoved
	}
	switch c.Act {
	case command.NodeAdmit:
		return r.admit(c.Name, c.Replaces, nowMillis)
	case command.NodeTell:
		return r.tell(c)
	case command.NodeReplace:
		return r.replace(c, nowMillis)
	case command.NodeRemove:
		return r.remove(c, nowMillis)
	}
	return ReasonNodeMalformed
}

// admit lets a node of that name join. One that has joined already is not
// admitted again: that would be a second node of one name.
func (r *Roster) admit(name, replaces string, nowMillis int64) Reason {
	if n, ok := r.Node(name); ok && n.Told() {
		return ReasonNodeKnown
	}
	if reason := r.mayReplace(replaces); reason != "" {
		return reason
	}
	n, reason := r.entry(name)
	if reason != "" {
		return reason
	}
	n.Replaces, n.ActedMillis = replaces, nowMillis
	return ""
}

// tell takes what a node says of itself. Founders are members before anybody
// admits them, so this may be the first that is heard of a node: the leader lets
// only members speak.
func (r *Roster) tell(c *command.Node) Reason {
	if command.CheckAddress(c.Nodes) != nil || command.CheckAddress(c.Agents) != nil || c.Speaks < command.KindNode {
		return ReasonNodeMalformed
	}
	n, reason := r.entry(c.Name)
	if reason != "" {
		return reason
	}
	n.Nodes, n.Agents, n.Software, n.Speaks, n.ExpiresMillis = c.Nodes, c.Agents, c.Software, c.Speaks, c.ExpiresMillis
	return ""
}

func (r *Roster) replace(c *command.Node, nowMillis int64) Reason {
	i, ok := r.find(c.Name)
	if !ok {
		return ReasonNodeUnknown
	}
	if reason := r.mayReplace(c.Replaces); reason != "" {
		return reason
	}
	r.Nodes[i].Replaces, r.Nodes[i].ActedMillis = c.Replaces, nowMillis
	return ""
}

// mayReplace: nobody takes the place of one who is gone.
func (r *Roster) mayReplace(name string) Reason {
	if name != "" && r.IsRemoved(name) {
		return ReasonNodeRemoved
	}
	return ""
}

// remove marks a node as gone for good, and forgets the one that has been gone
// longest when there are too many.
func (r *Roster) remove(c *command.Node, nowMillis int64) Reason {
	n, reason := r.entry(c.Name)
	if reason != "" {
		return reason
	}
	*n = NodeState{Name: n.Name, Software: n.Software, Removed: true, Why: c.Why, ActedMillis: nowMillis}
	for i := range r.Nodes {
		if r.Nodes[i].Replaces == c.Name {
			r.Nodes[i].Replaces = "" // done
		}
	}
	r.Tokens = slices.DeleteFunc(r.Tokens, func(t TokenState) bool { return t.Node == c.Name })
	oldest, removed := -1, 0
	for i := range r.Nodes {
		if !r.Nodes[i].Removed {
			continue
		}
		removed++
		if oldest < 0 || r.Nodes[i].ActedMillis < r.Nodes[oldest].ActedMillis {
			oldest = i
		}
	}
	if removed > removedMax {
		r.Nodes = slices.Delete(r.Nodes, oldest, oldest+1)
	}
	return ""
}

// entry returns the node of that name, a new one if need be; it is valid until
// the next call.
func (r *Roster) entry(name string) (*NodeState, Reason) {
	i, ok := r.find(name)
	if ok {
		return &r.Nodes[i], ""
	}
	live := 0
	for j := range r.Nodes {
		if !r.Nodes[j].Removed {
			live++
		}
	}
	if live >= NodesMax {
		return nil, ReasonNodes
	}
	r.Nodes = slices.Insert(r.Nodes, i, NodeState{Name: name})
	return &r.Nodes[i], ""
}

// issue makes a token valid, in the place of an older one for the same node.
func (r *Roster) issue(c *command.Token, nowMillis int64) Reason {
	switch {
	case !validNode(c.Node) || c.Replaces != "" && (!validNode(c.Replaces) || c.Replaces == c.Node):
		return ReasonNodeMalformed
	case c.ExpiresMillis <= nowMillis:
		return ReasonToken
	case r.IsRemoved(c.Node):
		return ReasonNodeRemoved
	}
	if n, ok := r.Node(c.Node); ok && n.Told() {
		return ReasonNodeKnown
	}
	if reason := r.mayReplace(c.Replaces); reason != "" {
		return reason
	}
	r.Tokens = slices.DeleteFunc(r.Tokens, func(t TokenState) bool { return t.Node == c.Node })
	if len(r.Tokens) >= TokensMax {
		return ReasonTokens
	}
	i, taken := r.findToken(c.ID)
	if taken {
		return ReasonToken
	}
	r.Tokens = slices.Insert(r.Tokens, i, TokenState{
		ID: c.ID, Node: c.Node, Replaces: c.Replaces, Secret: c.Secret, ExpiresMillis: c.ExpiresMillis,
	})
	return ""
}

// spend uses a token up for one key, and admits its node.
func (r *Roster) spend(c *command.Token, nowMillis int64) Reason {
	i, ok := r.findToken(c.ID)
	if !ok || c.Key == [32]byte{} {
		return ReasonToken
	}
	t := &r.Tokens[i]
	switch t.Key {
	case c.Key:
		return "" // again
	case [32]byte{}:
	default:
		return ReasonToken
	}
	t.Key = c.Key
	if r.IsRemoved(t.Node) {
		return ReasonNodeRemoved
	}
	return r.admit(t.Node, t.Replaces, nowMillis)
}
