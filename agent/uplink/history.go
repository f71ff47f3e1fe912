package uplink

import (
	"context"

	"github.com/entente-sync/entente/proto/wire"
)

// History asks the hub for versions of a register of this agent's pacts. Without
// a session it answers "hub.unreachable"; nothing is asked again here.
func (l *Loop) History(ctx context.Context, span wire.Span) (wire.Timeline, error) {
	client := l.client.Load()
	if client == nil {
		return wire.Timeline{}, wire.Errorf(wire.ReasonHubUnreachable, "no session: %s", l.Status().Problem)
	}
	ctx, cancel := context.WithTimeout(ctx, l.config.SilenceMax)
	defer cancel()
	return client.History(ctx, span)
}

// AsOf asks the hub for a record of this agent's pacts as it was. Errors are as
// of History.
func (l *Loop) AsOf(ctx context.Context, at wire.Moment) (wire.Past, error) {
	client := l.client.Load()
	if client == nil {
		return wire.Past{}, wire.Errorf(wire.ReasonHubUnreachable, "no session: %s", l.Status().Problem)
	}
	ctx, cancel := context.WithTimeout(ctx, l.config.SilenceMax)
	defer cancel()
	return client.AsOf(ctx, at)
}
