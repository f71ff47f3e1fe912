package hub_test

import (
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// corrupt changes one register in one node's memory, which no checksum sees.
func corrupt(t *testing.T, h *hub.Hub, epoch crdt.Epoch) {
	t.Helper()
	rogue := other
	rogue.Site = globex.Site
	wrong := op(rogue, 1, "title")
	wrong.Value = crdt.Plain(value.Text("not what it was"))
	result := h.State().Apply(h.State().Index()+1, command.Entry{
		TimeMillis: time.Now().UnixMilli(), DriftMaxMillis: 1000, Commands: []command.Command{&command.Publish{
			Site: rogue.Site, Agent: rogue.Name, Pact: "tickets", Epoch: epoch, Ops: []crdt.Op{wrong},
		}},
	})
	if result.Skipped || len(result.Commands[0].Ops) != 1 || result.Commands[0].Ops[0].Outcome != state.OutcomeApplied {
		t.Fatalf("%+v", result)
	}
}

// A node is away and the other two differ. Whoever is asked whom to believe can
// say so: the orders that end the dispute are taken during it.
func TestDisputeIsEndedByOrders(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) { cfg.Timing.Audit = 50 * time.Millisecond })
	ctx := t.Context()
	p := newPublisher(c, acme)
	if err := p.publish(ctx, 1, 10); err != nil {
		t.Fatal(err)
	}
	members(t, c, "three nodes that answer", func(m admin.Members) bool { return m.Tolerance() == 1 && told(m) })
	equalDigests(t, c)
	right := c.Leader()
	var wrong, missing *hubtest.Node
	for _, n := range c.Nodes() {
		switch {
		case n == right:
		case missing == nil:
			missing = n
		default:
			wrong = n
		}
	}
	missing.Kill()
	corrupt(t, wrong.Hub(), p.epoch)
	hubtest.Eventually(t, "a dispute", func() bool {
		result, err := publishOnce(ctx, c.Client(right, acme), batch(acme, p.epoch, 11, 1))
		return err == nil && result.Results[0].Reason == wire.ReasonHubReadonly
	})
	for _, n := range []*hubtest.Node{missing, wrong} {
		order := admin.Remove{Node: n.Name, Insist: admin.Insist{Force: true, Reason: "a test"}}
		hubtest.Eventually(t, "the removal of "+n.Name, func() bool {
			leader := c.Leader()
			if leader != right {
				_, _ = leader.Hub().Transfer(ctx, admin.Transfer{Node: right.Name})
				return false
			}
			return leader.Hub().RemoveMember(ctx, order) == nil
		})
	}
	if err := p.publish(ctx, 11, 10); err != nil {
		t.Fatal(err)
	}
}
