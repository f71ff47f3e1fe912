package hub_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
)

// A successor is a node that comes in addition, and is one node's only. A voter in
// its place would be an order to remove that nobody sees and no check has passed.
func TestSuccessorComesInAddition(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	ctx := t.Context()
	members(t, c, "three nodes that answer", func(m admin.Members) bool { return roles(m) == "n1=voter n2=voter n3=voter" && told(m) })
	replace := func(r admin.Replace) (plan admin.Plan, err error) {
		hubtest.Eventually(t, "an answer", func() bool {
			plan, err = c.Leader().Hub().ReplaceMember(ctx, r)
			return !slices.Contains([]string{"leader.none", "leader.lost", "member.quorum"}, codeOf(err))
		})
		return plan, err
	}
	if _, err := replace(admin.Replace{Node: "n1", By: "n2"}); codeOf(err) != replica.RefusedVoter || !strings.Contains(err.Error(), "hub remove n1") {
		t.Errorf("a voter as successor: %v", err)
	}
	hubtest.Eventually(t, "admission of n4", func() bool { return c.Leader().Hub().Admit(ctx, "n4", "n1") == nil })
	if _, err := replace(admin.Replace{Node: "n2", By: "n4"}); codeOf(err) != replica.RefusedReplacing || !strings.Contains(err.Error(), "hub replace n1 --cancel") {
		t.Errorf("the successor of another: %v", err)
	}
	for _, r := range []admin.Replace{{Node: "n1", Cancel: true, DryRun: true}, {Node: "n1", Cancel: true}} {
		if plan, err := replace(r); err != nil || len(plan.Steps) != 1 || plan.Steps[0] != "n4 no longer takes the place of n1" {
			t.Errorf("taking it back: %+v, %v", plan, err)
		}
	}
	if n, ok := c.Leader().Hub().State().Roster().Node("n4"); !ok || n.Replaces != "" {
		t.Errorf("the hub remembers %+v", n)
	}
	if plan, err := replace(admin.Replace{Node: "n1", Cancel: true}); err != nil || plan.Steps[0] != "nobody takes the place of n1" {
		t.Errorf("taking back nothing: %+v, %v", plan, err)
	}
	if _, err := replace(admin.Replace{Node: "n9", Cancel: true}); codeOf(err) != replica.RefusedUnknown {
		t.Errorf("a stranger's successor: %v", err)
	}
	if _, err := replace(admin.Replace{Node: "n2", By: "n4", DryRun: true}); err != nil {
		t.Errorf("a successor that is free again: %v", err)
	}
}

// Of four voters one may leave. Two orders at once are two orders, one after the other.
func TestOrdersAtOnce(t *testing.T) {
	c := hubtest.Start(t, 4, tickets(), nil)
	ctx := t.Context()
	members(t, c, "four nodes that answer", func(m admin.Members) bool { return m.Tolerance() == 1 && len(m.Members) == 4 && told(m) })
	leader := c.Leader()
	var orders sync.WaitGroup
	for _, n := range c.Nodes() {
		if n == leader {
			continue
		}
		orders.Go(func() { t.Log(n.Name, leader.Hub().RemoveMember(ctx, admin.Remove{Node: n.Name})) })
	}
	orders.Wait()
	var removed []string
	for _, n := range leader.Hub().State().Roster().Nodes {
		if n.Removed {
			removed = append(removed, n.Name)
		}
	}
	if len(removed) > 1 {
		t.Errorf("%v of four voters are removed", removed)
	}
}

func TestOrdersWaitForARemoval(t *testing.T) {
	v := &replica.View{Leader: "n1", Members: []replica.Member{{Node: "n1", Voter: true}, {Node: "n2", Voter: true}}}
	roster := &state.Roster{Nodes: []state.NodeState{{Name: "n1"}, {Name: "n2", Removed: true}}}
	if err := hub.Unfinished(v, roster); codeOf(err) != "member.changing" || !strings.Contains(err.Error(), "n2 is removed") {
		t.Errorf("n2 is to leave and another may too: %v", err)
	}
	roster.Nodes[1].Removed = false
	if err := hub.Unfinished(v, roster); err != nil {
		t.Error(err)
	}
}
