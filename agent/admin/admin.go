// Package admin is the only way into a running agent: the verbs of package
// adminhttp that an agent has, for the command line.
//
//	GET  /v1/status         Status
//	GET  /v1/holds          []Hold
//	GET  /v1/holds/causes   []Cause
//	POST /v1/holds/pick     HoldsPicked -> []Hold
//	POST /v1/holds/handle   HoldVerb -> HoldsHandled
//	POST /v1/holds/release  Release -> 204
//	POST /v1/conflicts      ConflictsAsked -> []Conflict
//	POST /v1/restore        Restore -> Restoration
//	GET  /v1/jobs           []Job
//	POST /v1/jobs/start     JobStart -> []Job
//	POST /v1/jobs/tell      JobTell -> []Job
//	POST /v1/poll           nothing -> 204: list every system now
package admin

import (
	"context"
	"net/http"

	"github.com/entente-sync/entente/proto/adminhttp"
)

const who = "agent"

// Agent is what this package asks of an agent. All methods are safe for
// concurrent use.
type Agent interface {
	Status() (Status, error)
	Holds() ([]Hold, error)
	Causes() ([]Cause, error)
	HoldsOf(HoldsPicked) ([]Hold, error)
	HandleHolds(HoldVerb) (HoldsHandled, error)
	Release(Release) error
	Conflicts(ConflictsAsked) ([]Conflict, error)
	Restore(Restore) (Restoration, error)
	Jobs() ([]Job, error)
	StartJob(JobStart) ([]Job, error)
	TellJob(JobTell) ([]Job, error)
	Poll()
}

// ErrInvalid is wrapped by errors that are the caller's fault.
var ErrInvalid = adminhttp.ErrInvalid

// Serve listens on the socket at path until ctx ends.
func Serve(ctx context.Context, path string, agent Agent) error {
	return adminhttp.Serve(ctx, path, who, Handler(agent))
}

// Handler serves the API.
func Handler(agent Agent) http.Handler {
	return adminhttp.Handler(
		adminhttp.Ask("GET /v1/status", func(context.Context) (Status, error) { return agent.Status() }),
		adminhttp.Ask("GET /v1/holds", func(context.Context) ([]Hold, error) {
			holds, err := agent.Holds()
			if holds == nil {
				holds = []Hold{}
			}
			return holds, err
		}),
		adminhttp.Ask("GET /v1/holds/causes", func(context.Context) ([]Cause, error) { return agent.Causes() }),
		adminhttp.Call("POST /v1/holds/pick", func(_ context.Context, p HoldsPicked) ([]Hold, error) { return agent.HoldsOf(p) }),
		adminhttp.Call("POST /v1/holds/handle", func(_ context.Context, v HoldVerb) (HoldsHandled, error) {
			return agent.HandleHolds(v)
		}),
		adminhttp.Tell("POST /v1/holds/release", func(_ context.Context, r Release) error { return agent.Release(r) }),
		adminhttp.Call("POST /v1/conflicts", func(_ context.Context, asked ConflictsAsked) ([]Conflict, error) {
			return agent.Conflicts(asked)
		}),
		adminhttp.Call("POST /v1/restore", func(_ context.Context, r Restore) (Restoration, error) { return agent.Restore(r) }),
		adminhttp.Ask("GET /v1/jobs", func(context.Context) ([]Job, error) { return agent.Jobs() }),
		adminhttp.Call("POST /v1/jobs/start", func(_ context.Context, j JobStart) ([]Job, error) { return agent.StartJob(j) }),
		adminhttp.Call("POST /v1/jobs/tell", func(_ context.Context, t JobTell) ([]Job, error) { return agent.TellJob(t) }),
		adminhttp.Verb{Pattern: "POST /v1/poll", Serve: func(w http.ResponseWriter, _ *http.Request) error {
			agent.Poll()
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
	)
}
