package hub_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

// limited is a pact that only format 2 can say.
func limited(name crdt.Pact) *pact.Pact {
	p := *tickets()[0]
	p.Name, p.Limits.Registers = name, 1000
	return &p
}

// offerOnce sends one part of an offer and returns its answer.
func offerOnce(ctx context.Context, client *wire.Client, o wire.Offer) (wire.BatchResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Offer(ctx)
	if err != nil {
		return wire.BatchResult{}, err
	}
	if err := stream.Send(o); err != nil {
		return wire.BatchResult{}, err
	}
	return stream.Recv()
}

// In the middle of a rolling upgrade nothing goes into the log that a member of
// an older version stops at, or takes otherwise than the others: offers, and pacts
// of format 2. When it is upgraded they are taken.
func TestOffersAndNewPactsWaitForTheOldestMember(t *testing.T) {
	var upgraded atomic.Bool
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) {
		cfg.Pacts = append(cfg.Pacts, limited("configured"))
		if filepath.Base(cfg.Dir) == "n3" && !upgraded.Load() {
			hub.Speak(cfg, command.KindTally)
		}
	})
	ctx := t.Context()
	members(t, c, "what every member says of itself", told)
	offer := wire.Offer{
		ID: 1, Pact: "tickets", Epoch: epochOf(c),
		Registers: []wire.Offered{{Op: op(acme, 1, "title"), Birth: crdt.Position{Epoch: 77, Offset: 5}}},
	}
	client := c.Client(c.Leader(), acme)
	result, err := offerOnce(ctx, client, offer)
	if err != nil || result.Results[0].Outcome != wire.OutcomeRetry || result.Results[0].Reason != wire.ReasonMemberOlder || result.RetryAfter == 0 {
		t.Fatalf("an offer beside an older member: %+v, %v", result, err)
	}
	agreed := limited("agreed").Encode()
	for _, who := range []identity.Agent{acme, globex} {
		_, err = c.Client(c.Leader(), who).OfferPact(ctx, agreed)
	}
	if wire.ReasonOf(err) != wire.ReasonMemberOlder {
		t.Fatalf("a pact that all accept, beside an older member: %v", err)
	}
	if err := newPublisher(c, acme).publish(ctx, 1, 50); err != nil { // the rest of the hub goes on
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		for _, name := range []crdt.Pact{"configured", "agreed"} {
			if info, err := n.Hub().State().Pact(name); err == nil {
				t.Errorf("%s holds pact %s version %d", n.Name, name, info.Pact.Version)
			}
		}
	}
	upgraded.Store(true)
	n3 := c.Nodes()[2]
	if err := n3.Stop(); err != nil {
		t.Fatal(err)
	}
	c.Restart(n3)
	members(t, c, "a hub whose members are of this version", func(m admin.Members) bool { return m.Tolerance() == 1 && told(m) })
	hubtest.Eventually(t, "the offer to be taken", func() bool {
		result, err := offerOnce(ctx, c.Client(c.Leader(), acme), offer)
		return err == nil && result.Results[0].Outcome == wire.OutcomeApplied
	})
	hubtest.Eventually(t, "both pacts to be in force", func() bool {
		for _, who := range []identity.Agent{acme, globex} {
			_, err = c.Client(c.Leader(), who).OfferPact(ctx, agreed)
		}
		_, missing := c.Leader().Hub().State().Pact("configured")
		return err == nil && missing == nil
	})
	equalDigests(t, c)
}
