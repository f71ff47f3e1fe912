package hub_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/wire"
)

// readyz asks a node as a load balancer does.
func readyz(h *hub.Hub) (int, string) {
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	return w.Code, w.Body.String()
}

func reasonOf(h *hub.Hub) wire.Reason {
	var e *wire.Error
	if errors.As(h.Readyz(), &e) {
		return e.Reason
	}
	return ""
}

// A node that is told to stop sends agents elsewhere before it does.
func TestReadyDraining(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	h := c.Leader().Hub()
	hubtest.Eventually(t, "readiness", func() bool { return h.Readyz() == nil })
	if err := c.Leader().Stop(); err != nil {
		t.Fatal(err)
	}
	if reason := reasonOf(h); reason != wire.ReasonHubDraining {
		t.Errorf("a node that stops: %q, %v", reason, h.Readyz())
	}
	if code, body := readyz(h); code != http.StatusServiceUnavailable || !strings.Contains(body, "n1 stops") {
		t.Errorf("/readyz: %d %s", code, body)
	}
}

// A follower whose peers are gone knows no leader and is not ready; nothing is
// wrong with it. Once they are back it is ready again.
func TestReadyCutOff(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	leader := c.Leader()
	var follower *hubtest.Node
	for _, n := range c.Nodes() {
		if n != leader {
			follower = n
		}
	}
	h := follower.Hub()
	hubtest.Eventually(t, "a follower that is ready", func() bool { return h.Readyz() == nil })
	for _, n := range c.Nodes() {
		if n != follower {
			n.Kill()
		}
	}
	hubtest.Eventually(t, "a cut-off follower that says so", func() bool { return reasonOf(h) == wire.ReasonLeaderNone })
	if code, _ := readyz(h); code != http.StatusServiceUnavailable || h.Healthz() != nil {
		t.Errorf("/readyz: %d, healthy: %v", code, h.Healthz())
	}
	c.Restart(leader)
	hubtest.Eventually(t, "readiness once a majority is back", func() bool { return h.Readyz() == nil })
}

// A follower that was away while the log was cut learns what it missed from a
// snapshot, and is ready then.
func TestReadyAfterSnapshot(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) {
		cfg.Sizes.Trailing, cfg.Sizes.Segment = 1, 8<<10 // the log serves what its files still hold
	})
	p := newPublisher(c, acme)
	leader := c.Leader()
	away := c.Nodes()[0]
	if away == leader {
		away = c.Nodes()[1]
	}
	if err := away.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := p.publish(t.Context(), crdt.Seq(1+10*i), 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Nodes() {
		if n != away {
			if err := n.Hub().Backup(t.Context(), io.Discard); err != nil { // makes a checkpoint
				t.Fatal(err)
			}
		}
	}
	cut := c.Leader().Hub().Status().Checkpoint
	c.Restart(away)
	hubtest.Eventually(t, "a snapshot taken over", func() bool { return away.Hub().Status().Checkpoint >= cut })
	hubtest.Eventually(t, "readiness", func() bool { return away.Hub().Readyz() == nil })
	equalDigests(t, c)
	if code, body := readyz(away.Hub()); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if got := gauge(t, away.Hub(), "entente_hub_registers"); got != 200 {
		t.Errorf("%v registers of 200", got)
	}
}
