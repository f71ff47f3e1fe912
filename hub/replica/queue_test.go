package replica

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

func waiting(pact crdt.Pact, site crdt.Site, bytes int) (proposal, chan answer) {
	done := make(chan answer, 1)
	return proposal{flow: command.Flow{Pact: pact, Site: site}, encoded: make(command.Encoded, bytes), done: done}, done
}

// A quiet pact's command waits for a quantum of each other pact and for the
// command that a quantum ends in, however much of it is waiting.
func TestQueueSpammerDelaysOthersByAQuantum(t *testing.T) {
	const large = 60_000
	for _, spammers := range []int{1, 3, 10} {
		q := newQueue(1<<30, 1<<30, 1<<30)
		for i := range spammers {
			for range 1000 {
				p, _ := waiting(crdt.Pact(fmt.Sprint("spam", i)), "acme", large)
				if err := q.push(p); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 77 { // somewhere in a round
			q.pop(large)
		}
		p, _ := waiting("quiet", "globex", 300)
		if err := q.push(p); err != nil {
			t.Fatal(err)
		}
		before := 0
		for {
			p, ok, _ := q.pop(large)
			if !ok {
				t.Fatal("it never came")
			}
			if p.flow.Pact == "quiet" {
				break
			}
			before += p.cost()
		}
		if limit := spammers * (quantumBytes + large + proposalBytes); before > limit {
			t.Errorf("%d spammers: %d bytes went before it, limit %d", spammers, before, limit)
		}
	}
}

// pipeline is what propose and settle do, in steps: entries of what waits, of which
// so many are under way, and land in order.
type pipeline struct {
	q       *queue
	slots   int
	entries [][]proposal
}

// fill takes what may fly into as many entries as there is place for, and returns
// the bytes of others than the pact that were taken before its first command, if
// that came.
func (l *pipeline) fill(pact crdt.Pact) (others int, came bool) {
	for len(l.entries) < l.slots {
		var entry []proposal
		room := command.EntryBytesMax
		for {
			p, ok, _ := l.q.pop(room)
			if !ok {
				break
			}
			room -= len(p.encoded)
			entry = append(entry, p)
			if came = came || p.flow.Pact == pact; !came {
				others += p.cost()
			}
		}
		if len(entry) == 0 {
			break
		}
		l.entries = append(l.entries, entry)
	}
	return others, came
}

func (l *pipeline) land() {
	l.q.landed(l.entries[0])
	l.entries = l.entries[1:]
}

func (l *pipeline) flying() (bytes int) {
	for _, entry := range l.entries {
		for _, p := range entry {
			bytes += p.cost()
		}
	}
	return bytes
}

// Whatever a spammer has queued, a bounded number of its bytes is answered before a
// command of a quiet pact: what it has under way, and its turn. That holds from the
// quiet pact's second command on, a round trip later and as long as there is one in
// aloneBytes; before the first one the pipeline may be full, which is a bound too.
func TestQueueBoundsWhatGoesAhead(t *testing.T) {
	const large, flight, slots = 20_000, 128 << 10, 8
	for _, spammers := range []int{1, 3} {
		l := &pipeline{q: newQueue(64<<20, 16<<20, flight), slots: slots}
		for quiet := range 50 {
			for i := range spammers {
				for range 100 { // more than can be under way
					p, _ := waiting(crdt.Pact(fmt.Sprint("spam", i)), "acme", large)
					if l.q.push(p) != nil {
						break // it is full
					}
				}
			}
			for range slots { // a round trip
				l.fill("")
				if len(l.entries) > 0 {
					l.land()
				}
			}
			l.fill("")
			ahead := l.flying()
			p, _ := waiting("quiet", "globex", 300)
			if err := l.q.push(p); err != nil {
				t.Fatal(err)
			}
			for {
				others, came := l.fill("quiet")
				ahead += others
				if came {
					break
				}
				l.land()
			}
			limit := spammers * (flight + large + proposalBytes + quantumBytes + large + proposalBytes)
			if quiet == 0 {
				limit = slots*(command.EntryBytesMax+command.EntryBytesMax/300*proposalBytes) + limit
			}
			if ahead > limit {
				t.Fatalf("%d spammers, command %d: %d bytes go ahead of it, limit %d", spammers, quiet, ahead, limit)
			}
		}
	}
}

// Alone a pact fills the pipeline, and does again when the others have been silent
// for aloneBytes.
func TestQueueAloneFillsThePipeline(t *testing.T) {
	const large, flight = 20_000, 128 << 10
	l := &pipeline{q: newQueue(64<<20, 16<<20, flight), slots: 8}
	taken := 0
	fill := func() int {
		for range 200 {
			p, _ := waiting("bulk", "acme", large)
			if err := l.q.push(p); err != nil {
				break // it is full
			}
		}
		before := l.flying()
		l.fill("")
		taken += l.flying() - before
		return l.flying()
	}
	full := fill()
	if full < 7*command.EntryBytesMax {
		t.Fatalf("%d bytes are under way", full)
	}
	p, _ := waiting("quiet", "globex", 300)
	if err := l.q.push(p); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		l.land()
		fill()
	}
	if got := fill(); got > flight+large+proposalBytes {
		t.Fatalf("%d bytes are under way beside another", got)
	}
	for taken = 0; taken < aloneBytes+full; {
		l.land()
		fill()
	}
	if got := fill(); got != full {
		t.Fatalf("%d bytes are under way after a while alone, %d at first", got, full)
	}
}

// Flows that always have something waiting get equal bytes, whatever the size of
// their commands: pacts of all, and sites of what their pact gets.
func TestQueueSharesByBytes(t *testing.T) {
	q := newQueue(1<<30, 1<<30, 1<<30)
	sizes := map[command.Flow]int{
		{Pact: "a", Site: "acme"}: 300, {Pact: "b", Site: "acme"}: 9_000,
		{Pact: "c", Site: "acme"}: 60_000, {Pact: "c", Site: "globex"}: 2_000,
	}
	for flow, size := range sizes {
		for range 40_000_000 / size {
			p, _ := waiting(flow.Pact, flow.Site, size)
			if err := q.push(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	pacts, sites := map[crdt.Pact]int{}, map[crdt.Site]int{}
	for total := 0; total < 30_000_000; {
		p, ok, _ := q.pop(1 << 20)
		if !ok {
			t.Fatal("nothing waits")
		}
		total += p.cost()
		pacts[p.flow.Pact] += p.cost()
		if p.flow.Pact == "c" {
			sites[p.flow.Site] += p.cost()
		}
	}
	const slack = 2 * (quantumBytes + 60_000 + proposalBytes)
	for pact, bytes := range pacts {
		if bytes < 10_000_000-slack || bytes > 10_000_000+slack {
			t.Errorf("pact %s got %d of 30 MB", pact, bytes)
		}
	}
	for site, bytes := range sites {
		if bytes < 5_000_000-slack || bytes > 5_000_000+slack {
			t.Errorf("site %s got %d of its pact's 10 MB", site, bytes)
		}
	}
}

// Who fills his own queue is turned away alone, and his neighbour within the
// pact still gets in: at the cost of what he put last.
func TestQueueFullForOne(t *testing.T) {
	q := newQueue(1_000_000, 100_000, 1<<30)
	var last chan answer
	put := func(pact crdt.Pact, site crdt.Site) error {
		p, done := waiting(pact, site, 10_000-proposalBytes)
		err := q.push(p)
		if err == nil {
			last = done
		}
		return err
	}
	for range 10 {
		if err := put("spam", "acme"); err != nil {
			t.Fatal(err)
		}
	}
	theirs := last
	if err := put("spam", "acme"); !errors.Is(err, ErrBusy) {
		t.Fatalf("the eleventh: %v", err)
	}
	if err := put("quiet", "globex"); err != nil {
		t.Fatalf("another pact: %v", err)
	}
	if err := put("spam", "globex"); err != nil {
		t.Fatalf("another site of that pact: %v", err)
	}
	select {
	case a := <-theirs:
		if !errors.Is(a.err, ErrBusy) {
			t.Fatalf("what made room: %v", a.err)
		}
	default:
		t.Fatal("nothing made room")
	}
}

// A queue that many pacts have filled together still takes in a quiet one.
func TestQueueFullForAll(t *testing.T) {
	q := newQueue(1_000_000, 400_000, 1<<30)
	for i := 0; ; i++ {
		p, _ := waiting(crdt.Pact(fmt.Sprint("spam", i%50)), "acme", 10_000-proposalBytes)
		if err := q.push(p); err != nil {
			if i != 100 {
				t.Fatalf("full after %d", i)
			}
			break
		}
	}
	p, done := waiting("quiet", "acme", 10_000-proposalBytes)
	if err := q.push(p); err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-done:
		t.Fatalf("it was turned away: %v", a.err)
	default:
	}
	if q.waiting() != 1_000_000 {
		t.Fatalf("%d bytes wait", q.waiting())
	}
}

// The hub's own commands wait for nobody, and cannot be turned away.
func TestQueueOwnFirst(t *testing.T) {
	q := newQueue(10_000, 10_000, 1<<30)
	for range 20 {
		p, _ := waiting("spam", "acme", 100)
		_ = q.push(p) // until it is full
	}
	p, _ := waiting("", "", 200)
	if err := q.push(p); err != nil {
		t.Fatal(err)
	}
	if p, ok, _ := q.pop(1000); !ok || p.flow != (command.Flow{}) {
		t.Fatalf("first comes %v", p.flow)
	}
}

// What is larger than the entry's room keeps its turn: nobody slips in before it.
func TestQueueKeepsTheTurnOfWhatDoesNotFit(t *testing.T) {
	q := newQueue(1<<20, 1<<20, 1<<30)
	for _, name := range []crdt.Pact{"a", "b"} {
		p, _ := waiting(name, "acme", 50_000)
		if err := q.push(p); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, more := q.pop(49_999); ok || !more {
		t.Fatalf("ok %v, more %v", ok, more)
	}
	for _, name := range []crdt.Pact{"a", "b"} {
		if p, ok, _ := q.pop(50_000); !ok || p.flow.Pact != name {
			t.Fatalf("%s comes before %s", p.flow.Pact, name)
		}
	}
}

// model is what a queue must hold: of each flow what was put and neither taken
// nor turned away.
type model struct {
	t     *rapid.T
	q     *queue
	flows map[command.Flow][]mark
	under []proposal // way
}

// land says that the first n that are under way have landed.
func (m *model) land(n int) {
	n = min(n, len(m.under))
	m.q.landed(m.under[:n])
	m.under = m.under[n:]
}

type mark struct {
	done chan answer
	size int
}

func (m *model) push(flow command.Flow, size int) {
	p, done := waiting(flow.Pact, flow.Site, size)
	switch err := m.q.push(p); {
	case err == nil:
		m.flows[flow] = append(m.flows[flow], mark{done, size})
	case !errors.Is(err, ErrBusy):
		m.t.Fatal(err)
	}
}

// pop reports whether anything waited.
func (m *model) pop() bool {
	p, ok, more := m.q.pop(1 << 20)
	if !ok {
		if more {
			m.t.Fatal("something waits that does not fit")
		}
		return false
	}
	marks := m.flows[p.flow]
	if len(marks) == 0 || p.done != (chan<- answer)(marks[0].done) {
		m.t.Fatalf("flow %v: out of order", p.flow)
	}
	m.flows[p.flow] = marks[1:]
	m.under = append(m.under, p)
	return true
}

// settle drops what was turned away, which must be the end of its flow, and
// compares the bytes.
func (m *model) settle() {
	bytes := 0
	for flow, marks := range m.flows {
		for len(marks) > 0 && len(marks[len(marks)-1].done) > 0 {
			if a := <-marks[len(marks)-1].done; !errors.Is(a.err, ErrBusy) {
				m.t.Fatalf("turned away with %v", a.err)
			}
			marks = marks[:len(marks)-1]
		}
		for _, left := range marks {
			if len(left.done) > 0 {
				m.t.Fatal("turned away from the middle")
			}
			bytes += left.size + proposalBytes
		}
		m.flows[flow] = marks
	}
	if m.q.waiting() != bytes || m.q.bytes > m.q.bytesMax {
		m.t.Fatalf("%d bytes wait, %d counted, limit %d", bytes, m.q.waiting(), m.q.bytesMax)
	}
	flying := map[crdt.Pact]int{}
	for _, p := range m.under {
		flying[p.flow.Pact] += p.size
	}
	for _, p := range m.q.named {
		if p.bytes > m.q.pactBytesMax {
			m.t.Fatalf("pact %s has %d bytes", p.name, p.bytes)
		}
		if p.flying != flying[p.name] {
			m.t.Fatalf("pact %s has %d bytes under way, counted %d", p.name, flying[p.name], p.flying)
		}
	}
}

// Whatever is put and taken: each site's commands leave in the order in which
// they came and what is turned away is the end of them, no bound is passed,
// nothing is lost or doubled, and an empty queue remembers nobody.
func TestQueueProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(rapid.IntRange(5_000, 200_000).Draw(t, "all"), rapid.IntRange(2_000, 250_000).Draw(t, "each"), rapid.IntRange(1, 60_000).Draw(t, "flight"))
		m := &model{t: t, q: q, flows: map[command.Flow][]mark{}}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				m.pop()
				continue
			case 2:
				m.land(rapid.IntRange(1, 5).Draw(t, "landed"))
				continue
			}
			m.push(command.Flow{
				Pact: rapid.SampledFrom([]crdt.Pact{"a", "b", "c", "d"}).Draw(t, "pact"),
				Site: rapid.SampledFrom([]crdt.Site{"x", "y", "z"}).Draw(t, "site"),
			}, rapid.IntRange(1, 40_000).Draw(t, "size"))
			m.settle()
		}
		for m.pop() || len(m.under) > 0 {
			m.settle()
			m.land(1)
		}
		m.settle()
		if len(q.named)+len(q.pacts.list)+len(q.held)+len(q.own.waiting)+q.bytes != 0 {
			t.Fatalf("something is left: %d names, %d bytes", len(q.named), q.bytes)
		}
	})
}
