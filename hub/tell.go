package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// ErrRemoved reports that the hub has removed this node for good. Its directory is
// of no more use; a machine that shall join again takes another name.
var ErrRemoved = errors.New("this node was removed from the hub")

// spoken remembers in a leader's memory what nodes said that they understand,
// until the roster says it: the roster itself needs commands that not everybody
// may know.
type spoken struct {
	mu sync.Mutex
	by map[string]command.Kind
}

func (s *spoken) heard(node string, newest command.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]command.Kind{}
	}
	s.by[node] = newest
}

func (s *spoken) of(node string) command.Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[node]
}

// level allows the commands that every member is known to understand: a node
// that meets one it does not know would stop. Members that never said so are of
// the first version.
func (h *Hub) level() error {
	members, err := h.replica.Members()
	if err != nil {
		return err
	}
	roster, level := h.State().Roster(), h.cfg.speaks
	for _, m := range members {
		if m.Node == h.self.Name {
			continue
		}
		said := h.spoken.of(m.Node)
		if known, ok := roster.Node(m.Node); ok && known.Told() {
			said = max(said, known.Speaks)
		}
		level = min(level, max(said, command.KindFirst))
	}
	h.replica.Allow(level)
	return nil
}

// wanted is what this node has to say of itself; false if it has no address.
func (h *Hub) wanted() (admin.Tell, bool) {
	at := h.cfg.reached(h.self.Name)
	return admin.Tell{
		Node: h.self.Name, Nodes: at.Nodes, Agents: at.Agents, Software: h.cfg.Software,
		Speaks: uint8(h.cfg.speaks), ExpiresMillis: h.expires.UnixMilli(),
	}, at.Nodes != "" && h.cfg.Nodes != nil
}

// tell keeps the hub informed of this node until ctx ends: after a start under
// another address, with another certificate or version, and when it wants to join.
func (h *Hub) tell(ctx context.Context) {
	const waitMax = 5 * time.Second
	wait := h.cfg.Timing.Govern
	var said string // what went wrong last: said once
	for ctx.Err() == nil {
		err := h.tellOnce(ctx)
		switch {
		case err == nil:
			wait, said = h.cfg.Timing.Govern, ""
		case errors.Is(err, ErrRemoved):
			h.cfg.Log.Error("the hub has removed this node", "node", h.self.Name)
			h.replica.Stop(ErrRemoved)
			return
		default:
			if text := err.Error(); text != said && ctx.Err() == nil {
				said = text
				h.cfg.Log.Info("the hub does not know this node as it is yet; it is told again", "error", err)
			}
			wait = min(2*wait, waitMax)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func (h *Hub) tellOnce(ctx context.Context) error {
	want, ok := h.wanted()
	if !ok {
		return nil
	}
	known, _ := h.State().Roster().Node(h.self.Name)
	have := admin.Tell{
		Node: h.self.Name, Nodes: known.Nodes, Agents: known.Agents, Software: known.Software,
		Speaks: uint8(known.Speaks), ExpiresMillis: known.ExpiresMillis,
	}
	leader := h.replica.Leader()
	switch {
	case have == want && !known.Removed && (leader != "" || len(h.others()) == 0):
		return nil
	case h.replica.Leading():
		return h.hearOf(ctx, want)
	case leader != "" && leader != h.self.Name:
		return told(h.ask(leader, "").Tell(ctx, want))
	}
	// Nobody leads, as far as this node knows: it may have been moved or removed.
	err := errors.New("no node of the hub answers")
	for _, address := range h.others() {
		one := told(h.ask("", address).Tell(ctx, want))
		if one == nil || errors.Is(one, ErrRemoved) {
			return one
		}
		err = fmt.Errorf("%s: %w", address, one)
	}
	return err
}

// told makes the refusal of a removed node an error of this one.
func told(err error) error {
	var refused *adminhttp.Error
	if errors.As(err, &refused) && refused.Code == string(state.ReasonNodeRemoved) {
		return fmt.Errorf("%w: %w", ErrRemoved, err)
	}
	return err
}

// others lists where other nodes are reached, as the roster and the
// configuration say.
func (h *Hub) others() []string {
	all := map[string]bool{}
	for _, n := range h.State().Roster().Nodes {
		if n.Told() && !n.Removed && n.Name != h.self.Name {
			all[n.Nodes] = true
		}
	}
	for _, p := range h.cfg.Peers {
		if p.Node != h.self.Name {
			all[p.Nodes] = true
		}
	}
	for _, address := range h.cfg.Join {
		all[address] = true
	}
	delete(all, h.cfg.reached(h.self.Name).Nodes)
	return slices.Sorted(maps.Keys(all))
}

// hear takes what another node says of itself. A node that does not lead hands
// it on to the leader, once.
func (h *Hub) hear(ctx context.Context, t admin.Tell) error {
	from := caller(ctx)
	switch leader := h.replica.Leader(); {
	case from != t.Node && !h.isMember(from):
		return notMember(from)
	case h.replica.Leading():
		return h.hearOf(ctx, t)
	case h.State().Roster().IsRemoved(t.Node):
		return refusal(state.ReasonNodeRemoved, t.Node)
	case leader != "" && leader != h.self.Name && from == t.Node:
		return h.ask(leader, "").Tell(ctx, t)
	}
	return noLeader(h.self.Name)
}

// hearOf puts into the log what a node says of itself, as leader, and lets it
// have the log if it was admitted.
func (h *Hub) hearOf(ctx context.Context, t admin.Tell) error {
	known, admitted := h.State().Roster().Node(t.Node)
	member := h.isMember(t.Node)
	switch newest := command.Kind(t.Speaks); {
	case admitted && known.Removed:
		return refusal(state.ReasonNodeRemoved, t.Node)
	case !member && !admitted:
		return notMember(t.Node)
	case !member && newest < h.replica.Allowed():
		return &adminhttp.Error{
			Status: http.StatusConflict, Code: codeOlder, Next: "upgrade it",
			Message: fmt.Sprintf("node %s knows log commands up to %d, and the hub uses %d", t.Node, newest, h.replica.Allowed()),
		}
	default:
		h.spoken.heard(t.Node, newest)
	}
	if err := h.placed(t); err != nil {
		return err
	}
	err := h.agree(ctx, &command.Node{
		Act: command.NodeTell, Name: t.Node, Nodes: t.Nodes, Agents: t.Agents, Software: t.Software,
		Speaks: command.Kind(t.Speaks), ExpiresMillis: t.ExpiresMillis,
	})
	if err != nil || member {
		return err
	}
	h.cfg.Log.Info("node joins as a learner", "node", t.Node, "address", t.Nodes)
	return change(h.replica.AddLearner(t.Node))
}

// placed keeps nodes on one machine apart from those that others must reach.
func (h *Hub) placed(t admin.Tell) error {
	for _, address := range []string{t.Nodes, t.Agents} {
		if err := command.CheckAddress(address); err != nil {
			return fmt.Errorf("%w: node %s: %w", adminhttp.ErrInvalid, t.Node, err)
		}
	}
	for _, n := range h.State().Roster().Nodes {
		if n.Name == t.Node || n.Removed || !n.Told() {
			continue
		}
		if command.Loopback(n.Nodes) != command.Loopback(t.Nodes) {
			return fmt.Errorf("%w: node %s is at %s and node %s at %s: either all nodes of a hub have loopback addresses or none",
				adminhttp.ErrInvalid, t.Node, t.Nodes, n.Name, n.Nodes)
		}
		if n.Nodes == t.Nodes {
			return fmt.Errorf("%w: %s is the address of node %s already", adminhttp.ErrInvalid, t.Nodes, n.Name)
		}
	}
	return nil
}

// agree puts one command about members into the log, as leader, also where
// nothing else is taken: during a dispute and on disks that are low.
func (h *Hub) agree(ctx context.Context, c command.Command) error {
	if err := h.level(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askMax)
	defer cancel()
	result, err := h.replica.Order(ctx, c)
	switch {
	case errors.Is(err, replica.ErrNotYet):
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: codeOlder, Message: err.Error(),
			Next: "see the versions with: entente hub members",
		}
	case err != nil:
		return change(err)
	case result.Reason != "":
		return refusal(result.Reason, "")
	}
	return nil
}
