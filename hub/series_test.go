package hub_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Names that a client makes up cost no series: 100,000 pacts in greetings, and
// hundreds in publishes and as sites. What is served also reads as Prometheus
// wants it.
func TestSeriesAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) { cfg.Metrics = registry })
	node := c.Leader()
	if err := newPublisher(c, acme).publish(t.Context(), 1, 7); err != nil {
		t.Fatal(err)
	}
	const names, publishes, sites = 100_000, 300, 20
	client := c.Client(node, acme)
	for from := 0; from < names; from += wire.PactsMax {
		hello := wire.Hello{Incarnation: 1}
		for i := range min(wire.PactsMax, names-from) {
			hello.Pacts = append(hello.Pacts, crdt.Pact(fmt.Sprintf("hostile-%d", from+i)))
		}
		if w, err := client.Greet(t.Context(), hello); err != nil || len(w.Pacts) != len(hello.Pacts) {
			t.Fatalf("greeting at %d: %d answers, %v", from, len(w.Pacts), err)
		}
	}
	refused := 0
	for i := range publishes {
		b := batch(acme, epochOf(c), 8, 1)
		b.Pact = crdt.Pact(fmt.Sprintf("hostile-%d", i))
		b.Ops[0].Key.Pact = b.Pact
		r, err := publishOnce(t.Context(), client, b)
		if err != nil || r.Results[0].Outcome != wire.OutcomeApplied {
			refused++
		}
	}
	for i := range sites {
		who := identity.Agent{Site: crdt.Site(fmt.Sprintf("site-%d", i)), Name: "main"}
		if r, err := publishOnce(t.Context(), c.Client(node, who), batch(who, epochOf(c), 1, 1)); err != nil || r.Results[0].Outcome != wire.OutcomeApplied {
			refused++
		}
	}
	if refused != publishes+sites {
		t.Errorf("%d of %d made-up names were refused", refused, publishes+sites)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	series := 0
	for _, f := range families {
		series += len(f.GetMetric())
	}
	const most = 72 // a few dozen of one series each, and the outcomes that were met
	if series > most || series < 20 {
		t.Errorf("%d series, want 20 to %d", series, most)
	}
	t.Logf("%d series after %d names", series, names)
}
