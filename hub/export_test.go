package hub

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
)

// Speak makes a node one that knows no command above newest.
func Speak(cfg *Config, newest command.Kind) { cfg.speaks = newest }

// Hurry bounds one call to another node.
func Hurry(cfg *Config, askMax time.Duration) { cfg.askMax = askMax }

// Ask returns a client of the node at address.
func Ask(h *Hub, address string) *admin.Client { return h.ask("", address) }

// Forward hands a request on to the node at address.
func Forward(h *Hub, address string, w http.ResponseWriter, r *http.Request) error {
	return h.forward("", address, w, r)
}

// Collectors returns what a node registers.
func Collectors(h *Hub) []prometheus.Collector { return h.metrics.collectors() }

// Issue makes a join token valid at the leader.
func Issue(ctx context.Context, h *Hub, t admin.TokenRequest) error { return h.issue(ctx, t) }

// EnrolRaw answers an enrolment as the node port does, however often it is tried.
func EnrolRaw(ctx context.Context, h *Hub, e admin.Enrol) (admin.Enrolled, error) {
	return h.enrol(ctx, e)
}

// Unfinished refuses orders while a removed node is a member.
func Unfinished(v *replica.View, roster *state.Roster) error { return unfinished(v, roster) }
