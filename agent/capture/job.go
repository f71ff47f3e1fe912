package capture

import (
	"context"

	"github.com/entente-sync/entente/agent/core"
)

// List takes one page of a job's own listing, and answers it.
func (l *Loop) List(ctx context.Context, e core.List) error {
	page, err := l.config.Connector.Changes(ctx, e.Cursor, 0)
	if err == nil {
		err = checkPage(e.Cursor, &page)
	}
	if ctx.Err() != nil {
		return nil // asked for again when the agent is opened
	}
	var fault *core.Fault
	if err != nil {
		fault = core.FaultOf(asConnectorError(e.System, err))
	}
	return l.config.Engine.Step(func(now int64) core.Event {
		return core.JobListed{
			NowMillis: now, System: e.System, Job: e.Job, Refs: page.Refs, Next: page.Next, More: page.More, Fault: fault,
		}
	})
}
