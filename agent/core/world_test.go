package core_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// world is two sites, a model hub and a clock; everything that happens follows
// from one seed.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	now   int64
	hub   *modelHub
	sites []*site
	edits map[string]*edit // by value, which is unique
	count int
	ahead int64 // of the first site's clock
	trace []string
}

// edit is one user's edit, as the user knows it.
type edit struct {
	value, saw string
	field      string
}

// task is one call of a driver: it ends in another call or in an event.
type task func() (task, core.Event)

// site is an agent with its driver and one system.
type site struct {
	w       *world
	name    crdt.Site
	store   store.Store
	cfg     *core.Config
	sys     *memory.System
	conn    connectors.Connector
	skew    time.Duration
	tasks   []task
	answers []core.Event
	sent    uint64
	crashes int
	notices []core.Notice
	writes  int
	lists   int // pages that jobs asked for
}

func newWorld(t *testing.T, seed uint64, caps connectors.Capabilities, faults ...memory.Fault) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: 1_767_225_600_000,
		hub: newHub(), edits: map[string]*edit{},
	}
	for i, name := range []crdt.Site{"acme", "globex"} {
		s := &site{w: w, name: name, store: store.NewMemory()}
		s.sys = memory.New(memory.Config{
			Name: string(name), Capabilities: &caps, Seed: seed + uint64(i), Faults: faults,
			Now: func() time.Time { return time.UnixMilli(w.now).Add(s.skew).UTC() },
		})
		s.conn = s.sys.Connector()
		s.cfg = &core.Config{
			Site: name, Agent: "main", Pacts: map[crdt.Pact]*pact.Pact{"ops": tickets()},
			Systems: map[string]core.System{"desk": {Capabilities: s.sys.Capabilities(), Binding: testBinding{}}},
		}
		w.sites = append(w.sites, s)
		s.open()
	}
	return w
}

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%6d ", w.now-1_767_225_600_000)+fmt.Sprintf(format, args...))
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	if testing.Verbose() {
		w.t.Log("\n" + strings.Join(w.trace, "\n"))
	}
	w.t.Fatalf(format, args...)
}

// clock is the agent's own.
func (s *site) clock() int64 {
	if s == s.w.sites[0] {
		return s.w.now + s.w.ahead
	}
	return s.w.now
}

// ahead is how far the system's clock is ahead of the agent's.
func (s *site) ahead() time.Duration {
	return s.skew - time.Duration(s.clock()-s.w.now)*time.Millisecond
}

// open starts the agent's process: nothing in memory survived.
func (s *site) open() {
	s.tasks, s.answers, s.sent = nil, nil, 0
	s.step(core.Opened{NowMillis: s.clock(), Entropy: [32]byte{byte(len(s.name))}})
	s.greet()
}

func (s *site) greet() {
	h := s.w.hub
	e := core.Greeted{NowMillis: s.clock(), HubMillis: s.w.now, Pact: "ops", Epoch: h.epoch, Head: h.head, Lineage: h.lineage}
	for _, a := range sortedAuthors(h.authors) {
		if a.Site == s.name {
			e.Authors = append(e.Authors, core.AuthorState{Author: a, Seen: h.authors[a], Applied: h.authors[a]})
		}
	}
	e.Authors = e.Authors[max(0, len(e.Authors)-core.AuthorsTold):]
	s.sent = 0
	s.step(e)
	s.bring()
}

// bring brings a hub of a new epoch what it may have lost.
func (s *site) bring() {
	for {
		var part core.OfferPart
		var open bool
		s.view(func(tx store.Tx) (err error) {
			part, open, err = core.NextOffer(tx, "ops", 1+s.w.rng.IntN(4), 1<<20, func(*crdt.Op) int { return 1 })
			return err
		})
		if !open {
			return
		}
		s.w.hub.offer(&part)
		if s.w.rng.IntN(8) > 0 { // else the answer got lost
			s.step(core.Offered{NowMillis: s.clock(), Pact: "ops", Epoch: s.w.hub.epoch, Next: part.Next, Taken: len(part.Registers), Done: part.End})
		}
	}
}

func sortedAuthors(m map[crdt.Author]crdt.Seq) []crdt.Author {
	var out []crdt.Author
	for a := range m {
		out = append(out, a)
	}
	slices.SortFunc(out, crdt.Author.Compare)
	return out
}

// step runs one event as an engine does.
func (s *site) step(ev core.Event) { s.effects(ev) }

// effects is step, and returns what it emitted.
func (s *site) effects(ev core.Event) (effects []core.Effect) {
	err := s.store.Update(func(tx store.Tx) (err error) {
		effects, err = core.Step(tx, s.cfg, ev)
		return err
	})
	if err != nil {
		s.w.fatalf("%s: step %T: %v", s.name, ev, err)
	}
	s.w.logf("%s <- %s", s.name, brief(ev))
	for _, e := range effects {
		s.w.logf("%s    -> %+v", s.name, e)
		s.do(e)
	}
	return effects
}

func brief(ev core.Event) string {
	switch e := ev.(type) {
	case core.Observed:
		return fmt.Sprintf("Observed %s %s %v", e.Record.Key, e.Record.Revision, e.Record.Fields)
	case core.Fed:
		var b strings.Builder
		for _, r := range e.Entries {
			fmt.Fprintf(&b, " %s/%s=%s", r.Op.Key.Record.String()[:4], r.Op.Key.Field, r.Op.ID())
		}
		return fmt.Sprintf("Fed to %d of %d:%s", e.Cursor.Offset, e.Head, b.String())
	case core.Written:
		return fmt.Sprintf("Written %d %+v fault %+v record %v", e.Intent, e.Receipt, e.Fault, e.Record != nil)
	}
	return fmt.Sprintf("%T %+v", ev, ev)
}

func (s *site) do(e core.Effect) {
	switch e := e.(type) {
	case core.Publish:
		if e.Rewind {
			s.sent = 0
		}
	case core.Read:
		s.tasks = append(s.tasks, s.read(e.Key))
	case core.Write:
		s.tasks = append(s.tasks, func() (task, core.Event) {
			s.writes++
			r, err := s.conn.Write(context.Background(), e.Write)
			w := core.Written{System: "desk", Intent: e.Intent, Receipt: r, Fault: core.FaultOf(err), ClockAhead: s.ahead()}
			if w.Fault != nil && w.Fault.Class != connectors.ClassUnknown {
				return nil, w
			}
			key := e.Write.Key
			if key == "" {
				key = r.Key
			}
			if key == "" || s.w.rng.IntN(5) == 0 {
				return nil, w
			}
			return func() (task, core.Event) {
				if rec, err := s.conn.Read(context.Background(), key); err == nil {
					w.Record = &rec
				}
				return nil, w
			}, nil
		})
	case core.Find:
		s.tasks = append(s.tasks, func() (task, core.Event) {
			keys, err := s.sys.Connector().Find(context.Background(), e.Correlation)
			return nil, core.Found{System: "desk", Intent: e.Intent, Keys: keys, Fault: core.FaultOf(err)}
		})
	case core.List:
		s.tasks = append(s.tasks, func() (task, core.Event) {
			s.lists++
			page, err := s.conn.Changes(context.Background(), e.Cursor, 1+s.w.rng.IntN(5))
			return nil, core.JobListed{
				System: e.System, Job: e.Job, Refs: page.Refs, Next: page.Next, More: page.More, Fault: core.FaultOf(err),
			}
		})
	case core.Notice:
		s.notices = append(s.notices, e)
	}
}

func (s *site) read(key connectors.Key) task {
	return func() (task, core.Event) {
		rec, err := s.conn.Read(context.Background(), key)
		if err != nil {
			return nil, core.Missing{System: "desk", Key: key, Fault: *core.FaultOf(err)}
		}
		return nil, core.Observed{System: "desk", Record: rec, ClockAhead: s.ahead()}
	}
}

// stamped sets the event's clock to its delivery.
func (s *site) stamped(ev core.Event) core.Event {
	switch e := ev.(type) {
	case core.Observed:
		e.NowMillis = s.clock()
		return e
	case core.JobListed:
		e.NowMillis = s.clock()
		return e
	case core.Missing:
		e.NowMillis = s.clock()
		return e
	case core.Written:
		e.NowMillis = s.clock()
		return e
	case core.Found:
		e.NowMillis = s.clock()
		return e
	}
	return ev
}

// work does one random thing that a driver has to do; false if there is none.
func (s *site) work() bool {
	n := len(s.tasks) + len(s.answers)
	if n == 0 {
		return false
	}
	i := s.w.rng.IntN(n)
	if i < len(s.answers) {
		ev := s.answers[i]
		s.answers = slices.Delete(s.answers, i, i+1)
		s.step(s.stamped(ev))
		return true
	}
	i -= len(s.answers)
	next, ev := s.tasks[i]()
	s.w.logf("%s task", s.name)
	if next != nil {
		s.tasks[i] = next
		return true
	}
	s.tasks = slices.Delete(s.tasks, i, i+1)
	s.answers = append(s.answers, ev)
	return true
}

func (s *site) list() {
	var cursor connectors.Cursor
	s.view(func(tx store.Tx) (err error) { cursor, err = core.SourceCursor(tx, "desk"); return err })
	page, err := s.conn.Changes(context.Background(), cursor, 1+s.w.rng.IntN(5))
	if err == nil {
		s.step(core.Listed{NowMillis: s.clock(), System: "desk", Refs: page.Refs, Next: page.Next, More: page.More})
	}
}

func (s *site) view(fn func(store.Tx) error) {
	if err := s.store.View(fn); err != nil {
		s.w.fatalf("%s: view: %v", s.name, err)
	}
}

func (s *site) feed() bool {
	var f inbox.Feed
	s.view(func(tx store.Tx) (err error) { f, err = inbox.GetFeed(tx, "ops"); return err })
	if f.Offset == s.w.hub.head && f.Met {
		return false
	}
	ev := s.w.hub.feed("ops", f.Cursor(), 1+s.w.rng.IntN(6), s.clock())
	s.step(ev)
	if s.w.rng.IntN(10) == 0 {
		s.step(ev) // delivered twice
	}
	return true
}

func (s *site) publish() bool {
	var batch []outbox.Entry
	s.view(func(tx store.Tx) (err error) {
		batch, err = outbox.Batch(tx, "ops", s.sent, 1+s.w.rng.IntN(4))
		return err
	})
	if len(batch) == 0 {
		return false
	}
	ev := core.Acked{NowMillis: s.clock(), HubMillis: s.w.now, Pact: "ops", Epoch: s.w.hub.epoch}
	for _, e := range batch {
		s.sent = e.Position + 1
		ev.Results = append(ev.Results, s.w.hub.publish(e, s.w.now))
	}
	if s.w.rng.IntN(8) == 0 { // the stream broke before the answer came
		s.sent = 0
		return true
	}
	s.step(ev)
	return true
}

func (w *world) userEdit(s *site) {
	keys := s.sys.Keys()
	w.count++
	if len(keys) == 0 || len(keys) < 4 && w.rng.IntN(4) == 0 {
		title, text := fmt.Sprintf("%s-t%d", s.name, w.count), fmt.Sprintf(" %s-d%d\n", s.name, w.count)
		key := s.sys.Create("jane", map[string]value.Value{
			"title": value.Text(title), "description": value.Text(text), "status": value.Text("new"),
		}, time.Time{})
		w.edits[title] = &edit{value: title, field: "title"}
		w.edits[strings.TrimSpace(text)] = &edit{value: strings.TrimSpace(text), field: "description"}
		w.logf("%s user creates %s %s", s.name, key, title)
		return
	}
	key := keys[w.rng.IntN(len(keys))]
	rec, _ := s.sys.Get(key)
	switch w.rng.IntN(5) {
	case 0:
		body := fmt.Sprintf("%s-c%d", s.name, w.count)
		if _, err := s.sys.AddComment("jane", key, body, w.rng.IntN(4) == 0, time.Time{}); err != nil {
			w.fatalf("comment: %v", err)
		}
		w.logf("%s user comments %s on %s", s.name, body, key)
	case 1:
		status := []string{"new", "open", "waiting", "done"}[w.rng.IntN(4)]
		w.must(s.sys.Edit("jane", key, map[string]value.Value{"status": value.Text(status)}, time.Time{}))
		w.logf("%s user sets %s status %s", s.name, key, status)
	default:
		field := []string{"title", "description"}[w.rng.IntN(2)]
		text := fmt.Sprintf("%s-%s%d", s.name, field[:1], w.count)
		saw := strings.TrimSpace(rec.Fields[field].AsText())
		w.edits[text] = &edit{value: text, saw: saw, field: field}
		if field == "description" {
			text = "  " + text + " \n"
		}
		w.must(s.sys.Edit("jane", key, map[string]value.Value{field: value.Text(text)}, time.Time{}))
		w.logf("%s user edits %s %s = %q, saw %q", s.name, key, field, text, saw)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.fatalf("%v", err)
	}
}

// chaos lets n random things happen.
func (w *world) chaos(n int, crashes bool) {
	for range n {
		s := w.sites[w.rng.IntN(len(w.sites))]
		switch k := w.rng.IntN(100); {
		case k < 6:
			w.userEdit(s)
		case k < 16:
			s.list()
		case k < 56:
			s.work()
		case k < 70:
			s.publish()
		case k < 84:
			s.feed()
		case k < 86 && crashes:
			w.logf("%s CRASH", s.name)
			s.crashes++
			s.open()
		case k < 87:
			s.greet() // the connection broke
		default:
			w.now += int64(w.rng.IntN(1500))
			s.step(core.Woken{NowMillis: s.clock()})
		}
	}
}

// rest heals every fault and runs until nothing more happens.
func (w *world) rest() {
	quiet := 0
	for round := 0; quiet < 4; round++ {
		if round > 400 {
			w.fatalf("no rest after %d rounds", round)
		}
		busy := false
		for _, s := range w.sites {
			s.list()
			for s.feed() || s.publish() || s.work() {
				busy = true
			}
		}
		w.now += 3000
		for _, s := range w.sites {
			s.step(core.Woken{NowMillis: s.clock()})
			busy = busy || len(s.tasks) > 0 || s.waiting()
		}
		if quiet++; busy {
			quiet = 0
		}
	}
}

func (s *site) waiting() bool {
	var st core.SystemStatus
	s.view(func(tx store.Tx) (err error) { st, err = core.StatusOf(tx, "desk"); return err })
	return st.Intents > 0 || st.Reads > 0
}

func (s *site) tx(fn func(store.Tx) error) { s.view(fn) }
