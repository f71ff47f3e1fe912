package rpc

import (
	"testing"
	"time"

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
	if len(s.open) != 0 || len(s.ends) != 0 {
		t.Fatalf("%d agents are remembered without a stream", len(s.open))
	}
}

// Of a site with several agents the certificate that ends first counts, and only
// while that agent has a stream open; a renewed one replaces the old.
func TestSoonestCertificate(t *testing.T) {
	s := newStreams(2)
	day := func(n int) time.Time { return time.Unix(int64(n)*86400, 0) }
	first, second := identity.Agent{Site: "acme", Name: "main"}, identity.Agent{Site: "acme", Name: "spare"}
	soonest := func(want time.Time) {
		t.Helper()
		if got := s.soonest()["acme"]; !got.Equal(want) {
			t.Errorf("the first ends %v, want %v", got, want)
		}
	}
	s.shown(first, day(1)) // without a stream: nothing is kept
	if len(s.ends) != 0 {
		t.Error("an agent without a stream is remembered")
	}
	var leaves []func()
	for _, who := range []identity.Agent{first, second} {
		leave, err := s.enter(who)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	s.shown(first, day(10))
	s.shown(second, day(20))
	soonest(day(10))
	s.shown(first, day(375))
	soonest(day(20))
	leaves[1]()
	soonest(day(375))
	leaves[0]()
	if all := s.soonest(); len(all) != 0 {
		t.Errorf("nobody is there, and there is %v", all)
	}
}
