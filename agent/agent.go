package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/apply"
	"github.com/entente-sync/entente/agent/capture"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/engine"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/uplink"
	"github.com/entente-sync/entente/crdt"
)

// Agent is one open agent. Open it, Run it once, Close it.
type Agent struct {
	config  Config
	store   *store.Badger
	engine  *engine.Engine
	memory  memory
	uplink  *uplink.Loop
	waker   *waker
	metrics *metrics
	systems map[string]*system

	// group and runs are set by Run before the first step.
	group *errgroup.Group
	runs  context.Context
}

// system is the pair of loops around one system.
type system struct {
	capture *capture.Loop
	apply   *apply.Loop
}

// Open opens the store and puts the parts together; nothing is dialled and no
// system is called before Run.
func Open(c Config) (*Agent, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("agent configuration: %w", err)
	}
	c.setDefaults()
	db, err := store.Open(filepath.Join(c.Dir, "store"))
	if err != nil {
		return nil, err
	}
	a := &Agent{config: c, store: db, memory: memory{db}, systems: map[string]*system{}}
	a.engine = engine.New(engine.Config{Store: db, Core: c.core(), Now: c.Now, Sink: a.dispatch})
	a.waker = newWaker(c.Now, a.engine.Step)
	pacts := make([]crdt.Pact, len(c.Pacts))
	for i, p := range c.Pacts {
		pacts[i] = p.Name
	}
	a.uplink = uplink.New(uplink.Config{
		Addresses: c.Hub, Dial: c.Dial, Software: c.Software, Pacts: pacts,
		Engine: a.engine, Memory: a.memory, Documents: a.checkDocument, Document: a.document, Now: c.Now, Log: c.Log,
	})
	for _, s := range c.Systems {
		a.systems[s.Name] = &system{
			capture: capture.New(capture.Config{
				System: s.Name, Connector: s.Connector, Poll: s.Poll,
				Engine: a.engine, Cursors: a.memory, Now: c.Now, Log: c.Log,
			}),
			apply: apply.New(apply.Config{System: s.Name, Connector: s.Connector, Engine: a.engine}),
		}
	}
	if a.metrics, err = newMetrics(a, c.Metrics); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a, nil
}

// Run works until ctx ends, which is a graceful stop and returns nil, or until
// the store fails. Writes under way get ten seconds to finish.
func (a *Agent) Run(ctx context.Context) error {
	var opened core.Opened
	if _, err := io.ReadFull(a.config.Random, opened.Entropy[:]); err != nil {
		return fmt.Errorf("agent: no randomness: %w", err)
	}
	a.group, a.runs = errgroup.WithContext(ctx)
	a.group.Go(func() error { return a.work(opened) })
	return a.group.Wait()
}

// work begins everything. It runs within the group, so that the effects of its
// first step may join.
func (a *Agent) work(opened core.Opened) error {
	err := a.engine.Step(func(now int64) core.Event {
		opened.NowMillis = now
		return opened
	})
	if err != nil {
		return err
	}
	a.group.Go(func() error { return a.engine.Wait(a.runs) })
	a.group.Go(func() error { return a.waker.run(a.runs) })
	a.group.Go(func() error { return a.uplink.Run(a.runs) })
	for _, s := range a.systems {
		a.group.Go(func() error { return s.capture.Run(a.runs) })
	}
	if a.config.Admin != "" {
		a.group.Go(func() error { return admin.Serve(a.runs, a.config.Admin, a) })
	}
	return nil
}

// dispatch is the engine's sink. The core bounds what is under way per system.
// Calls that a stopping agent is asked for wait for its next start.
func (a *Agent) dispatch(effect core.Effect) {
	stopping := a.runs.Err() != nil
	switch e := effect.(type) {
	case core.Publish:
		a.uplink.Publish(e)
	case core.Wake:
		a.waker.ask(e.AtMillis)
	case core.Notice:
		a.metrics.notice(e)
		a.logNotice(e)
	case core.Read:
		if s := a.systems[e.System]; s != nil && !stopping {
			a.group.Go(func() error { return s.capture.Read(a.runs, e) })
		}
	case core.List:
		if s := a.systems[e.System]; s != nil && !stopping {
			a.group.Go(func() error { return s.capture.List(a.runs, e) })
		}
	case core.Write:
		if s := a.systems[e.System]; s != nil && !stopping {
			a.group.Go(func() error { return s.apply.Write(a.runs, e) })
		}
	case core.Find:
		if s := a.systems[e.System]; s != nil && !stopping {
			a.group.Go(func() error { return s.apply.Find(a.runs, e) })
		}
	}
}

func (a *Agent) logNotice(n core.Notice) {
	attrs := []any{"kind", string(n.Kind)}
	if n.System != "" {
		attrs = append(attrs, "system", n.System)
	}
	if n.Pact != "" {
		attrs = append(attrs, "pact", string(n.Pact))
	}
	if !n.Record.IsZero() {
		attrs = append(attrs, "record", n.Record.String(), "field", string(n.Field))
	}
	if n.Code != "" {
		attrs = append(attrs, "code", n.Code)
	}
	switch n.Kind {
	case core.NoticeHeld, core.NoticeRefused, core.NoticeDoubt, core.NoticeOldDisk, core.NoticeNewEpoch:
		a.config.Log.Warn("sync", attrs...)
	case core.NoticeRestored:
		a.config.Log.Info("sync", attrs...)
	default:
		a.config.Log.Debug("sync", attrs...)
	}
}

// Close releases the store and the metrics. Run must have returned.
func (a *Agent) Close() error {
	a.metrics.withdraw(a.config.Metrics)
	return a.store.Close()
}
