package hub

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/wire"
)

// Healthz says why this process should be restarted, or nil: it stopped itself,
// it leads and commits nothing though work waits, or audits pass it by. A node without a leader is
// healthy: restarting it would not help.
func (h *Hub) Healthz() error {
	s := h.replica.Status()
	if s.Stopped != nil {
		return s.Stopped
	}
	if s.Leading && s.Stalled > h.cfg.Timing.StallMax {
		return fmt.Errorf("this node leads, and has committed nothing for %s though entries wait", s.Stalled)
	}
	if s.Unaudited >= replica.AuditMissesMax {
		return fmt.Errorf("the last %d audits did not compare this node's state with a majority's: a check that cannot run counts as failed", s.Unaudited)
	}
	return nil
}

// Readyz says why agents should not be sent here, or nil: no leader is known,
// the hub is not founded yet, this node is behind, or it is about to stop.
func (h *Hub) Readyz() error {
	if err := h.Healthz(); err != nil {
		return err
	}
	if h.draining.Load() {
		return wire.Errorf(wire.ReasonHubDraining, "node %s stops", h.self.Name)
	}
	if refused := h.ready(); refused != nil {
		return refused
	}
	return nil
}

// ready is Readyz in terms of the protocol.
func (h *Hub) ready() *wire.Error {
	s := h.replica.Status()
	id, _ := h.State().Hub()
	switch {
	case s.Stopped != nil:
		return wire.Errorf(wire.ReasonHubReadonly, "this node has stopped itself")
	case s.Leader == "":
		return wire.Errorf(wire.ReasonLeaderNone, "node %s knows no leader", h.self.Name)
	case !s.CaughtUp || id.IsZero():
		return wire.Errorf(wire.ReasonHubBusy, "node %s is catching up", h.self.Name)
	}
	return nil
}

func (h *Hub) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.cfg.Metrics, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", answer(h.Healthz))
	mux.Handle("GET /readyz", answer(h.Readyz))
	return mux
}

func answer(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := check(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}
