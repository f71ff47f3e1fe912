package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/entente-sync/entente/agent/bound"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

const agentName crdt.AgentName = "main"

// agent is one agent's process: the core, its store, and a driver that does one
// thing at a time, when the scheduler says so.
type agent struct {
	w       *world
	cfg     *core.Config
	store   *store.Memory
	desks   []*desk
	skew    time.Duration
	session *session

	tasks   []task // calls of connectors that wait to be made
	answers []answer
	crashes int
}

// task is one call to a system; it ends in another call or in an answer.
type task func() (next task, done *answer)

// answer is an event that waits to be stepped.
type answer struct {
	event func(nowMillis int64) core.Event
	after func() // once it is committed, may be nil
}

// errCrash ends a transaction as a crash before its commit does.
var errCrash = errors.New("crash")

func newAgent(w *world, site crdt.Site, desks []*desk, skew time.Duration) *agent {
	a := &agent{w: w, store: store.NewMemory(), desks: desks, skew: skew, cfg: &core.Config{
		Site: site, Agent: agentName, Pacts: map[crdt.Pact]*pact.Pact{pactName: w.agreed.pact},
		Systems: map[string]core.System{}, BackoffMax: 4 * time.Second,
	}}
	for _, d := range desks {
		d.agent = a
		a.cfg.Systems[d.name] = core.System{Capabilities: d.sys.Capabilities(), Binding: bound.To(d.binding)}
	}
	return a
}

func (a *agent) site() crdt.Site { return a.cfg.Site }

func (a *agent) clock() int64 {
	now := a.w.nowMillis + a.skew.Milliseconds()
	if a.w.plan.runaway && a == a.w.agents[0] {
		now += 60_000
	}
	return now
}

// open starts the process: nothing in memory survived.
func (a *agent) open() {
	a.tasks, a.answers = nil, nil
	a.hangUp()
	a.step(core.Opened{NowMillis: a.clock(), Entropy: [32]byte{byte(len(a.site())), a.site()[0]}})
}

func (a *agent) crash(where string) {
	a.w.trace.logf(a.w.nowMillis, "%s CRASH %s", a.site(), where)
	a.crashes++
	a.open()
}

// step runs one event as the engine does; it reports whether it was committed.
func (a *agent) step(ev core.Event) bool {
	t := a.w.trace
	var effects []core.Effect
	a.w.steps++
	dies := a.w.stormy(a.w.plan.crashes, 250)
	err := a.store.Update(func(tx store.Tx) (err error) {
		if effects, err = core.Step(hashed{tx, t}, a.cfg, ev); err == nil && dies {
			return errCrash
		}
		return err
	})
	if errors.Is(err, errCrash) {
		a.crash(fmt.Sprintf("before the commit of %T", ev))
		return false
	}
	if err != nil {
		a.w.fail("core", nil, "%s: %v", a.site(), err)
	}
	if t.keep {
		t.logf(a.w.nowMillis, "%s <- %s", a.site(), a.w.tell(a, ev))
	}
	for _, e := range effects {
		if t.keep {
			t.logf(a.w.nowMillis, "%s    -> %s", a.site(), a.w.tell(a, e))
		}
		if a.w.stormy(a.w.plan.crashes, 400) {
			a.crash("before an effect")
			return true
		}
		a.do(e)
	}
	return true
}

func (a *agent) desk(system string) *desk {
	i := slices.IndexFunc(a.desks, func(d *desk) bool { return d.name == system })
	if i < 0 {
		a.w.fail("core", nil, "%s: effect for unknown system %q", a.site(), system)
	}
	return a.desks[i]
}

func (a *agent) do(e core.Effect) {
	switch e := e.(type) {
	case core.Publish:
		if a.session != nil && e.Rewind {
			a.session.rewind()
		}
	case core.Read:
		a.tasks = append(a.tasks, a.desk(e.System).read(e.Key))
	case core.Write:
		a.tasks = append(a.tasks, a.desk(e.System).write(e))
	case core.Find:
		a.tasks = append(a.tasks, a.desk(e.System).find(e))
	}
}

// work does one of the things that wait; false if there is none.
func (a *agent) work() bool {
	n := len(a.tasks) + len(a.answers)
	if n == 0 {
		return false
	}
	i := a.w.rng.IntN(n)
	if i < len(a.answers) {
		ans := a.answers[i]
		a.answers = slices.Delete(a.answers, i, i+1)
		if a.step(ans.event(a.clock())) && ans.after != nil {
			ans.after()
		}
		return true
	}
	i -= len(a.answers)
	next, done := a.tasks[i]()
	if next != nil {
		a.tasks[i] = next
		return true
	}
	a.tasks = slices.Delete(a.tasks, i, i+1)
	a.answers = append(a.answers, *done)
	return true
}

// list takes one page of a system's changes.
func (a *agent) list(d *desk, limit int) {
	var cursor connectors.Cursor
	a.view(func(tx store.Tx) (err error) { cursor, err = core.SourceCursor(tx, d.name); return err })
	page, err := d.conn.Changes(context.Background(), cursor, limit)
	if err == nil {
		a.step(core.Listed{NowMillis: a.clock(), System: d.name, Refs: page.Refs, Next: page.Next, More: page.More})
	}
}

func (a *agent) view(fn func(store.Tx) error) {
	if err := a.store.View(fn); err != nil {
		a.w.fail("core", nil, "%s: view: %v", a.site(), err)
	}
}

// waiting reports whether ops wait for the hub.
func (a *agent) waiting() bool {
	busy := false
	a.view(func(tx store.Tx) error {
		n, err := a.pending(tx)
		busy = n > 0
		return err
	})
	return busy
}
