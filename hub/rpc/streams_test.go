package rpc

import (
	"testing"

	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// An agent that opens streams without end is stopped at the limit, pays alone,
// and leaves nothing behind.
func TestStreamsOfOneAgentAreBounded(t *testing.T) {
	s := newStreams(3)
	greedy := identity.Agent{Site: "acme", Name: "main"}
	var leaves []func()
	for range 3 {
		leave, err := s.enter(greedy)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	if _, err := s.enter(greedy); wire.ReasonOf(err) != wire.ReasonHubBusy {
		t.Fatalf("the fourth stream: %v", err)
	}
	leave, err := s.enter(identity.Agent{Site: "globex", Name: "main"})
	if err != nil {
		t.Fatalf("another agent pays for it: %v", err)
	}
	leave()
	leaves[0]()
	if leave, err = s.enter(greedy); err != nil {
		t.Fatalf("after one has ended: %v", err)
	}
	for _, leave := range append(leaves[1:], leave) {
		leave()
	}
	if len(s.open) != 0 {
		t.Fatalf("%d agents are remembered without a stream", len(s.open))
	}
}
