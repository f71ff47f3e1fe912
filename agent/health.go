package agent

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/entente-sync/entente/proto/wire"
)

// Health follows progress, not the process: these are the longest silences that
// still count as progress.
const (
	stuckMax    = 30 * time.Second // one step
	unheardMax  = 60 * time.Second // from the hub
	unlistedMin = 60 * time.Second // from a system, or ten polls if that is longer
)

// Handler serves /metrics, /healthz and /readyz. gatherer is what was given as
// Config.Metrics.
func (a *Agent) Handler(gatherer prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { report(w, a.unhealthy()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { report(w, a.notReady()) })
	return mux
}

// unhealthy lists why a restart might help.
func (a *Agent) unhealthy() []string {
	if a.engine.Failed() {
		return []string{"the agent stopped: its log says why"}
	}
	if _, stuck := a.engine.Progress(); stuck > stuckMax {
		return []string{fmt.Sprintf("a step has been running for %s: is the disk stalled?", stuck.Round(time.Second))}
	}
	return nil
}

// notReady lists what keeps edits from crossing now.
func (a *Agent) notReady() []string {
	problems := a.unhealthy()
	up := a.uplink.Status()
	silent := a.config.Now().Sub(time.Unix(a.uplink.HeardUnix(), 0))
	switch {
	case !up.Connected:
		problems = append(problems, "no session with the hub: "+up.Problem)
	case silent > unheardMax:
		problems = append(problems, fmt.Sprintf("the hub has been silent for %s", silent.Round(time.Second)))
	}
	for _, p := range a.config.Pacts {
		at := up.Pacts[p.Name]
		switch {
		case at.Refused != "":
			problems = append(problems, fmt.Sprintf("pact %s: refused: %s", p.Name, at.Refused))
		case up.Connected && at.Offering:
			why := ""
			if at.Delayed != "" {
				why = fmt.Sprintf("; it puts that off: %s: %s", at.Delayed, wire.Describe(at.Delayed).Sentence)
			}
			problems = append(problems, fmt.Sprintf(
				"pact %s: the hub was restored or lost what it had, and is brought what this agent holds; edits wait until it has all of it%s", p.Name, why))
		case up.Connected && at.Delayed != "":
			problems = append(problems, fmt.Sprintf("pact %s: the hub does not take our ops now, they wait: %s: %s",
				p.Name, at.Delayed, wire.Describe(at.Delayed).Sentence))
		case up.Connected && at.Cursor < at.Head:
			problems = append(problems, fmt.Sprintf("pact %s: reading the feed, at %d of %d", p.Name, at.Cursor, at.Head))
		}
	}
	for _, s := range a.config.Systems {
		listed := a.systems[s.Name].capture.ListedUnix()
		if since := a.config.Now().Sub(time.Unix(listed, 0)); listed == 0 {
			problems = append(problems, fmt.Sprintf("system %s was not listed to the end yet", s.Name))
		} else if since > max(unlistedMin, 10*s.Poll) {
			problems = append(problems, fmt.Sprintf("system %s was last listed %s ago", s.Name, since.Round(time.Second)))
		}
	}
	return problems
}

func report(w http.ResponseWriter, problems []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(problems) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(strings.Join(problems, "\n") + "\n")) // the prober may be gone
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
