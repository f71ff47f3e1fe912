package hub

import (
	"context"
	"time"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/replica"
)

// membersMax bounds asking the leader; without an answer, what this node knows
// by itself is told.
const membersMax = 2 * time.Second

// MembersAnywhere says who belongs to the hub, as the leader sees it or, if it
// does not answer, as this node does.
func (h *Hub) MembersAnywhere(ctx context.Context) (admin.Members, error) {
	leader := h.replica.Leader()
	if !h.replica.Leading() && leader != "" && leader != h.self.Name && h.cfg.Nodes != nil {
		ctx, cancel := context.WithTimeout(ctx, membersMax)
		defer cancel()
		if m, err := h.ask(leader, "").Members(ctx); err == nil && m.Leader == leader {
			return m, nil
		}
	}
	return h.Members(ctx)
}

// Members says who belongs to the hub, as this node sees it.
func (h *Hub) Members(context.Context) (admin.Members, error) {
	members, err := h.replica.Members()
	if err != nil {
		return admin.Members{}, err
	}
	out := admin.Members{Hub: h.self.Hub, Node: h.self.Name, Leader: h.replica.Leader()}
	leading, roster := h.replica.Leading(), h.State().Roster()
	view := replica.View{Members: members}
	for _, m := range members {
		one := admin.Member{Node: m.Node, Role: admin.RoleLearner}
		switch {
		case m.Node == out.Leader:
			one.Role = admin.RoleLeader
		case m.Voter:
			one.Role = admin.RoleVoter
		}
		if leading {
			one.Alive, one.Lag = &m.Alive, &m.Behind
		}
		if n, ok := roster.Node(m.Node); ok {
			one.Nodes, one.Agents, one.Software, one.Replaces = n.Nodes, n.Agents, n.Software, n.Replaces
			if n.ExpiresMillis > 0 {
				at := time.UnixMilli(n.ExpiresMillis).UTC()
				one.CertificateExpires = &at
			}
		}
		out.Members = append(out.Members, one)
	}
	if leading { // nobody else knows who is alive
		tolerance := max(0, view.Tolerance())
		out.FailureTolerance = &tolerance
	}
	return out, nil
}
