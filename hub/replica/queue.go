package replica

import (
	"fmt"
	"slices"
	"sync"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// quantumBytes is what a pact may send when its turn comes, and a site within
// its pact: small beside an entry, so that a small command of one pact shares the
// next entry with a large backlog of another.
const quantumBytes = 16 << 10

// proposalBytes is what a waiting command takes besides its bytes, at most: its
// own structures, and those of a flow that exists for it alone.
const proposalBytes = 512

// aloneBytes is how much a pact sends, with nothing of another one between, until
// the hub is no longer shared: about what a site may send in a second. So who has
// sent something a second ago finds the pipeline free of others.
const aloneBytes = 64 << 20

// proposal is one command on its way into an entry.
type proposal struct {
	flow    command.Flow
	encoded command.Encoded
	order   bool          // answered during a dispute too
	size    int           // its cost, once it is under way
	done    chan<- answer // buffered: answering never waits
}

func (p *proposal) cost() int { return len(p.encoded) + proposalBytes }

// queue is what waits for an entry: a first-in-first-out queue for each site of
// each pact, served in turns by bytes (deficit round robin), pacts first and then
// the sites of a pact. So whatever a pact sends, another one waits for a quantum
// of it and not for all of it. The hub's own commands go before everything.
//
// It is bounded by bytes, all in all and for each pact. Who finds it full takes
// the place of what was put last by the one who has most, if that is more than
// his own would then be; so a pact that fills its own queue, or all of it, is the
// one that hears ErrBusy. What was put by one site keeps its order, and what is
// turned away is always the end of it.
//
// Raft keeps the order in which it gets entries, so turns alone would not help who
// comes while the pipeline is full of one pact. While the hub is shared a pact of
// which pactFlightMax bytes are under way is held until some have landed; alone it
// may fill the pipeline.
//
// A flow exists while something of it waits or is under way: names leave no trace.
type queue struct {
	bytesMax, pactBytesMax int
	pactFlightMax          int           // at least 1
	ready                  chan struct{} // holds a token if something may wait

	mu    sync.Mutex
	bytes int
	own   siteQueue         // the hub's
	pacts turns[*pactQueue] // that may send
	held  []*pactQueue      // that wait for what they have under way
	named map[crdt.Pact]*pactQueue

	last  crdt.Pact // of which something was taken
	alone int       // bytes that were taken of it since another one's
}

type pactQueue struct {
	turn
	name   crdt.Pact
	sites  turns[*siteQueue]
	flying int // bytes taken and not landed
}

type siteQueue struct {
	turn
	name    crdt.Site
	waiting []proposal
}

func (s *siteQueue) first() *proposal { return &s.waiting[0] }

func (s *siteQueue) put(p proposal) {
	s.waiting = append(s.waiting, p)
	s.bytes += p.cost()
}

func (s *siteQueue) takeFirst() proposal {
	p := s.waiting[0]
	s.waiting[0] = proposal{} // the array lives on
	s.waiting = s.waiting[1:]
	s.bytes -= p.cost()
	return p
}

func (s *siteQueue) takeLast() proposal {
	last := len(s.waiting) - 1
	p := s.waiting[last]
	s.waiting[last] = proposal{}
	s.waiting = s.waiting[:last]
	s.bytes -= p.cost()
	return p
}

func newQueue(bytesMax, pactBytesMax, pactFlightMax int) *queue {
	return &queue{
		bytesMax: bytesMax, pactBytesMax: min(pactBytesMax, bytesMax), pactFlightMax: pactFlightMax, alone: aloneBytes,
		ready: make(chan struct{}, 1), named: map[crdt.Pact]*pactQueue{},
	}
}

// push queues p behind what its site has put before, or refuses it with ErrBusy.
func (q *queue) push(p proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.flow == (command.Flow{}) {
		if q.own.bytes+p.cost() > q.bytesMax {
			return ErrBusy
		}
		q.own.put(p)
	} else if !q.put(p) {
		return ErrBusy
	}
	q.wake()
	return nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// put finds or makes the flow of p; one that stays empty is forgotten.
func (q *queue) put(p proposal) bool {
	pact := q.named[p.flow.Pact]
	if pact == nil {
		pact = &pactQueue{name: p.flow.Pact}
	}
	i := slices.IndexFunc(pact.sites.list, func(s *siteQueue) bool { return s.name == p.flow.Site })
	site := &siteQueue{name: p.flow.Site}
	if i >= 0 {
		site = pact.sites.list[i]
	}
	if !q.makeRoom(pact, site, p.cost()) {
		return false
	}
	if len(pact.sites.list) == 0 {
		q.named[pact.name] = pact
		q.pacts.join(pact)
	}
	if !slices.Contains(pact.sites.list, site) {
		pact.sites.join(site)
	}
	site.put(p)
	q.count(pact, p.cost())
	return true
}

// leave takes a pact out of where it stands.
func (q *queue) leave(pact *pactQueue) {
	if !q.release(pact) {
		q.pacts.leave(pact)
	}
}

// release takes a pact out of those that are held, if it is there.
func (q *queue) release(pact *pactQueue) bool {
	i := slices.Index(q.held, pact)
	if i >= 0 {
		q.held = slices.Delete(q.held, i, i+1)
	}
	return i >= 0
}

// mayFly reports whether more of a pact may be on its way.
func (q *queue) mayFly(pact *pactQueue) bool {
	shared := len(q.named) > 1 || q.alone < aloneBytes
	return !shared || pact.flying < q.pactFlightMax
}

func (q *queue) count(pact *pactQueue, cost int) {
	pact.bytes += cost
	q.bytes += cost
}

// makeRoom turns away what others have put last, as long as they have more than
// site, or its pact, would have with cost more.
func (q *queue) makeRoom(pact *pactQueue, site *siteQueue, cost int) bool {
	for pact.bytes+cost > q.pactBytesMax {
		longest := pact.sites.longest()
		if longest == nil || longest.bytes <= site.bytes+cost {
			return false
		}
		q.turnAway(pact, longest)
	}
	for q.bytes+cost > q.bytesMax {
		longest := q.longest()
		if longest == nil || longest.bytes <= pact.bytes+cost {
			return false
		}
		q.turnAway(longest, longest.sites.longest())
	}
	return true
}

// longest returns the pact with most bytes waiting, nil if none waits.
func (q *queue) longest() *pactQueue {
	longest := q.pacts.longest()
	for _, pact := range q.held {
		if longest == nil || pact.bytes > longest.bytes {
			longest = pact
		}
	}
	return longest
}

func (q *queue) turnAway(pact *pactQueue, site *siteQueue) {
	p := site.takeLast()
	q.took(pact, site, &p)
	p.done <- answer{err: errTurnedAway}
}

var errTurnedAway = fmt.Errorf("%w: this one made room for others", ErrBusy)

// took settles the books after p has left its site's queue.
func (q *queue) took(pact *pactQueue, site *siteQueue, p *proposal) {
	q.count(pact, -p.cost())
	if len(site.waiting) == 0 {
		pact.sites.leave(site)
	}
	if len(pact.sites.list) == 0 {
		q.leave(pact)
		pact.deficit = 0
		q.forget(pact)
	}
}

// forget drops a pact of which nothing waits and nothing is under way.
func (q *queue) forget(pact *pactQueue) {
	if len(pact.sites.list) == 0 && pact.flying == 0 {
		delete(q.named, pact.name)
	}
}

// landed says that what pop gave is no longer under way.
func (q *queue) landed(proposals []proposal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range proposals {
		p := &proposals[i]
		pact := q.named[p.flow.Pact]
		if pact == nil {
			continue // the hub's own
		}
		pact.flying -= p.size
		if q.mayFly(pact) && q.release(pact) {
			q.pacts.join(pact)
			q.wake()
		}
		q.forget(pact)
	}
}

// pop takes the command whose turn it is, if it has at most room bytes; one that
// is larger keeps its turn. more tells whether anything waits that is not held. The
// caller says when it has landed.
func (q *queue) pop(room int) (p proposal, ok, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.own.waiting) > 0 {
		if len(q.own.waiting[0].encoded) > room {
			return proposal{}, false, true
		}
		return q.own.takeFirst(), true, true
	}
	pact := q.next()
	if pact == nil {
		return proposal{}, false, false
	}
	site := pact.head()
	if len(site.first().encoded) > room {
		return proposal{}, false, true
	}
	p = site.takeFirst()
	pact.deficit -= p.cost()
	site.deficit -= p.cost()
	q.fly(pact, &p)
	q.took(pact, site, &p)
	return p, true, true
}

// next returns the pact whose turn it is, and holds those that may not fly. It is
// nil if no other waits.
func (q *queue) next() *pactQueue {
	for len(q.pacts.list) > 0 {
		pact := q.pacts.next(func(pact *pactQueue) int { return pact.head().first().cost() })
		if q.mayFly(pact) {
			return pact
		}
		q.pacts.leave(pact)
		pact.deficit = 0 // turns are not saved up
		q.held = append(q.held, pact)
	}
	return nil
}

// fly notes that p is under way.
func (q *queue) fly(pact *pactQueue, p *proposal) {
	p.size = p.cost()
	pact.flying += p.size
	if pact.name != q.last && q.last != "" {
		q.alone = 0
	}
	q.last = pact.name
	q.alone = min(q.alone+p.size, aloneBytes)
}

// head returns the site whose turn it is.
func (p *pactQueue) head() *siteQueue {
	return p.sites.next(func(s *siteQueue) int { return s.first().cost() })
}

// waiting returns how many bytes wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes + q.own.bytes
}

// turn is one member's place in turns.
type turn struct {
	bytes   int // that wait
	deficit int // bytes that it may send before its turn ends
}

func (t *turn) state() *turn { return t }

// turns serves members round robin by bytes. Every member has something to send.
type turns[M interface {
	comparable
	state() *turn
}] struct {
	list []M
	at   int // whose turn it is
}

// join puts m where its turn comes last.
func (t *turns[M]) join(m M) {
	t.list = slices.Insert(t.list, t.at, m)
	if len(t.list) == 1 {
		t.pass() // to itself
		return
	}
	t.at++
}

// leave removes m; if it was its turn, that of the one behind it begins.
func (t *turns[M]) leave(m M) {
	i := t.at
	if t.list[i] != m {
		i = slices.Index(t.list, m)
	}
	t.list = slices.Delete(t.list, i, i+1)
	if i < t.at {
		t.at--
		return
	}
	if i == t.at && len(t.list) > 0 {
		t.at--
		t.pass()
	}
}

// pass begins the turn of the next member.
func (t *turns[M]) pass() {
	t.at = (t.at + 1) % len(t.list)
	t.list[t.at].state().deficit += quantumBytes
}

// next returns the member whose turn it is, which may send what it has first.
// Who has too little left for that keeps it for the next round.
func (t *turns[M]) next(cost func(M) int) M {
	for {
		m := t.list[t.at]
		if cost(m) <= m.state().deficit {
			return m
		}
		t.pass()
	}
}

// longest returns the member with most bytes, the zero one if there is none.
func (t *turns[M]) longest() (longest M) {
	most := -1
	for _, m := range t.list {
		if b := m.state().bytes; b > most {
			longest, most = m, b
		}
	}
	return longest
}
