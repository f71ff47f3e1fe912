package uplink

import (
	"context"
	"errors"
	"time"
)

// errAsked ends a session for a while.
var errAsked = errors.New("something is to be done between two sessions")

// errand is something to do between two sessions.
type errand struct {
	do   func() error
	done chan error
}

// Between ends the session, does what is asked when nothing of it is under way
// any more, and begins another. do may step, and its failure is the agent's.
func (l *Loop) Between(ctx context.Context, do func() error) error {
	a := &errand{do, make(chan error, 1)}
	select {
	case l.asks <- a:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitAsk ends a session when something is asked.
func (l *Loop) awaitAsk(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case l.asked = <-l.asks:
		return errAsked
	}
}

// answer does what was asked, if anything was.
func (l *Loop) answer() error {
	a := l.asked
	if a == nil {
		return nil
	}
	l.asked = nil
	err := a.do()
	a.done <- err
	return err
}

// sleep waits between two sessions, at most until something is asked.
func (l *Loop) sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case l.asked = <-l.asks:
	}
}
