package ledger

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// linearMax bounds the search for one order; a history of a round is far smaller.
const linearMax = 30 * time.Second

func sortBy[T any](s []T, key func(T) int64) {
	slices.SortStableFunc(s, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

// history is one object's operations and what it may do.
type history struct {
	name  string
	model porcupine.NondeterministicModel
	ops   []porcupine.Operation
}

func (h *history) check() porcupine.CheckResult {
	model := h.model.ToModel()
	return porcupine.CheckOperationsTimeout(model, h.ops, linearMax)
}

func (l *Ledger) report(r porcupine.CheckResult, what string) {
	switch r {
	case porcupine.Illegal:
		l.Violate(Order, "%s is not linearizable", what)
	case porcupine.Unknown:
		l.Violate(Stuck, "%s: no order found in %s", what, linearMax)
	}
}

// admit is one answer, or its absence, as the admission of a lane sees it: places
// from..to were answered for good, or there was a gap before from, or the outcome
// of from..to is not known.
type admit struct {
	from, to int
	answer   admitAnswer
}

type admitAnswer int

const (
	answeredGood admitAnswer = iota
	answeredGap
	answeredUnknown
)

// next is the register of a lane: the newest place that was answered for good.
// Ops are taken in order only.
func (a admit) next(seen int) []int {
	switch a.answer {
	case answeredGood:
		if seen >= a.from-1 {
			return []int{max(seen, a.to)}
		}
		return nil
	case answeredGap:
		if seen < a.from-1 {
			return []int{seen}
		}
		return nil
	}
	out := []int{seen}
	if seen >= a.from-1 {
		for place := max(seen, a.from-1) + 1; place <= a.to; place++ {
			out = append(out, place)
		}
	}
	return out
}

// admissions makes the history of each lane. Caller holds mu.
func (l *Ledger) admissions(attempts []*Attempt) []history {
	byLane := map[int][]porcupine.Operation{}
	first := map[int]int{} // what was answered for good before the round
	for _, t := range attempts {
		add := func(a admit, returned int64) {
			byLane[t.lane.id] = append(byLane[t.lane.id], porcupine.Operation{
				ClientId: t.lane.id, Input: a, Call: t.called, Return: returned,
			})
		}
		if t.good[0] > 0 {
			add(admit{t.good[0], t.good[1], answeredGood}, t.returned)
		}
		if t.gap > 0 {
			add(admit{t.gap, t.to, answeredGap}, t.returned)
		}
		if t.unknown || t.returned == 0 {
			add(admit{t.from, t.to, answeredUnknown}, math.MaxInt64)
		}
		if _, ok := first[t.lane.id]; !ok {
			first[t.lane.id] = t.lane.settledBefore(t.called)
		}
	}
	var out []history
	for id, ops := range byLane {
		seen := first[id]
		out = append(out, history{name: l.lanes[id].name, ops: ops, model: porcupine.NondeterministicModel{
			Init: func() []any { return []any{seen} },
			Step: func(state, input, _ any) []any {
				var next []any
				for _, n := range input.(admit).next(state.(int)) {
					next = append(next, n)
				}
				return next
			},
		}})
	}
	return out
}

// settledBefore returns how far the lane was answered for good before a moment.
func (a *Lane) settledBefore(moment int64) int {
	for i := len(a.ops); i > 0; i-- {
		if e := a.ops[i-1]; e.answered != 0 && e.answered < moment {
			return i
		}
	}
	return 0
}

// lanesMax bounds the lanes that write one register.
const lanesMax = 8

// held is what a register holds: an op of the history, by index, or what it held
// before (-1) or nothing (-2); the offset of its newest effect; and how many ops
// of each lane it has seen, since each lane's come in order.
type held struct {
	cur  int
	last crdt.Offset
	seen [lanesMax]uint16
}

const (
	curBefore = -1
	curNone   = -2
)

// register is the history of one register.
type register struct {
	before Version
	ops    []*entry
	lane   []int // of each op, counted from 0 within this register
	nth    []int // of each op within its lane
}

// write is an op by index; a read of what is current has index -1.
type write struct {
	op   int
	read int // what a read found: an index, curBefore or curNone
}

// registers makes the history of each register that was written. Caller holds mu.
func (l *Ledger) registers(attempts []*Attempt, before, after Rest) []history {
	byKey := map[crdt.Key][]*entry{}
	for _, t := range attempts {
		for _, e := range t.lane.ops[t.from-1 : t.to] {
			if e.sent == t.called && e.outcome == wire.OutcomeApplied {
				byKey[e.op.Key] = append(byKey[e.op.Key], e)
			}
		}
	}
	var out []history
	for key, ops := range byKey {
		h := &register{ops: ops}
		if fold := before[key.Pact]; fold != nil {
			h.before = fold.Registers[key]
		}
		out = append(out, h.history(key, after[key.Pact].Registers[key]))
	}
	return out
}

func (h *register) history(key crdt.Key, now Version) history {
	slices.SortStableFunc(h.ops, func(a, b *entry) int { return cmp.Compare(a.place, b.place) })
	lanes := map[int]int{}
	count := map[int]int{}
	out := history{name: key.String()}
	read := write{op: -1, read: curNone}
	if now.Digest == h.before.Digest && now.Offset != 0 {
		read.read = curBefore
	}
	for i, e := range h.ops {
		if _, known := lanes[e.lane]; !known {
			lanes[e.lane] = len(lanes)
		}
		h.lane = append(h.lane, lanes[e.lane])
		h.nth = append(h.nth, count[e.lane])
		count[e.lane]++
		out.ops = append(out.ops, porcupine.Operation{ClientId: e.lane, Input: write{op: i}, Call: e.sent, Return: e.answered})
		if e.digest == now.Digest {
			read.read = i
		}
	}
	out.ops = append(out.ops, porcupine.Operation{Input: read, Call: math.MaxInt64 - 1, Return: math.MaxInt64})
	begin := held{cur: curNone}
	if h.before.Offset != 0 {
		begin = held{cur: curBefore, last: h.before.Offset}
	}
	out.model = porcupine.NondeterministicModel{
		Init: func() []any { return []any{begin} },
		Step: func(state, input, _ any) []any {
			var next []any
			for _, n := range h.step(state.(held), input.(write)) {
				next = append(next, n)
			}
			return next
		},
	}
	return out
}

// step is last-writer-wins with the conflict rule, over what is known of offsets.
func (h *register) step(s held, in write) []held {
	if in.op < 0 {
		if in.read == s.cur {
			return []held{s}
		}
		return nil
	}
	e := h.ops[in.op]
	if lane := h.lane[in.op]; lane >= lanesMax || int(s.seen[lane]) != h.nth[in.op] {
		return nil
	}
	s.seen[h.lane[in.op]]++
	saw, may := h.saw(s, e)
	greater := h.greater(s, e)
	var out []held
	switch {
	case saw && !greater: // would have been refused
	case saw, greater:
		out = h.effect(out, s, e, in.op)
	default:
		out = h.effect(out, s, e, s.cur)
	}
	if may && !saw && greater {
		out = h.effect(out, s, e, in.op)
	}
	return out
}

// effect is e made current, if cur names it, or recorded as a loser.
func (h *register) effect(out []held, s held, e *entry, cur int) []held {
	offset := e.effect
	if current := cur != s.cur; current && offset == 0 {
		offset = e.birth
	} else if !current && e.birth != 0 {
		return out // a feed showed it as current
	}
	if offset != 0 && offset <= s.last {
		return out
	}
	s.cur, s.last = cur, max(s.last, offset)
	return append(out, s)
}

// saw reports whether e was made on what the register holds; may, that it may
// have been, where the birth of that is not known.
func (h *register) saw(s held, e *entry) (saw, may bool) {
	base := e.op.Base
	var id crdt.OpID
	var birth crdt.Offset
	switch s.cur {
	case curNone:
		return true, true
	case curBefore:
		id, birth = h.before.ID, h.before.Offset
	default:
		id, birth = h.ops[s.cur].op.ID(), h.ops[s.cur].birth
	}
	switch {
	case id == base.Pred:
		return true, true
	case base.Birth.Offset == 0:
		return false, false
	case birth == 0:
		return false, true
	}
	covers := birth <= base.Birth.Offset
	return covers, covers
}

func (h *register) greater(s held, e *entry) bool {
	mine := crdt.Version{Stamp: e.op.Stamp, Author: e.op.Author, Digest: e.digest}
	var theirs crdt.Version
	switch s.cur {
	case curNone:
		return true
	case curBefore:
		theirs = crdt.Version{Stamp: h.before.Stamp, Author: h.before.ID.Author, Digest: h.before.Digest}
	default:
		c := h.ops[s.cur]
		theirs = crdt.Version{Stamp: c.op.Stamp, Author: c.op.Author, Digest: c.digest}
	}
	return mine.Compare(&theirs) > 0
}
