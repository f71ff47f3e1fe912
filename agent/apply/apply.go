// Package apply is the loop that writes to one system: it performs the writes
// and look-ups that the core asks for, reads back, and tells the core what
// happened. It never repeats a write; only the core may.
package apply

import (
	"context"
	"time"

	"github.com/entente-sync/entente/agent/capture"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/connectors"
)

// Engine is the part of the agent's engine that this loop needs. Step blocks
// until its event is on stable storage.
type Engine interface {
	Step(build func(nowMillis int64) core.Event) error
}

// Config of the loop of one system.
type Config struct {
	System    string
	Connector connectors.Connector
	Engine    Engine
	// Grace is how long a write under way may go on after the agent was told to
	// stop; 0 means 10 s. What is cut off then is settled as doubt at the next start.
	Grace time.Duration
}

// Loop writes to one system. Its methods may be called at the same time.
type Loop struct{ config Config }

// New returns a loop.
func New(c Config) *Loop {
	if c.Grace <= 0 {
		c.Grace = 10 * time.Second
	}
	return &Loop{config: c}
}

// Write performs one write and answers it with its outcome and what the system
// shows afterwards. A write that has not begun when ctx ends is left for the next
// start.
func (l *Loop) Write(ctx context.Context, w core.Write) error {
	if ctx.Err() != nil {
		return nil
	}
	call, cancel := graceful(ctx, l.config.Grace)
	defer cancel()
	receipt, err := l.config.Connector.Write(call, w.Write)
	fault := core.FaultOf(err)
	var back *connectors.Record
	if key := target(w.Write, receipt); key != "" && worthReading(fault) {
		if record, err := l.config.Connector.Read(call, key); err == nil {
			back = &record
		} // without a read-back the core asks for a read of its own
	}
	ahead := capture.Ahead(l.config.Connector)
	return l.config.Engine.Step(func(now int64) core.Event {
		return core.Written{
			NowMillis: now, System: w.System, Intent: w.Intent,
			Receipt: receipt, Fault: fault, Record: back, ClockAhead: ahead,
		}
	})
}

// Find performs one look-up of a correlation key and answers it.
func (l *Loop) Find(ctx context.Context, f core.Find) error {
	var keys []connectors.Key
	err := error(&connectors.Error{
		Class: connectors.ClassInvalid, System: f.System, Op: "find",
		Message: "the connector cannot look up correlation keys",
	})
	if finder, ok := l.config.Connector.(connectors.Finder); ok {
		keys, err = finder.Find(ctx, f.Correlation)
	}
	if ctx.Err() != nil {
		return nil
	}
	fault := core.FaultOf(err)
	return l.config.Engine.Step(func(now int64) core.Event {
		return core.Found{NowMillis: now, System: f.System, Intent: f.Intent, Keys: keys, Fault: fault}
	})
}

// worthReading: after a write that happened, may have, or met a moved record.
func worthReading(f *core.Fault) bool {
	return f == nil || f.Class == connectors.ClassUnknown || f.Class == connectors.ClassConflict
}

func target(w connectors.Write, r connectors.Receipt) connectors.Key {
	if w.Kind == connectors.WriteCreate {
		return r.Key
	}
	return w.Key
}

// graceful returns a context that outlives ctx by grace.
func graceful(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		retry.Sleep(call, grace)
		cancel()
	})
	return call, func() { stop(); cancel() }
}
