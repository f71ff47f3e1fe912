package store

import (
	"bytes"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// What an agent offered is in the sums that a scrub and a backup compare: neither
// may take a hub that came back from its agents for a damaged one.
func TestOfferedIsNoDamage(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 20)
	author := crdt.Author{Site: "acme", Agent: "main", Incarnation: 2}
	res := h.apply(&command.Offer{
		Site: "acme", Agent: "main", Pact: "tickets", Epoch: epoch,
		End: &command.OfferEnd{After: crdt.OpID{Author: author, Seq: 7}},
	})
	if r := res.Commands[0].Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("offer: %s %s", r.Outcome, r.Reason)
	}
	if _, err := CheckSnapshot(bytes.NewReader(snapshot(t, h))); err != nil {
		t.Error(err)
	}
	s := mustOpen(t, t.TempDir())
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	if _, err := scrubAll(s, func() {}); err != nil {
		t.Error(err)
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
}
