package httpcore

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/connectors"
)

// metrics of all systems of one registry. Labels: the configured system name,
// read or write, and a class or "ok". Nothing else.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	throttle *prometheus.CounterVec
	clock    *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	return &metrics{
		requests: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_connector_requests_total",
			Help: "HTTP requests to a business system, by verb (read, write) and outcome (ok or error class).",
		}, []string{"system", "verb", "class"})),
		seconds: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "entente_connector_request_seconds",
			Help:    "Time from sending a request to having read its answer.",
			Buckets: []float64{.005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"system", "verb"})),
		throttle: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "entente_ratelimit_wait_seconds_total",
			Help: "Time that requests waited for the rate limit or a Retry-After.",
		}, []string{"system"})),
		clock: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "entente_clock_offset_seconds",
			Help: "How far the system's clock is ahead of the agent's.",
		}, []string{"system"})),
	}
}

// register returns c, or its twin that another client registered before.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	err := r.Register(c)
	var twin prometheus.AlreadyRegisteredError
	if errors.As(err, &twin) {
		if old, ok := twin.ExistingCollector.(C); ok {
			return old
		}
	}
	return c
}

func (m *metrics) done(system string, r Request, e *connectors.Error, took time.Duration) {
	verb, class := "write", "ok"
	if r.isRead() {
		verb = "read"
	}
	if e != nil {
		class = string(e.Class)
	}
	m.requests.WithLabelValues(system, verb, class).Inc()
	m.seconds.WithLabelValues(system, verb).Observe(took.Seconds())
}

func (m *metrics) waited(system string, d time.Duration) {
	if d > 0 {
		m.throttle.WithLabelValues(system).Add(d.Seconds())
	}
}

func (m *metrics) offset(system string, d time.Duration) {
	m.clock.WithLabelValues(system).Set(d.Seconds())
}
