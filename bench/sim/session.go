package sim

import (
	"slices"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// session is one connection of an agent: a bag of batches and answers, and a
// feed in order, as far as it gets.
type session struct {
	epoch      crdt.Epoch
	next       uint64 // place in the outbox to go on at
	generation int    // grows with each rewind
	up         []sent
	down       []reply
	feed       []core.Fed
	cursor     crdt.Position // of the hub's side of the subscription
}

// sent is a batch on its way.
type sent struct {
	site       crdt.Site
	batch      wire.Batch
	generation int
}

// reply is an answer on its way.
type reply struct {
	sent
	result wire.BatchResult
}

const (
	inFlightMax = 4 // batches of a session
	slicesMax   = 4 // slices of a feed
)

func (s *session) rewind() {
	s.generation++
	s.next = 0
}

// connect greets the hub and subscribes where the store says.
func (a *agent) connect() {
	info, authors := a.w.hub.greet(a)
	e := core.Greeted{
		NowMillis: a.clock(), HubMillis: a.w.nowMillis, Pact: pactName,
		Epoch: info.Epoch, Head: info.Head, Lineage: info.Lineage,
	}
	for _, s := range authors {
		e.Authors = append(e.Authors, core.AuthorState(s))
	}
	a.session = nil
	if !a.step(e) {
		return
	}
	s := &session{epoch: info.Epoch}
	a.view(func(tx store.Tx) (err error) { s.cursor, err = core.Cursor(tx, pactName); return err })
	a.session = s
}

// hangUp ends the session; batches that left may still arrive.
func (a *agent) hangUp() {
	if a.session != nil {
		a.w.late = append(a.w.late, a.session.up...)
		a.session = nil
	}
}

func (a *agent) pending(tx store.Tx) (int, error) {
	entries, err := outbox.Batch(tx, pactName, 0, 1)
	return len(entries), err
}

// publish sends the next run of the outbox; false if there is nothing to send.
func (a *agent) publish() bool {
	s := a.session
	if s == nil || len(s.up)+len(s.down) >= inFlightMax || a.offering() {
		return false
	}
	b := wire.Batch{Pact: pactName, Epoch: s.epoch}
	a.view(func(tx store.Tx) error {
		entries, err := outbox.Batch(tx, pactName, s.next, 1+a.w.rng.IntN(6))
		for i := range entries {
			e := &entries[i]
			if i == 0 {
				b.After = e.After
			} else if e.After != b.Ops[i-1].ID() {
				break // one batch names one predecessor
			}
			b.Ops, s.next = append(b.Ops, e.Op), e.Position+1
		}
		return err
	})
	if len(b.Ops) == 0 {
		return false
	}
	copies := 1
	if a.w.stormy(a.w.plan.network, 10) {
		copies = a.w.rng.IntN(3) // lost, or doubled
	}
	for range copies {
		s.up = append(s.up, sent{a.site(), b, s.generation})
	}
	return true
}

// bring sends the next part of an offer to a hub of a new epoch, in a bad network
// sometimes twice, and sometimes its answer is lost; false if nothing is to be
// brought.
func (a *agent) bring() bool {
	if a.session == nil {
		return false
	}
	var part core.OfferPart
	open := false
	a.view(func(tx store.Tx) (err error) {
		part, open, err = core.NextOffer(tx, pactName, 1+a.w.rng.IntN(8), 1<<20, wire.OpBytes)
		return err
	})
	if !open {
		return false
	}
	o := wire.Offer{Pact: pactName, Epoch: a.session.epoch, Lineage: part.Older}
	for i := range part.Registers {
		o.Registers = append(o.Registers, wire.Offered{Op: part.Registers[i].Op, Birth: part.Registers[i].Birth})
	}
	if part.End {
		o.End = &wire.OfferEnd{After: part.After, Held: part.Held}
	}
	for range 1 + a.w.rng.IntN(2)*a.w.rng.IntN(2) {
		result := a.w.hub.offer(a.site(), o)
		ev := core.Offered{NowMillis: a.clock(), Pact: pactName, Epoch: a.session.epoch, Next: part.Next}
		for i, r := range result.Results {
			switch {
			case r.Outcome == wire.OutcomeRetry && r.Reason == wire.ReasonEpochChanged:
				a.hangUp()
				return true
			case r.Outcome == wire.OutcomeRetry:
				return true
			case r.Outcome != wire.OutcomeApplied:
				a.w.fail("hub", nil, "%s: offered register %d: %s %s", a.site(), i, r.Outcome, r.Reason)
			case i == len(part.Registers):
				ev.Done = true
			default:
				ev.Taken++
			}
		}
		if a.w.stormy(a.w.plan.network, 10) {
			continue
		}
		a.step(ev)
		if a.session == nil {
			return true
		}
	}
	return true
}

// offering reports whether the hub is to be brought something first.
func (a *agent) offering() (open bool) {
	a.view(func(tx store.Tx) (err error) { open, err = core.Offering(tx, pactName); return err })
	return open
}

// pick takes one message out of a bag: any one in a bad network.
func pick[M any](w *world, bag []M) (M, []M) {
	i := 0
	if w.stormy(w.plan.network, 1) {
		i = w.rng.IntN(len(bag))
	}
	m := bag[i]
	return m, slices.Delete(bag, i, i+1)
}

// arrive lets one batch reach the hub; false if none is on its way.
func (a *agent) arrive() bool {
	s := a.session
	if s == nil || len(s.up) == 0 {
		return false
	}
	var m sent
	m, s.up = pick(a.w, s.up)
	r := reply{m, a.w.hub.publish(m.site, m.batch)}
	copies := 1
	if a.w.stormy(a.w.plan.network, 10) {
		copies = a.w.rng.IntN(3)
	}
	for range copies {
		s.down = append(s.down, r)
	}
	return true
}

// answered hands one answer to the core; false if none is on its way. What a
// batch sent before a rewind says of gaps is stale.
func (a *agent) answered() bool {
	s := a.session
	if s == nil || len(s.down) == 0 {
		return false
	}
	var r reply
	r, s.down = pick(a.w, s.down)
	ev := core.Acked{NowMillis: a.clock(), HubMillis: r.result.TimeMillis, Pact: pactName, Epoch: s.epoch}
	for i, res := range r.result.Results {
		again := res.Outcome == wire.OutcomeRetry || res.Outcome == wire.OutcomeGap
		if again && res.Reason == wire.ReasonEpochChanged {
			a.hangUp()
			return true
		}
		if again && r.generation != s.generation {
			continue
		}
		ev.Results = append(ev.Results, core.OpResult{
			Op: r.batch.Ops[i].ID(), Outcome: core.Outcome(res.Outcome), Reason: string(res.Reason), Offset: res.Offset,
		})
	}
	if len(ev.Results) > 0 {
		a.step(ev)
	}
	return true
}

// push lets the hub cut a slice for the subscription; false if there is nothing new.
func (a *agent) push() bool {
	s := a.session
	if s == nil || len(s.feed) >= slicesMax || a.offering() {
		return false
	}
	slice, entries, err := a.w.hub.feed(s.cursor, 1+a.w.rng.IntN(8))
	if err != nil { // another epoch: the session ends, and the agent greets again
		a.hangUp()
		return true
	}
	var f inbox.Feed
	a.view(func(tx store.Tx) (err error) { f, err = inbox.GetFeed(tx, pactName); return err })
	if slice.Cursor == s.cursor && (f.Met || len(s.feed) > 0) {
		return false
	}
	s.cursor = slice.Cursor
	ev := core.Fed{Pact: pactName, Cursor: slice.Cursor, Head: slice.Head, Lineage: slice.Lineage}
	for _, e := range entries {
		ev.Entries = append(ev.Entries, e.Register)
	}
	s.feed = append(s.feed, ev)
	return true
}

// fed hands the next slice to the core, in a bad network sometimes twice.
func (a *agent) fed() bool {
	s := a.session
	if s == nil || len(s.feed) == 0 {
		return false
	}
	ev := s.feed[0]
	s.feed = s.feed[1:]
	if a.w.stormy(a.w.plan.network, 10) {
		s.feed = append([]core.Fed{ev}, s.feed...)
	}
	ev.NowMillis = a.clock()
	a.step(ev)
	return true
}
