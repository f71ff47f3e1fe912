package hub

import (
	"context"

	"github.com/entente-sync/entente/hub/admin"
)

// Members says who belongs to the hub, as this node sees it.
func (h *Hub) Members(context.Context) (admin.Members, error) {
	members, err := h.replica.Members()
	if err != nil {
		return admin.Members{}, err
	}
	out := admin.Members{Hub: h.self.Hub, Node: h.self.Name, Leader: h.replica.Leader()}
	voters := 0
	for _, m := range members {
		one := admin.Member{Node: m.Node, Role: admin.RoleLearner}
		switch {
		case m.Node == out.Leader:
			one.Role = admin.RoleLeader
		case m.Voter:
			one.Role = admin.RoleVoter
		}
		if m.Voter {
			voters++
		}
		out.Members = append(out.Members, one)
	}
	out.FailureTolerance = max(0, (voters-1)/2)
	return out, nil
}
