package hub_test

import (
	"testing"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/hubtest"
)

func TestMembersOfFounders(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	leader := c.Leader()
	for _, n := range c.Nodes() {
		hubtest.Eventually(t, "members at "+n.Name, func() bool {
			got, err := n.Hub().Members(t.Context())
			if err != nil || got.Hub != c.ID() || got.Node != n.Name || got.Leader != leader.Name ||
				got.FailureTolerance != 1 || len(got.Members) != 3 {
				return false
			}
			for _, m := range got.Members {
				if (m.Role == admin.RoleLeader) != (m.Node == leader.Name) {
					return false
				}
			}
			return true
		})
	}
}
