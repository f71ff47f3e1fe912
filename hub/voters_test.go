package hub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/hubtest"
)

// Five nodes lose two, the leader first, and go on; what comes back catches up.
func TestFiveNodesLoseTwo(t *testing.T) {
	c := hubtest.Start(t, 5, tickets(), nil)
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 50); err != nil {
		t.Fatal(err)
	}
	members(t, c, "five voters", func(m admin.Members) bool { return m.Tolerance() == 2 && told(m) })
	var dead []*hubtest.Node
	for i := range 2 {
		victim := c.Leader()
		victim.Kill()
		dead = append(dead, victim)
		if err := p.publish(t.Context(), crdt.Seq(51+50*i), 50); err != nil {
			t.Fatal(err)
		}
	}
	members(t, c, "a hub that bears no further failure", func(m admin.Members) bool { return m.Tolerance() == 0 })
	equalDigests(t, c)
	for _, n := range dead {
		c.Restart(n)
	}
	members(t, c, "five voters again", func(m admin.Members) bool { return m.Tolerance() == 2 })
	equalDigests(t, c)
	if info, err := c.Leader().Hub().State().Pact("tickets"); err != nil || info.Digest.Registers.Count() != 150 {
		t.Errorf("%d registers after 150 acks, %v", info.Digest.Registers.Count(), err)
	}
}

// A node that has no vote yet serves the feed: all that was acked, in order. A
// learner votes soon, so it may take more than one to find one in time.
func TestLearnerServesTheFeed(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) {
		cfg.Timing.Heartbeat = 3 * time.Second // a learner stays one for half of that at least
	})
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 50); err != nil {
		t.Fatal(err)
	}
	info, err := c.Leader().Hub().State().Pact("tickets")
	if err != nil {
		t.Fatal(err)
	}
	learns := func(name string) bool {
		m, err := c.Leader().Hub().Members(t.Context())
		return err == nil && slices.Contains(strings.Fields(roles(m)), name+"="+admin.RoleLearner)
	}
	for i := range 4 {
		n := c.Join(fmt.Sprintf("n%d", 4+i), "")
		hubtest.Eventually(t, "the pact at "+n.Name, func() bool {
			got, err := n.Hub().State().Pact("tickets")
			return err == nil && got.Head >= info.Head
		})
		got := collect(t, c.Client(n, acme), crdt.Position{}, info.Head)
		if !learns(n.Name) {
			continue
		}
		if len(got) != 50 {
			t.Errorf("a learner's feed has %d of 50 ops", len(got))
		}
		for seq, offset := range p.acked {
			if got[crdt.OpID{Author: author(acme), Seq: seq}] != offset {
				t.Errorf("op %d is not at %d, where it was acked", seq, offset)
			}
		}
		return
	}
	t.Error("four nodes had a vote before anybody could ask them")
}
