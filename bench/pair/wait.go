package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entente-sync/entente/agent/admin"
)

// ErrNotSettled says that the pair did not come to rest in time.
var ErrNotSettled = errors.New("the pair did not settle")

// settledFor is how long nothing may wait anywhere: longer than both agents'
// polls and the connectors' overlaps.
const settledFor = 4 * time.Second

// Settle waits until both agents have been idle for a while: connected, at the
// head of the feed, with nothing to read, write or publish.
func (p *Pair) Settle(ctx context.Context) error {
	var since time.Time
	var busy string
	for {
		busy = ""
		for _, site := range []string{Acme, Globex} {
			status, err := p.Agent(site).Status(ctx)
			if err != nil {
				busy = fmt.Sprintf("%s: %v", site, err)
			} else if reason := waits(&status); reason != "" {
				busy = site + ": " + reason
			}
		}
		switch {
		case busy != "":
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > settledFor:
			return nil
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %s", ErrNotSettled, busy)
		}
	}
}

// waits says what an agent still has to do, "" if nothing.
func waits(s *admin.Status) string {
	switch {
	case !s.Ready:
		return fmt.Sprint(s.Problems)
	case !s.Hub.Connected:
		return "no hub: " + s.Hub.Problem
	}
	for _, pact := range s.Pacts {
		if pact.Cursor < pact.Head || pact.Outbox > 0 {
			return fmt.Sprintf("feed %d of %d, outbox %d", pact.Cursor, pact.Head, pact.Outbox)
		}
	}
	for _, system := range s.Systems {
		if system.Reads+system.Intents > 0 {
			return fmt.Sprintf("%d reads, %d writes (%d in doubt)", system.Reads, system.Intents, system.InDoubt)
		}
	}
	return ""
}

// Linked waits until a site has tied at least n records.
func (p *Pair) Linked(ctx context.Context, site string, n int) error {
	for {
		status, err := p.Agent(site).Status(ctx)
		if err == nil && len(status.Systems) == 1 && status.Systems[0].Linked >= n {
			return nil
		}
		if waitErr := sleep(ctx, 50*time.Millisecond); waitErr != nil {
			return fmt.Errorf("%s never linked %d records: %w", site, n, errors.Join(waitErr, err))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
