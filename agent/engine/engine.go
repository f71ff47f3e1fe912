// Package engine runs the pure core: one event at a time, one transaction an
// event, and its effects only after that transaction is on stable storage.
package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
)

// ErrStopped is wrapped by every Step after the first failed one: an agent whose
// store failed knows no longer what it knows, and must be opened again.
var ErrStopped = errors.New("agent engine stopped")

// Sink takes the effects of one committed step, in order. It must not block
// and must not step.
type Sink func(core.Effect)

// Config of an engine.
type Config struct {
	Store store.Store
	Core  *core.Config
	Now   func() time.Time
	Sink  Sink
}

// Engine steps the core. It is safe for concurrent use.
type Engine struct {
	config Config

	mu     sync.Mutex // held during a step
	err    error      // why the engine stopped
	failed chan struct{}

	begunMillis atomic.Int64 // of the step under way, 0 between steps
	steps       atomic.Uint64
}

// New returns an engine; nothing happens before the first Step.
func New(c Config) *Engine {
	return &Engine{config: c, failed: make(chan struct{})}
}

// Step runs the event that build makes of the clock's reading, commits what the
// core decided, and hands the effects on. An error leaves the store as it was and
// stops the engine for good: the same event would fail again.
func (e *Engine) Step(build func(nowMillis int64) core.Event) error {
	_, err := e.Ask(build)
	return err
}

// Ask is Step; it returns the effects, too, which the sink took already.
func (e *Engine) Ask(build func(nowMillis int64) core.Event) ([]core.Effect, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return nil, e.err
	}
	now := e.config.Now().UnixMilli()
	e.begunMillis.Store(now)
	defer e.begunMillis.Store(0)

	var effects []core.Effect
	event := build(now)
	err := e.config.Store.Update(func(tx store.Tx) error {
		var err error
		effects, err = core.Step(tx, e.config.Core, event)
		return err
	})
	if err != nil {
		e.err = fmt.Errorf("%w: step %T: %w", ErrStopped, event, err)
		close(e.failed)
		return nil, e.err
	}
	e.steps.Add(1)
	for _, effect := range effects {
		e.config.Sink(effect)
	}
	return effects, nil
}

// Failed reports whether the engine stopped; it never waits for a step.
func (e *Engine) Failed() bool {
	select {
	case <-e.failed:
		return true
	default:
		return false
	}
}

// View reads the store on one consistent state.
func (e *Engine) View(fn func(store.Tx) error) error { return e.config.Store.View(fn) }

// Wait returns when ctx ends (nil) or the engine stopped (why).
func (e *Engine) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.failed:
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.err
	}
}

// Progress says how far the engine is: steps made since it began, and for how
// long the step under way has been running (0 between steps).
func (e *Engine) Progress() (steps uint64, stuck time.Duration) {
	if begun := e.begunMillis.Load(); begun != 0 {
		stuck = max(0, time.Duration(e.config.Now().UnixMilli()-begun)*time.Millisecond)
	}
	return e.steps.Load(), stuck
}
