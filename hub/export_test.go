package hub

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/hub/command"
)

// Speak makes a node one that knows no command above newest.
func Speak(cfg *Config, newest command.Kind) { cfg.speaks = newest }

// Collectors returns what a node registers.
func Collectors(h *Hub) []prometheus.Collector { return h.metrics.collectors() }
