package hub

import "github.com/prometheus/client_golang/prometheus"

// Collectors returns what a node registers.
func Collectors(h *Hub) []prometheus.Collector { return h.metrics.collectors() }
