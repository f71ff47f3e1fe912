package connectors

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Settings is what an agent hands to Spec.Open.
type Settings struct {
	// Name of the system in the agent's configuration; a metric label.
	Name string
	// URL of the system's API root.
	URL string
	// Scope narrows what is synced, in the connector's own words
	// ("project": "sync").
	Scope map[string]string
	// Options are the connector's extras ("correlation_field": "Entente key").
	Options map[string]string
	// Credential authenticates; it prints as ***.
	Credential Secret
	// RatePerSecond bounds the calls of this credential; 0 means the
	// connector's default.
	RatePerSecond float64
	// Timeout bounds one call; 0 means 30 s.
	Timeout time.Duration
	// AllowPrivate lets URL's host name resolve to loopback or private addresses.
	// Without it only an address that URL itself states, or localhost, may be one.
	// Link-local and metadata addresses are never reached.
	AllowPrivate bool
	// Transport dials; nil means the shared HTTP core's own.
	Transport http.RoundTripper
	// Now is the clock, for rate limits and clock calibration; nil means time.Now.
	Now func() time.Time
	// Log never receives field values or secrets; nil discards.
	Log *slog.Logger
	// Metrics registers the HTTP core's metrics; nil keeps them private.
	Metrics prometheus.Registerer
}
