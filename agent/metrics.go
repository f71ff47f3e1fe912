package agent

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
)

// metrics of one agent. Labels come from its own configuration and from
// constants, never from what a partner or a record says.
type metrics struct {
	agent   *Agent
	notices *prometheus.CounterVec

	outbox, linked, reads, intents, doubt, holds *prometheus.Desc
	connected, heard, listed, feedLag, steps     *prometheus.Desc
	offering, offered, offerRefused, offerLeft   *prometheus.Desc
}

func newMetrics(a *Agent, r prometheus.Registerer) (*metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("entente_agent_"+name, help, labels, nil)
	}
	m := &metrics{
		agent: a,
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_agent_events_total",
			Help: "What the agent decided, by kind: edits captured, records born or created, writes settled or in doubt, holds.",
		},
			[]string{"system", "kind"}),
		outbox:   desc("outbox_ops", "Ops that the hub's feed does not cover yet.", "pact"),
		feedLag:  desc("feed_behind_offsets", "How far the agent's cursor is behind the feed's head, as last heard.", "pact"),
		offering: desc("offering", "1 while a hub that was restored, or lost what it had, is brought what this agent holds; edits wait.", "pact"),
		offered:  desc("offer_taken_registers", "Registers that a hub of this epoch took back from this agent.", "pact"),
		offerRefused: desc("offer_refused_registers",
			"Registers that it does not take back; this agent keeps them.", "pact"),
		offerLeft: desc("offer_left_registers", "Registers that are to be offered yet, at most.", "pact"),
		linked:    desc("linked_records", "Records tied to a local record.", "system"),
		reads:     desc("reads_waiting", "Records that wait to be read.", "system"),
		intents:   desc("writes_waiting", "Writes that are not settled.", "system"),
		doubt:     desc("writes_in_doubt", "Writes that may have happened and are looked up.", "system"),
		listed:    desc("last_listed_timestamp_seconds", "When the listing of a system last reached its end; 0 for never.", "system"),
		holds:     desc("holds", "Fields and records that wait for a person."),
		connected: desc("connected", "1 while a session with the hub is up."),
		heard:     desc("last_heard_timestamp_seconds", "When the hub was last heard; 0 for never."),
		steps:     desc("steps_total", "Events that the core has decided and committed."),
	}
	if err := r.Register(m.notices); err != nil {
		return nil, fmt.Errorf("agent metrics: %w", err)
	}
	if err := r.Register(m); err != nil {
		r.Unregister(m.notices)
		return nil, fmt.Errorf("agent metrics: %w", err)
	}
	return m, nil
}

// withdraw ends the scrapes: they read a store that is about to close.
func (m *metrics) withdraw(r prometheus.Registerer) {
	r.Unregister(m)
	r.Unregister(m.notices)
}

func (m *metrics) notice(n core.Notice) {
	m.notices.WithLabelValues(n.System, string(n.Kind)).Inc()
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.outbox, m.feedLag, m.linked, m.reads, m.intents, m.doubt,
		m.listed, m.holds, m.connected, m.heard, m.steps,
		m.offering, m.offered, m.offerRefused, m.offerLeft,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector: it reads the store at each scrape.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	up := m.agent.uplink.Status()
	connected := 0.0
	if up.Connected {
		connected = 1
	}
	gauge(m.connected, connected)
	gauge(m.heard, float64(m.agent.uplink.HeardUnix()))
	steps, _ := m.agent.engine.Progress()
	out <- prometheus.MustNewConstMetric(m.steps, prometheus.CounterValue, float64(steps))
	for _, s := range m.agent.config.Systems {
		gauge(m.listed, float64(m.agent.systems[s.Name].capture.ListedUnix()), s.Name)
	}
	for _, p := range m.agent.config.Pacts {
		at := up.Pacts[p.Name]
		gauge(m.feedLag, float64(at.Head-min(at.Head, at.Cursor)), string(p.Name))
	}
	err := m.agent.store.View(func(tx store.Tx) error { return m.collectStore(tx, gauge) })
	if err != nil { // a failing scrape says so instead of showing zeros
		out <- prometheus.NewInvalidMetric(m.outbox, err)
	}
}

func (m *metrics) collectStore(tx store.Tx, gauge func(*prometheus.Desc, float64, ...string)) error {
	for _, p := range m.agent.config.Pacts {
		state, err := outbox.GetState(tx, p.Name)
		if err != nil {
			return err
		}
		gauge(m.outbox, float64(state.Len), string(p.Name))
		offer, err := core.OfferOf(tx, p.Name)
		if err != nil {
			return err
		}
		open := 0.0
		if offer.Open {
			open = 1
		}
		gauge(m.offering, open, string(p.Name))
		gauge(m.offered, float64(offer.Taken), string(p.Name))
		gauge(m.offerRefused, float64(offer.Refused), string(p.Name))
		gauge(m.offerLeft, float64(offer.Left), string(p.Name))
	}
	for _, s := range m.agent.config.Systems {
		st, err := core.StatusOf(tx, s.Name)
		if err != nil {
			return err
		}
		gauge(m.linked, float64(st.Linked), s.Name)
		gauge(m.reads, float64(st.Reads), s.Name)
		gauge(m.intents, float64(st.Intents), s.Name)
		gauge(m.doubt, float64(st.InDoubt), s.Name)
	}
	holds, err := waiting(tx)
	gauge(m.holds, float64(holds))
	return err
}
