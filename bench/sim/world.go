package sim

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
)

// startMillis is when every world begins: 2026-01-01.
const startMillis int64 = 1_767_225_600_000

// Lab holds what all runs share. It is immutable; runs may go on beside each other.
type Lab struct{ agreed *agreed }

// NewLab compiles the pact and the bindings.
func NewLab() (*Lab, error) {
	a, err := load()
	return &Lab{a}, err
}

// Options of a run.
type Options struct {
	// Keep the trace as text; the run is the same.
	Keep bool
	// Script leaves things out.
	Script Script
}

// Result is what became of a run.
type Result struct {
	Seed  uint64
	World string // what the seed drew, for people
	// Hash is over everything that was stored, logged and written, in order.
	Hash      [32]byte
	Violation *Violation // nil if every invariant held
	Story     []string   // of the record concerned, if the trace was kept
	Edits     int        // what people did
	Ops       int        // entries in the hub's log
	Writes    int        // calls that changed systems, or were to
	Steps     int        // events that agents' cores took

	actions, mishaps int // that a script can leave out
}

// Violation is one broken invariant. Its number is that of DESIGN.md section 8.
type Violation struct {
	Invariant string
	Message   string
	Names     []string // what to look for in the trace
}

// String says what is broken.
func (v *Violation) String() string { return v.Invariant + ": " + v.Message }

// world is one run.
type world struct {
	agreed    *agreed
	seed      uint64
	script    Script
	plan      plan
	steps     int
	rng       *rand.Rand
	nowMillis int64
	chaos     bool
	hub       *hub
	agents    []*agent
	desks     []*desk
	late      []sent // batches of sessions that are over
	truth     *truth
	trace     *trace
}

// storyMax bounds the lines of a story.
const storyMax = 400

// Run plays one seed.
func (l *Lab) Run(seed uint64, o Options) (res Result) {
	w := &world{
		seed: seed, script: o.Script, agreed: l.agreed, rng: chance(seed, 0), nowMillis: startMillis,
		truth: newTruth(), trace: newTrace(o.Keep),
	}
	w.plan = draw(w.rng)
	res.Seed, res.World = seed, w.plan.String()
	res.actions, res.mishaps = w.plan.actions, len(w.plan.mishaps())
	w.plan.without(o.Script.Without)
	defer func() {
		if p := recover(); p != nil {
			v, ok := p.(*Violation)
			if !ok {
				v = &Violation{Invariant: "panic", Message: fmt.Sprintf("%v\n%s", p, debug.Stack())}
			}
			res.Violation = v
			res.Story = w.trace.about(v.Names, storyMax)
		}
		w.trace.sum.Sum(res.Hash[:0])
		res.Edits, res.Steps = w.truth.acts, w.steps
		if w.hub != nil {
			res.Ops = len(w.hub.ops)
		}
		for _, d := range w.desks {
			res.Writes += d.writes
		}
	}()
	w.build(seed)
	w.play()
	w.heal()
	w.rest()
	w.check()
	w.sweep()
	return res
}

func (w *world) fail(invariant string, names []string, format string, args ...any) {
	panic(&Violation{Invariant: invariant, Message: fmt.Sprintf(format, args...), Names: names})
}

// stormy reports whether a mishap of a kind happens now, once in n chances.
func (w *world) stormy(kind bool, n int) bool { return w.chaos && kind && w.rng.IntN(n) == 0 }

func (w *world) logf(p place, format string, args ...any) {
	if w.trace.keep {
		w.trace.logf(w.nowMillis, "%s %s", p.desk.at(p.key), fmt.Sprintf(format, args...))
	}
}

func (w *world) build(seed uint64) {
	w.hub = newHub(w)
	sites := []crdt.Site{"acme", "globex", "initech"}
	var first []*desk
	for i := range w.plan.desks {
		p := &w.plan.desks[i]
		d := newDesk(w, p, fmt.Sprintf("system%d", i), seed<<8|uint64(i))
		w.desks = append(w.desks, d)
		if w.plan.shared && i == len(w.plan.desks)-1 {
			first = append(first, d)
			break
		}
		w.agents = append(w.agents, newAgent(w, sites[i], []*desk{d}, p.agentSkew))
	}
	if len(first) > 0 {
		a := w.agents[0]
		w.agents[0] = newAgent(w, a.site(), append(a.desks, first...), a.skew)
	}
	w.agents[len(w.agents)-1].skew += w.plan.leap
	for _, a := range w.agents {
		a.open()
	}
}

// play lets things happen, as the plan allows.
func (w *world) play() {
	w.chaos = true
	backup, restore := w.rng.IntN(w.plan.actions), w.rng.IntN(w.plan.actions)
	if backup > restore {
		backup, restore = restore, backup
	}
	for i := range w.plan.actions {
		w.rng = chance(w.seed, uint64(i)+1)
		if !w.script.plays(i) {
			continue
		}
		switch {
		case i == backup:
			w.hub.backup = len(w.hub.log)
		case w.plan.leap > 0 && (i == w.plan.actions/3 || i == w.plan.actions/2):
			w.stepBack(i == w.plan.actions/3)
		case i == restore && w.plan.restore:
			w.restoreHub()
		}
		a := w.agents[w.rng.IntN(len(w.agents))]
		if a.session == nil && w.rng.IntN(3) == 0 {
			a.connect()
		}
		w.happen(a, w.rng.IntN(100))
		if w.rng.IntN(100) == 0 {
			w.lull()
		}
	}
	w.chaos = false
	w.rng = chance(w.seed, 1<<32)
}

// behind is how far behind the truth a clock steps that was ahead.
const behind = 3 * time.Minute

// stepBack moves the last agent's clock back: to the truth, or minutes behind it.
func (w *world) stepBack(first bool) {
	a := w.agents[len(w.agents)-1]
	by := w.plan.leap
	if !first {
		by = behind
	}
	a.skew -= by
	w.trace.logf(w.nowMillis, "%s clock steps back by %s", a.site(), by)
}

// chance is the chances of one part of a run.
func chance(seed, part uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 0x656e74656e7465^part<<8))
}

// lull lets everybody work off what there is, so that people see each other's
// edits before they go on.
func (w *world) lull() {
	for _, a := range w.agents {
		for _, d := range a.desks {
			a.list(d, 0)
		}
		for n := 0; n < 40 && (a.work() || a.bring() || a.publish() || a.arrive() || a.answered() || a.push() || a.fed()); n++ {
			continue
		}
	}
}

func (w *world) happen(a *agent, k int) {
	d := a.desks[w.rng.IntN(len(a.desks))]
	switch {
	case k < 8:
		w.act(d)
	case k < 18:
		a.list(d, 1+w.rng.IntN(5))
	case k < 52:
		a.work()
	case k < 59:
		if !a.bring() {
			a.publish()
		}
	case k < 66:
		a.arrive()
	case k < 73:
		a.answered()
	case k < 80:
		a.push()
	case k < 87:
		a.fed()
	case k < 88 && w.plan.network:
		w.trace.logf(w.nowMillis, "%s connection breaks", a.site())
		a.hangUp()
	case k < 89 && w.plan.crashes:
		a.crash("at work")
	case k < 90 && len(w.late) > 0:
		var m sent
		m, w.late = pick(w, w.late)
		w.hub.publish(m.site, m.batch)
	case k < 91 && w.plan.hubDown:
		w.restartHub()
	default:
		w.pass(int64(w.rng.IntN(1500)))
		a.step(core.Woken{NowMillis: a.clock()})
	}
}

func (w *world) pass(ms int64) {
	w.nowMillis += ms
	w.trace.mix(uint64(w.nowMillis))
}

func (w *world) restartHub() {
	if w.rng.IntN(3) == 0 {
		w.hub.checkpoint()
		return
	}
	w.trace.logf(w.nowMillis, "hub restarts")
	w.hub.restart()
	for _, a := range w.agents {
		a.hangUp()
	}
}

func (w *world) restoreHub() {
	if w.hub.backup == 0 {
		return
	}
	w.trace.logf(w.nowMillis, "hub goes back to entry %d of %d", w.hub.backup, len(w.hub.log))
	w.hub.restore()
	for _, a := range w.agents {
		a.hangUp()
	}
}

// heal ends every fault. Habits stay.
func (w *world) heal() {
	w.trace.logf(w.nowMillis, "everything heals")
	for _, d := range w.desks {
		d.heal()
	}
	for _, a := range w.agents {
		a.hangUp()
	}
	w.late = nil
}

// Bounds of coming to rest, in rounds of roundMillis.
const (
	roundMillis = 5000
	roundsMax   = 400
	quietMin    = 9    // longer than the agents' longest wait
	stepsMax    = 5000 // of one agent in one round
)

// rest runs until nothing more happens, within a bound of virtual time.
func (w *world) rest() {
	long := 0
	if w.plan.leap > 0 { // what was put off by a clock that stepped back comes later
		long = int((10*time.Minute + behind).Milliseconds()) / roundMillis
	}
	for round, quiet := 0, 0; quiet < quietMin+long; round++ {
		if round > roundsMax+2*long {
			w.fail("18 progress", []string{""}, "no rest after %d s of virtual time: %s", roundsMax*roundMillis/1000, w.busy())
		}
		before := w.activity()
		for _, a := range w.agents {
			if a.session == nil {
				a.connect()
			}
			for _, d := range a.desks {
				a.list(d, 0)
			}
			for n := 0; a.bring() || a.publish() || a.arrive() || a.answered() || a.push() || a.fed() || a.work(); n++ {
				if n > stepsMax {
					w.fail("18 progress", nil, "%s goes round in circles: %s", a.site(), w.busy())
				}
			}
		}
		w.pass(roundMillis)
		waiting := false
		for _, a := range w.agents {
			a.step(core.Woken{NowMillis: a.clock()})
			waiting = waiting || a.waiting()
		}
		if quiet++; waiting || w.activity() != before {
			quiet = 0
		}
	}
}

// activity grows with every write, and with every op.
func (w *world) activity() int {
	n := len(w.hub.log)
	for _, d := range w.desks {
		n += d.writes
	}
	return n
}

func (w *world) busy() string {
	out := fmt.Sprintf("hub log %d;", len(w.hub.log))
	for _, a := range w.agents {
		a.view(func(tx store.Tx) error {
			for _, d := range a.desks {
				st, err := core.StatusOf(tx, d.name)
				if err != nil {
					return err
				}
				out += fmt.Sprintf(" %s %+v, %d writes;", d, st, d.writes)
			}
			n, err := a.pending(tx)
			out += fmt.Sprintf(" %d ops wait at %s, waiting %v;", n, a.site(), a.waiting())
			return err
		})
	}
	return out
}

// sweep makes every agent read everything again: at rest that writes nothing.
func (w *world) sweep() {
	before := w.activity()
	for _, d := range w.desks {
		for _, key := range d.sys.Keys() {
			d.agent.step(core.Hinted{NowMillis: d.agent.clock(), System: d.name, Keys: []connectors.Key{key}})
		}
	}
	w.rest()
	if after := w.activity(); after != before {
		w.fail("8 no echo", nil, "a sweep at rest made %d writes or ops", after-before)
	}
}
