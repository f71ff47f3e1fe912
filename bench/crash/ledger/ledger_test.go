package ledger

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/wire"
)

const (
	pact  = crdt.Pact("p")
	epoch = crdt.Epoch(7)
)

// world is an honest hub of one pact, small enough to be told lies about.
type world struct {
	t      *testing.T
	book   *Ledger
	lanes  map[crdt.Site]*Lane
	seqs   map[crdt.Site]crdt.Seq
	places map[crdt.OpID]int
	fold   *Fold
	rest   Rest
	clock  int64
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, book: New(), lanes: map[crdt.Site]*Lane{}, seqs: map[crdt.Site]crdt.Seq{},
		places: map[crdt.OpID]int{}, fold: NewFold(), clock: 1 << 20,
	}
	w.rest = Rest{pact: w.fold}
	for _, site := range []crdt.Site{"a", "b"} {
		w.lanes[site] = w.book.Lane(string(site))
	}
	return w
}

// op makes the next op of a site on a field, on top of a version or of nothing.
func (w *world) op(site crdt.Site, field crdt.Field, on *wire.Entry) crdt.Op {
	w.seqs[site]++
	w.clock++
	o := crdt.Op{
		Key:   crdt.Key{Pact: pact, Type: "t", Record: crdt.RecordID{1}, Field: field},
		Stamp: crdt.StampOf(w.clock, 0), Author: crdt.Author{Site: site, Agent: "m", Incarnation: 1}, Seq: w.seqs[site],
		PactVersion: 1, Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text("x")),
	}
	if on != nil {
		o.Base = crdt.Base{Pred: on.Register.Op.ID(), Birth: on.Register.Birth}
	}
	w.places[o.ID()] = w.lanes[site].Make(o, false)
	return o
}

func (w *world) send(o *crdt.Op) *Attempt {
	place := w.places[o.ID()]
	return w.lanes[o.Author.Site].Send(place, place)
}

// at is a version at an offset.
func at(o crdt.Op, offset crdt.Offset) *wire.Entry {
	return &wire.Entry{Offset: offset, Register: crdt.NewRegister(o, crdt.Position{Epoch: epoch, Offset: offset})}
}

// show lets a subscriber see entries up to a head.
func (w *world) show(head crdt.Offset, entries ...*wire.Entry) {
	slice := wire.Slice{Cursor: crdt.Position{Epoch: epoch, Offset: head}, Head: head}
	for _, e := range entries {
		w.book.See(pact, epoch, e)
		slice.Entries = append(slice.Entries, *e)
	}
	for _, problem := range w.fold.Take(&slice, false) {
		w.book.Violate(Order, "%s", problem)
	}
}

func (w *world) answer(t *Attempt, outcome wire.Outcome, reason wire.Reason, offset crdt.Offset) {
	w.t.Helper()
	if err := t.Answer([]wire.OpResult{{Outcome: outcome, Reason: reason, Offset: offset}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) applied(o *crdt.Op, offset crdt.Offset) {
	w.t.Helper()
	w.answer(w.send(o), wire.OutcomeApplied, "", offset)
}

// end checks the rest and the round, and wants exactly these kinds of violation.
func (w *world) end(kinds ...Kind) {
	w.t.Helper()
	w.book.CheckRest(w.rest)
	w.book.EndRound(Rest{}, w.rest)
	var got []Kind
	for _, v := range w.book.Violations() {
		if !slices.Contains(got, v.Kind) {
			got = append(got, v.Kind)
		}
	}
	slices.Sort(got)
	slices.Sort(kinds)
	if !slices.Equal(got, kinds) {
		w.t.Errorf("violations %v, want %v: %v", got, kinds, w.book.Violations())
	}
	total := w.book.Others()
	for _, k := range []Kind{Lost, Duplicated, Diverged} {
		total += w.book.Count(k)
	}
	if total != len(w.book.Violations()) {
		w.t.Errorf("%d violations are counted, %d are kept", total, len(w.book.Violations()))
	}
}

// lost is the conflict record of loser.
func lost(loser, winner crdt.Op) crdt.Op {
	a, b := crdt.NewRegister(loser, crdt.Position{}), crdt.NewRegister(winner, crdt.Position{})
	record := crdt.NewLost(&a, &b)
	return record.Op()
}

// An honest history: written over with the old one seen, and not seen.
func TestHonest(t *testing.T) {
	w := newWorld(t)
	first := w.op("a", "f", nil)
	w.applied(&first, 1)
	w.show(1, at(first, 1))
	second := w.op("b", "f", at(first, 1))
	w.applied(&second, 2)
	w.show(2, at(second, 2))
	third := w.op("a", "f", at(first, 1)) // has not seen the second
	w.applied(&third, 4)
	w.show(4, at(lost(second, third), 3), at(third, 4))
	w.end()
	if acked, made := w.book.Acked(); acked != 3 || made != 3 {
		t.Errorf("%d of %d are acked", acked, made)
	}
}

// lie is what a hub might do, and what it must be called.
type lie struct {
	tell func(w *world)
	want []Kind
}

func liesOfFeeds() map[string]lie {
	return map[string]lie{
		"an acked op is nowhere": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
		}, []Kind{Lost, Order}},
		"an op was replaced by one that had not seen it": {func(w *world) {
			first, second := w.op("a", "f", nil), w.op("b", "f", nil)
			w.applied(&first, 1)
			w.applied(&second, 2)
			w.show(2, at(second, 2))
		}, []Kind{Lost}},
		"one op at two offsets": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			w.book.See(pact, epoch, at(o, 2))
		}, []Kind{Answer, Duplicated}},
		"two ops at one offset": {func(w *world) {
			first, second := w.op("a", "f", nil), w.op("b", "g", nil)
			w.applied(&first, 1)
			w.show(1, at(first, 1))
			w.answer(w.send(&second), wire.OutcomeRetry, wire.ReasonLeaderLost, 0)
			w.applied(&second, 9)
			w.show(2, at(second, 2))
			w.book.See(pact, epoch, at(second, 1))
		}, []Kind{Duplicated}},
		"another op under a name": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			o.Value = crdt.Plain(value.Text("y"))
			w.book.See(pact, epoch, at(o, 2))
		}, []Kind{Duplicated}},
		"what nobody sent": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			o.Seq = 99
			w.book.See(pact, epoch, at(o, 2))
		}, []Kind{Invented}},
		"a conflict record of what nobody sent": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			other := o
			other.Seq = 99
			w.book.See(pact, epoch, at(lost(other, o), 2))
		}, []Kind{Invented}},
		"an offset that moved": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(2, at(o, 2))
		}, []Kind{Answer}},
		"another epoch": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			w.book.See(pact, epoch+1, at(o, 1))
		}, []Kind{Lost}},
	}
}

func liesOfAnswers() map[string]lie {
	return map[string]lie{
		"an answer that changed": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			w.answer(w.send(&o), wire.OutcomeRefused, wire.ReasonSeqReused, 0)
		}, []Kind{Answer}},
		"a refusal without reason": {func(w *world) {
			o := w.op("a", "f", nil)
			w.answer(w.send(&o), wire.OutcomeRefused, wire.ReasonStampFuture, 0)
		}, []Kind{Answer}},
		"no answer": {func(w *world) {
			o := w.op("a", "f", nil)
			w.send(&o).Break()
		}, []Kind{Stuck}},
		"sent after an ack, and in front of it": {func(w *world) {
			first := w.op("a", "f", nil)
			w.applied(&first, 5)
			second := w.op("b", "g", nil)
			w.applied(&second, 3)
			w.show(5, at(second, 3), at(first, 5))
		}, []Kind{Order}},
		"a gap though everything before was acked": {func(w *world) {
			first := w.op("a", "f", nil)
			w.applied(&first, 1)
			second := w.op("a", "g", nil)
			w.answer(w.send(&second), wire.OutcomeGap, wire.ReasonSeqGap, 0)
			w.applied(&second, 2)
			w.show(2, at(first, 1), at(second, 2))
		}, []Kind{Order}},
		"applied behind a gap": {func(w *world) {
			w.op("a", "f", nil)
			second := w.op("a", "g", nil)
			w.applied(&second, 1)
			w.show(1, at(second, 1))
		}, []Kind{Order, Stuck}},
		"the lesser of two is current": {func(w *world) {
			first, second := w.op("a", "f", nil), w.op("b", "f", nil)
			w.applied(&first, 1)
			w.applied(&second, 2)
			w.show(2, at(first, 1), at(lost(second, first), 2))
		}, []Kind{Order}},
		"a feed that goes back": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			w.show(0)
		}, []Kind{Order}},
		"a register twice in a feed": {func(w *world) {
			o := w.op("a", "f", nil)
			w.applied(&o, 1)
			w.show(1, at(o, 1))
			w.show(1, at(o, 1))
		}, []Kind{Order}},
	}
}

// Each lie is found, and called by its name.
func TestLies(t *testing.T) {
	lies := liesOfFeeds()
	maps.Copy(lies, liesOfAnswers())
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l.tell(w)
			w.end(l.want...)
		})
	}
}

// An op whose answer did not come may be in the log or not, until it is sent
// again.
func TestUnknownOutcomes(t *testing.T) {
	w := newWorld(t)
	first := w.op("a", "f", nil)
	w.send(&first).Break()
	second := w.op("a", "g", nil)
	w.answer(w.send(&second), wire.OutcomeApplied, "", 2) // so the first was
	w.answer(w.send(&first), wire.OutcomeApplied, "", 1)
	w.show(2, at(first, 1), at(second, 2))
	w.end()
}

func TestDifference(t *testing.T) {
	w := newWorld(t)
	first, second := w.op("a", "f", nil), w.op("a", "g", nil)
	w.show(2, at(first, 1), at(second, 2))
	same, less, other := w.fold.Clone(), w.fold.Clone(), w.fold.Clone()
	delete(less.Registers, second.Key)
	other.Registers[second.Key] = Version{Offset: 3}
	for _, c := range []struct {
		f, g *Fold
		want string
	}{
		{w.fold, same, ""}, {w.fold, less, "is missing"}, {less, w.fold, "is too much"}, {w.fold, other, "#0 at 3"},
	} {
		if got := c.f.Difference(c.g); got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("difference %q, want %q", got, c.want)
		}
	}
}
