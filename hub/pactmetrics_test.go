package hub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/hubtest"
)

// What a node says of each pact: where it stands, how far its slowest subscriber
// is, and of many pacts the last are one. Without a subscriber there is no lag.
func TestPactMetrics(t *testing.T) {
	pacts := tickets()
	for i := range 150 { // by name, tickets is behind a hundred of them
		p := *pacts[0]
		p.Name = crdt.Pact(fmt.Sprintf("pact-%03d", i))
		pacts = append(pacts, &p)
	}
	c := hubtest.Start(t, 1, pacts, nil)
	h := c.Leader().Hub()
	if err := newPublisher(c, acme).publish(t.Context(), 1, 7); err != nil { // to tickets
		t.Fatal(err)
	}
	feed, err := c.Client(c.Nodes()[0], acme).Subscribe(t.Context(), "pact-007", crdt.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Recv(); err != nil {
		t.Fatal(err)
	}
	text := served(h)
	for _, want := range []string{
		`entente_hub_pact_head_offset{pact="pact-007"} 0`, `entente_hub_pact_registers{pact="other"} 7`,
		`entente_lag_offsets{pact="pact-007"} 0`, `entente_lag_seconds{pact="pact-007"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	for name, want := range map[string]int{"hub_pact_head_offset": 101, "hub_pact_registers": 101, "lag_offsets": 1, "lag_seconds": 1} {
		if n := strings.Count(text, "\nentente_"+name+"{"); n != want {
			t.Errorf("%d series of %s for 151 pacts, want %d", n, name, want)
		}
	}
}
