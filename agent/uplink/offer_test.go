package uplink_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/proto/wire"
)

// partsOf cuts an offer of n registers of helpdesk into parts of two, with an end.
func partsOf(n int) (parts []core.OfferPart) {
	for from := 0; from < n; from += 2 {
		part := core.OfferPart{Next: []byte{byte(from + 2)}}
		for i := from; i < min(from+2, n); i++ {
			op := crdttest.Op(crdt.StampOf(1000, uint16(i)), "acme", crdt.Seq(i+1), "held")
			op.Key.Pact = helpdesk
			part.Registers = append(part.Registers, crdt.NewRegister(op, crdt.Position{Epoch: 7, Offset: crdt.Offset(i + 1)}))
		}
		parts = append(parts, part)
	}
	parts[0].Older = crdt.Lineage{{Child: 7, Parent: 6, At: 3}}
	last := &parts[len(parts)-1]
	last.End, last.Held = true, []crdt.Position{{Epoch: 7, Offset: crdt.Offset(n)}}
	return parts
}

// offering prepares an agent that has n registers to bring.
func offering(n int) func(*config, *agent) {
	return func(_ *config, a *agent) { a.offers = map[crdt.Pact][]core.OfferPart{helpdesk: partsOf(n)} }
}

// received is every part that a scripted hub was sent, in order.
type received struct {
	mu  sync.Mutex
	all []wire.Offer
}

func (r *received) parts() []wire.Offer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// add returns how many parts there are with o.
func (r *received) add(o wire.Offer) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, o)
	return len(r.all)
}

// take answers each part with what answer makes of it.
func (r *received) take(answer func(o wire.Offer, turn int) wire.BatchResult) func(context.Context, wire.OfferStream) error {
	return func(_ context.Context, s wire.OfferStream) error {
		for {
			o, err := s.Recv()
			if err != nil {
				return eof(err)
			}
			if err := s.Send(answer(o, r.add(o))); err != nil {
				return err
			}
		}
	}
}

// answer gives every register, and the end, one result.
func answer(o wire.Offer, one wire.OpResult) wire.BatchResult {
	out := wire.BatchResult{Batch: o.ID, TimeMillis: 1000}
	n := len(o.Registers)
	if o.End != nil {
		n++
	}
	out.Results = slices.Repeat([]wire.OpResult{one}, n)
	return out
}

var taken = wire.OpResult{Outcome: wire.OutcomeApplied, Offset: 1}

func putOff(reason wire.Reason) wire.OpResult {
	return wire.OpResult{Outcome: wire.OutcomeRetry, Reason: reason}
}

// Part by part, each when the one before was answered and that is stored; births
// and ancestry as they were read; then, and not before, the feed.
func TestOfferIsBroughtBeforeTheFeed(t *testing.T) {
	var r received
	h := &hub{}
	h.offer = r.take(func(o wire.Offer, _ int) wire.BatchResult { return answer(o, taken) })
	var early atomic.Bool
	h.subscribe = func(ctx context.Context, pact crdt.Pact, _ crdt.Position, s wire.FeedStream) error {
		if pact == helpdesk && len(r.parts()) < 3 {
			early.Store(true)
		}
		return beat(ctx, s, wire.Slice{Cursor: crdt.Position{Epoch: 1}})
	}
	inWorld(t, h, offering(5), func(t *testing.T, w *world) {
		if len(r.parts()) != 3 || early.Load() {
			t.Fatalf("%d parts, feed read before the end: %v", len(r.parts()), early.Load())
		}
		for i, o := range r.parts() {
			if o.Pact != helpdesk || o.Epoch != 1 || (len(o.Lineage) > 0) != (i == 0) || (o.End != nil) != (i == 2) {
				t.Errorf("part %d: %+v", i, o)
			}
			if first := o.Registers[0]; first.Birth != (crdt.Position{Epoch: 7, Offset: crdt.Offset(2*i + 1)}) || !first.Place.IsZero() {
				t.Errorf("part %d begins with a register born at %s", i, first.Birth)
			}
		}
		if held := r.parts()[2].End.Held; len(held) != 1 || held[0] != (crdt.Position{Epoch: 7, Offset: 5}) {
			t.Errorf("the end says %v was read", held)
		}
		var count int
		told := eventsOf[core.Offered](w.agent)
		for _, e := range told {
			count += e.Taken
		}
		if len(told) != 3 || count != 5 || !told[2].Done || told[0].Done || told[2].Epoch != 1 {
			t.Errorf("the core was told %+v", told)
		}
	})
}

// What the hub puts off comes again as the same bytes, no sooner than asked, and
// the status says why meanwhile.
func TestOfferPutOff(t *testing.T) {
	for _, reason := range []wire.Reason{wire.ReasonMemberOlder, wire.ReasonHubDiskLow, wire.ReasonQuotaBytes, "of.tomorrow"} {
		t.Run(string(reason), func(t *testing.T) {
			var r received
			h := &hub{offer: r.take(func(o wire.Offer, turn int) wire.BatchResult {
				if turn > 1 {
					return answer(o, taken)
				}
				out := answer(o, putOff(reason))
				out.RetryAfter = 20 * time.Second
				return out
			})}
			inWorld(t, h, offering(1), func(t *testing.T, w *world) {
				if at := w.loop.Status().Pacts[helpdesk]; at.Delayed != reason {
					t.Errorf("the status says %q", at.Delayed)
				}
				time.Sleep(19 * time.Second)
				synctest.Wait()
				if n := len(r.parts()); n != 1 {
					t.Fatalf("%d parts before the time that was asked for", n)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if len(r.parts()) != 2 || r.parts()[0].Registers[0].Op.ID() != r.parts()[1].Registers[0].Op.ID() || h.greeted() != 1 {
					t.Fatalf("%d parts in %d sessions", len(r.parts()), h.greeted())
				}
				if at := w.loop.Status().Pacts[helpdesk]; at.Delayed != "" {
					t.Errorf("after it was taken the status says %q", at.Delayed)
				}
			})
		})
	}
}

// A register that the hub refuses (forged, malformed, outside the pact) is counted
// and costs no other one; what is refused stays with this agent.
func TestOfferRefused(t *testing.T) {
	var r received
	h := &hub{offer: r.take(func(o wire.Offer, turn int) wire.BatchResult {
		out := answer(o, taken)
		if turn == 1 {
			out.Results[1] = wire.OpResult{Outcome: wire.OutcomeRefused, Reason: wire.ReasonAuthorForged}
		}
		return out
	})}
	inWorld(t, h, offering(3), func(t *testing.T, w *world) {
		told := eventsOf[core.Offered](w.agent)
		if len(told) != 2 || told[0].Taken != 1 || told[0].Refused != 1 || told[1].Taken != 1 || !told[1].Done {
			t.Errorf("the core was told %+v", told)
		}
	})
}

// Answers that end the session: nothing is noted as taken, the agent greets anew
// and says what the matter is.
func TestOfferEndsTheSession(t *testing.T) {
	refusedEnd := func(o wire.Offer) wire.BatchResult {
		out := answer(o, taken)
		out.Results[len(out.Results)-1] = wire.OpResult{Outcome: wire.OutcomeRefused, Reason: wire.ReasonAuthorForged}
		return out
	}
	moved := func(o wire.Offer) wire.BatchResult {
		out := answer(o, putOff(wire.ReasonLeaderMoved))
		out.Leader = "three"
		return out
	}
	for name, tc := range map[string]struct {
		answer func(wire.Offer) wire.BatchResult
		want   string // in the status
		dialed string // next
	}{
		"another epoch":  {func(o wire.Offer) wire.BatchResult { return answer(o, putOff(wire.ReasonEpochChanged)) }, "changed", "two"},
		"another leader": {moved, "another node leads", "three"},
		"a forged end":   {refusedEnd, "the end is refused: author.forged", "two"},
		"of another part": {func(o wire.Offer) wire.BatchResult {
			o.ID += 7
			return answer(o, taken)
		}, "answered part 8 with", "two"},
		"too few results": {func(o wire.Offer) wire.BatchResult {
			out := answer(o, taken)
			out.Results = out.Results[1:]
			return out
		}, "with 1 results, want part 1 with 2", "two"},
	} {
		t.Run(name, func(t *testing.T) {
			var r received
			h := &hub{offer: r.take(func(o wire.Offer, turn int) wire.BatchResult {
				if turn > 1 {
					return answer(o, taken)
				}
				return tc.answer(o)
			})}
			inWorld(t, h, offering(1), func(t *testing.T, w *world) {
				if s := w.loop.Status(); s.Connected || !strings.Contains(s.Problem, tc.want) {
					t.Errorf("status %+v, want %q", s, tc.want)
				}
				if told := eventsOf[core.Offered](w.agent); len(told) != 0 {
					t.Errorf("the core was told %+v", told)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(r.parts()) != 2 || !w.loop.Status().Connected || len(w.dialed) < 2 || w.dialed[1] != tc.dialed {
					t.Errorf("%d parts, dialed %v, %+v", len(r.parts()), w.dialed, w.loop.Status())
				}
			})
		})
	}
}

// A hub that takes a part and never answers is left.
func TestOfferUnanswered(t *testing.T) {
	h := &hub{offer: func(ctx context.Context, s wire.OfferStream) error {
		if _, err := s.Recv(); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	inWorld(t, h, offering(1), func(t *testing.T, w *world) {
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if n := h.greeted(); n != 1 {
			t.Fatalf("%d sessions in the first half minute", n)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := h.greeted(); n != 2 {
			t.Errorf("%d sessions after half a minute of silence", n)
		}
	})
}

// What no message may hold never leaves: the session says so, and the rest of the
// agent goes on.
func TestOfferTooLarge(t *testing.T) {
	var r received
	h := &hub{offer: r.take(func(o wire.Offer, _ int) wire.BatchResult { return answer(o, taken) })}
	prepare := func(_ *config, a *agent) {
		part := partsOf(1)[0]
		part.Registers[0].Op.Value = make([]byte, crdt.ValueBytesMax+1)
		a.offers = map[crdt.Pact][]core.OfferPart{helpdesk: {part}}
	}
	inWorld(t, h, prepare, func(t *testing.T, w *world) {
		if s := w.loop.Status(); !strings.Contains(s.Problem, string(wire.ReasonOpOversize)) || len(r.parts()) != 0 {
			t.Errorf("%d parts were sent, the status says %q", len(r.parts()), s.Problem)
		}
	})
}

// The word about a pact goes to the leader: an agent that knows a follower alone
// would otherwise never be heard.
func TestAcceptanceGoesToTheLeader(t *testing.T) {
	h := &hub{}
	h.greet = func(w *wire.Welcome) error {
		for i := range w.Pacts {
			w.Pacts[i] = wire.PactState{Pact: w.Pacts[i].Pact, Refused: wire.ReasonPactUnknown}
		}
		return nil
	}
	var words atomic.Int64
	h.offerPact = func([]byte) (wire.Acceptance, error) {
		if words.Add(1) == 1 {
			return wire.Acceptance{}, &wire.Error{Reason: wire.ReasonLeaderMoved, Leader: "three"}
		}
		return wire.Acceptance{Missing: []crdt.Site{"globex"}}, nil
	}
	prepare := func(c *config, _ *agent) {
		c.Addresses = []string{"one"}
		c.Document = func(crdt.Pact) ([]byte, uint32) { return []byte("as accepted"), 1 }
	}
	inWorld(t, h, prepare, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		synctest.Wait()
		if len(w.dialed) < 2 || w.dialed[1] != "three" || words.Load() < 2 {
			t.Errorf("dialed %v, said %d times", w.dialed, words.Load())
		}
	})
}
