// Package capture is the loop that looks at one system: it lists what changed,
// reads what the core asks for, and hands both to the core. It decides nothing.
package capture

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/connectors"
)

// Engine is the part of the agent's engine that this loop needs. Step blocks
// until its event is on stable storage.
type Engine interface {
	Step(build func(nowMillis int64) core.Event) error
}

// Cursors tells where the listing of a system goes on, as it was committed.
type Cursors interface {
	Cursor(system string) (connectors.Cursor, error)
}

// Config of the loop of one system.
type Config struct {
	System    string
	Connector connectors.Connector
	// Poll is the pause between two listings that found the end; 0 means 5 s.
	Poll    time.Duration
	Engine  Engine
	Cursors Cursors
	Now     func() time.Time
	Log     *slog.Logger
}

// Loop looks at one system. Run and Read may be called at the same time.
type Loop struct {
	config     Config
	listedUnix atomic.Int64 // when the listing last reached the end
	hint       chan struct{}
}

// New returns a loop that has not begun.
func New(c Config) *Loop {
	if c.Poll <= 0 {
		c.Poll = 5 * time.Second
	}
	return &Loop{config: c, hint: make(chan struct{}, 1)}
}

// Run lists until ctx ends (nil) or a step fails. A failing system costs
// nothing but delay.
func (l *Loop) Run(ctx context.Context) error {
	backoff := retry.Backoff{Min: l.config.Poll, Max: max(l.config.Poll, time.Minute)}
	for {
		more, err := l.list(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && more:
			backoff.Reset()
			continue
		case err == nil:
			backoff.Reset()
			l.listedUnix.Store(l.config.Now().Unix())
			l.pause(ctx, l.config.Poll)
		default:
			var failure *connectors.Error
			if !errors.As(err, &failure) {
				return err
			}
			wait := backoff.Next()
			l.config.Log.Warn("listing failed; trying again, nothing is lost", "system", l.config.System,
				"class", failure.Class, "error", err, "wait", max(wait, failure.RetryAfter))
			retry.Sleep(ctx, failure.RetryAfter) // no hint cuts short what the system asked for
			l.pause(ctx, wait-failure.RetryAfter)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// list takes one page. Only errors of the connector are *connectors.Error.
func (l *Loop) list(ctx context.Context) (more bool, err error) {
	cursor, err := l.config.Cursors.Cursor(l.config.System)
	if err != nil {
		return false, err
	}
	began := l.config.Now()
	page, err := l.config.Connector.Changes(ctx, cursor, 0)
	if err == nil {
		err = checkPage(cursor, &page)
	}
	if err != nil {
		return false, asConnectorError(l.config.System, err)
	}
	took := l.config.Now().Sub(began)
	return page.More, l.config.Engine.Step(func(now int64) core.Event {
		return core.Listed{NowMillis: now, System: l.config.System, Refs: page.Refs, Next: page.Next, More: page.More, Took: took}
	})
}

// Read performs one read that the core asked for, and answers it.
func (l *Loop) Read(ctx context.Context, r core.Read) error {
	record, err := l.config.Connector.Read(ctx, r.Key)
	if ctx.Err() != nil {
		return nil // asked for again when the agent is opened
	}
	if err != nil {
		fault := core.FaultOf(err)
		return l.config.Engine.Step(func(now int64) core.Event {
			return core.Missing{NowMillis: now, System: r.System, Key: r.Key, Fault: *fault}
		})
	}
	ahead := Ahead(l.config.Connector)
	return l.config.Engine.Step(func(now int64) core.Event {
		return core.Observed{NowMillis: now, System: r.System, Record: record, ClockAhead: ahead}
	})
}

// Poke makes the loop list now.
func (l *Loop) Poke() {
	select {
	case l.hint <- struct{}{}:
	default:
	}
}

// ListedUnix returns when the listing last reached the end, in Unix seconds;
// 0 for never.
func (l *Loop) ListedUnix() int64 { return l.listedUnix.Load() }

func (l *Loop) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-l.hint:
	}
}

// Ahead returns how far the system's clock is ahead of ours, 0 if unknown.
func Ahead(c connectors.Connector) time.Duration {
	if clocked, ok := c.(connectors.Clocked); ok {
		if offset, known := clocked.ClockOffset(); known {
			return offset
		}
	}
	return 0
}

// asConnectorError makes sure that a failing connector is never taken for a
// failing agent.
func asConnectorError(system string, err error) error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return err
	}
	return &connectors.Error{Class: connectors.ClassUnavailable, System: system, Op: "list", Err: err}
}

// checkPage refuses a page that would list the same again without end.
func checkPage(cursor connectors.Cursor, page *connectors.Page) error {
	switch {
	case len(page.Next) == 0:
		return errors.New("the connector named no place to read on from")
	case page.More && bytes.Equal(page.Next, cursor):
		return errors.New("the connector announced another page at the place of this one")
	}
	return nil
}
