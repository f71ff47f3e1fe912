package agent

import (
	"strings"
	"testing"

	"github.com/entente-sync/entente/agent/admin"
	sandbox "github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/proto/wire"
)

// While a hub that lost what it had is brought what the agent holds, status,
// readiness and metrics say so, why it takes long, and how much is left; and when
// it is done, what came of it.
func TestOfferIsTold(t *testing.T) {
	op := crdttest.Op(crdt.StampOf(1000, 0), "globex", 1, "printer")
	op.Key.Pact, op.Key.Type, op.Key.Field = "tickets", "ticket", "title"
	h := &hub{entries: []wire.Entry{{Offset: 1, Register: crdt.NewRegister(op, crdt.Position{Epoch: 1, Offset: 1})}}}
	h.head.Store(1)
	h.later.Store(true)
	c := configure(t, h, sandbox.New(sandbox.Config{Name: "desk"}))
	a, stop := start(t, c)
	defer stop()
	client := admin.NewClient(c.Admin)
	at := func() admin.PactStatus {
		s, err := client.Status(t.Context())
		if err != nil || len(s.Pacts) != 1 {
			return admin.PactStatus{}
		}
		return s.Pacts[0]
	}
	eventually(t, "the feed is read", func() bool { return at().Cursor == 1 && len(a.notReady()) == 0 })
	h.epoch.Store(1)
	eventually(t, "an offer that is put off", func() bool {
		_, body := get(a, "/readyz")
		return strings.Contains(body, "pact tickets: the hub was restored or lost what it had") &&
			strings.Contains(body, "puts that off: member.older: A node of the hub is of an older version")
	})
	if p := at(); !p.Offering || p.OfferLeft != 1 || p.Offered != 0 {
		t.Errorf("status %+v", p)
	}
	wantMetrics(t, a, `entente_agent_offering{pact="tickets"} 1`, `entente_agent_offer_left_registers{pact="tickets"} 1`)
	h.later.Store(false)
	eventually(t, "the end of the offer", func() bool { p := at(); return !p.Offering && p.Offered == 1 && p.OfferLeft == 0 })
	wantMetrics(t, a, `entente_agent_offering{pact="tickets"} 0`, `entente_agent_offer_taken_registers{pact="tickets"} 1`,
		`entente_agent_offer_left_registers{pact="tickets"} 0`, `entente_agent_offer_refused_registers{pact="tickets"} 0`)
}

func wantMetrics(t *testing.T, a *Agent, lines ...string) {
	t.Helper()
	_, body := get(a, "/metrics")
	for _, line := range lines {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
}
