package hub

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/crdt"
)

// pactsMax bounds the series that name a pact: pacts in force beyond that, in the
// order of names, are one series together.
const (
	pactsMax   = 100
	pactsOther = "other"
)

// pactMetrics say how each pact stands. Labels are pacts in force, never what a
// caller says.
type pactMetrics struct {
	hub                                  *Hub
	head, registers, lagOffsets, lagTime *prometheus.Desc
}

func newPactMetrics(h *Hub) pactMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("entente_"+name, help+" Of many pacts the last are one: other.", []string{"pact"}, nil)
	}
	return pactMetrics{
		h,
		desc("hub_pact_head_offset", "Newest offset of a pact's feed in this node's state; of several pacts the sum."),
		desc("hub_pact_registers", "Current versions of a pact in the merged state; of several pacts the sum."),
		desc("lag_offsets", "Offsets that the slowest subscriber of a pact at this node was not yet sent; none without a subscriber."),
		desc("lag_seconds", "For how long the slowest subscriber of a pact at this node has not been sent all that was there; none without a subscriber."),
	}
}

// Describe implements prometheus.Collector.
func (m pactMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.head, m.registers, m.lagOffsets, m.lagTime} {
		out <- d
	}
}

// standing is one pact, or several together.
type standing struct {
	head      crdt.Offset
	registers uint64
	served    bool
	offsets   crdt.Offset
	behind    time.Duration
}

// Collect implements prometheus.Collector.
func (m pactMetrics) Collect(out chan<- prometheus.Metric) {
	lags := m.hub.fanout.Lags() // before the heads: what was sent is never beyond them
	_, digests := m.hub.State().Digests()
	var other standing
	for i, d := range digests {
		one := standing{head: d.Head, registers: d.Registers.Count()}
		if lag, served := lags[d.Pact]; served {
			one.served = true
			if lag.Sent < d.Head {
				one.offsets, one.behind = d.Head-lag.Sent, lag.Behind
			}
		}
		if i < pactsMax {
			m.tell(out, &one, string(d.Pact))
			continue
		}
		other = standing{
			other.head + one.head, other.registers + one.registers, other.served || one.served,
			max(other.offsets, one.offsets), max(other.behind, one.behind),
		}
	}
	if len(digests) > pactsMax {
		m.tell(out, &other, pactsOther)
	}
}

func (m pactMetrics) tell(out chan<- prometheus.Metric, s *standing, pact string) {
	gauge := func(desc *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, pact)
	}
	gauge(m.head, float64(s.head))
	gauge(m.registers, float64(s.registers))
	if s.served {
		gauge(m.lagOffsets, float64(s.offsets))
		gauge(m.lagTime, s.behind.Seconds())
	}
}
