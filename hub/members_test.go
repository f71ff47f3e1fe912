package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// members asks the leader until what it says is as wanted.
func members(t *testing.T, c *hubtest.Cluster, what string, ok func(admin.Members) bool) admin.Members {
	t.Helper()
	var got admin.Members
	hubtest.Eventually(t, what, func() bool {
		var err error
		got, err = c.Leader().Hub().Members(t.Context())
		return err == nil && ok(got)
	})
	return got
}

func roles(m admin.Members) string {
	var out []string
	for _, one := range m.Members {
		role := one.Role
		if role == admin.RoleLeader {
			role = admin.RoleVoter
		}
		out = append(out, one.Node+"="+role)
	}
	return strings.Join(out, " ")
}

// told reports whether every member has told the hub of itself.
func told(m admin.Members) bool {
	for _, one := range m.Members {
		if one.Agents == "" {
			return false
		}
	}
	return true
}

// codeOf is the stable code of a refusal.
func codeOf(err error) string {
	var e *adminhttp.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestMembersOfFounders(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	c.Leader()
	for _, n := range c.Nodes() {
		hubtest.Eventually(t, "members at "+n.Name, func() bool {
			got, err := n.Hub().MembersAnywhere(t.Context())
			if err != nil || got.Hub != c.ID() || got.Leader == "" || got.Tolerance() != 1 || len(got.Members) != 3 {
				return false
			}
			for _, m := range got.Members {
				if (m.Role == admin.RoleLeader) != (m.Node == got.Leader) || m.Nodes == "" || m.CertificateExpires == nil {
					return false
				}
			}
			return true
		})
	}
}

// A node joins a hub of three, learns, votes, and serves the feed; then a dead
// node is replaced, and learns of it when it comes back.
func TestJoinAndReplace(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	ctx := t.Context()
	p := newPublisher(c, acme)
	if err := p.publish(ctx, 1, 50); err != nil {
		t.Fatal(err)
	}
	n4 := c.Join("n4", "")
	members(t, c, "four voters", func(m admin.Members) bool { return roles(m) == "n1=voter n2=voter n3=voter n4=voter" })
	equalDigests(t, c)
	hubtest.Eventually(t, "readiness of n4", func() bool { return n4.Hub().Readyz() == nil })
	victim := c.Nodes()[0]
	if victim == c.Leader() {
		victim = c.Nodes()[1]
	}
	victim.Kill()
	members(t, c, "a dead node", func(m admin.Members) bool { return m.Tolerance() == 0 })
	c.Join("n5", victim.Name)
	members(t, c, "a hub without "+victim.Name, func(m admin.Members) bool {
		return !strings.Contains(roles(m), victim.Name) && strings.Contains(roles(m), "n5=voter") && m.Tolerance() == 1
	})
	if err := p.publish(ctx, 51, 50); err != nil {
		t.Fatal(err)
	}
	c.Restart(victim)
	hubtest.Eventually(t, "the end of the removed node", func() bool { return errors.Is(victim.Exited(), hub.ErrRemoved) })
	victim.Kill()
	equalDigests(t, c)
	if err := c.Leader().Hub().Admit(ctx, victim.Name, ""); codeOf(err) != "node.removed" {
		t.Errorf("a removed name is used again: %v", err)
	}
}

// Of three nodes none can be removed without another one joining first; who
// insists must say why; and what ends the hub cannot be forced.
func TestUnsafeOrders(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	ctx := t.Context()
	members(t, c, "three nodes that answer", func(m admin.Members) bool { return m.Tolerance() == 1 && told(m) })
	leader := c.Leader()
	var others []*hubtest.Node
	for _, n := range c.Nodes() {
		if n != leader {
			others = append(others, n)
		}
	}
	remove := func(o admin.Remove) error { return c.Leader().Hub().RemoveMember(ctx, o) }
	if err := remove(admin.Remove{Node: "n9"}); codeOf(err) != replica.RefusedUnknown {
		t.Errorf("removing a stranger: %v", err)
	}
	if err := remove(admin.Remove{Node: leader.Name}); codeOf(err) != replica.RefusedLeader || !strings.Contains(err.Error(), "hub transfer") {
		t.Errorf("removing the leader: %v", err)
	}
	order := admin.Remove{Node: others[0].Name}
	if err := remove(order); codeOf(err) != replica.RefusedTolerance || !strings.Contains(err.Error(), "hub replace") {
		t.Errorf("removing one of three: %v", err)
	}
	order.Force = true
	if err := remove(order); !errors.Is(err, adminhttp.ErrInvalid) {
		t.Errorf("forced without a reason: %v", err)
	}
	others[1].Kill()
	members(t, c, "a dead node", func(m admin.Members) bool { return m.Tolerance() == 0 })
	order.Reason = "a test"
	if err := remove(order); codeOf(err) != replica.RefusedQuorum {
		t.Errorf("removing what the majority needs: %v", err)
	}
	order.Node = others[1].Name
	hubtest.Eventually(t, "a forced removal", func() bool { return remove(order) == nil })
	got := members(t, c, "two members", func(m admin.Members) bool { return len(m.Members) == 2 })
	if got.Tolerance() != 0 {
		t.Errorf("two nodes survive %d failures", got.Tolerance())
	}
	n, _ := c.Leader().Hub().State().Roster().Node(others[1].Name)
	if !n.Removed || n.Why != "a test" {
		t.Errorf("the hub remembers %+v", n)
	}
}

func TestTransfer(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	members(t, c, "three nodes that answer", func(m admin.Members) bool { return m.Tolerance() == 1 })
	for range 2 {
		var done admin.Transferred
		hubtest.Eventually(t, "a transfer", func() bool {
			var err error
			done, err = c.Leader().Hub().Transfer(context.Background(), admin.Transfer{})
			return err == nil
		})
		hubtest.Eventually(t, "leadership of "+done.To, func() bool { return c.Leader().Name == done.To })
	}
	if _, err := c.Leader().Hub().Transfer(t.Context(), admin.Transfer{Node: "n9"}); codeOf(err) != replica.RefusedUnknown {
		t.Errorf("to a stranger: %v", err)
	}
}

// A node that comes back under other addresses tells the hub, and agents are
// sent there.
func TestMovedNode(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	members(t, c, "known addresses", told)
	moved := c.Leader()
	if err := moved.Stop(); err != nil {
		t.Fatal(err)
	}
	c.Leader()
	c.Move(moved)
	c.Restart(moved)
	members(t, c, "the new address", func(m admin.Members) bool {
		for _, one := range m.Members {
			if one.Node == moved.Name {
				return one.Agents == moved.Address()
			}
		}
		return false
	})
	if err := newPublisher(c, acme).publish(t.Context(), 1, 10); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
}

// Two of three nodes are dead. The third knows nobody that leads, says so, and does
// not say how many more may fail: that would be read as a hub that works.
func TestDeadHubToleratesNothing(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	members(t, c, "three nodes that answer", func(m admin.Members) bool { return m.Tolerance() == 1 && told(m) })
	left := c.Leader()
	for _, n := range c.Nodes() {
		if n != left {
			n.Kill()
		}
	}
	hubtest.Eventually(t, "a node without a leader", func() bool {
		got, err := left.Hub().MembersAnywhere(t.Context())
		if err != nil || got.Leader != "" {
			return false
		}
		said, err := json.Marshal(got)
		if err != nil || strings.Contains(string(said), "failureTolerance") {
			t.Fatalf("a dead hub says %s, %v", said, err)
		}
		return true
	})
	err := left.Hub().RemoveMember(t.Context(), admin.Remove{Node: "n1"})
	if codeOf(err) != "leader.none" || !strings.Contains(err.Error(), "entente hub recover --dry-run -f FILE") {
		t.Errorf("an order: %v", err)
	}
}
