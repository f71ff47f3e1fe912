package core_test

import (
	"slices"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/crdt"
)

// modelHub is a hub without rpc, log or disk: the conflict rule, a feed, and
// answers by seq.
type modelHub struct {
	epoch   crdt.Epoch
	head    crdt.Offset
	lineage crdt.Lineage
	regs    map[crdt.Key]*crdt.Register
	at      map[crdt.Key]crdt.Offset
	authors map[crdt.Author]crdt.Seq
	refused map[crdt.OpID]string
	losers  map[crdt.Key][]crdt.Op // open conflict records
	lost    map[string]bool        // values ever recorded as losers
	drift   int64                  // refuse stamps beyond now + drift, if > 0
}

func newHub() *modelHub {
	return &modelHub{
		epoch: 77, regs: map[crdt.Key]*crdt.Register{}, at: map[crdt.Key]crdt.Offset{},
		authors: map[crdt.Author]crdt.Seq{}, refused: map[crdt.OpID]string{},
		losers: map[crdt.Key][]crdt.Op{}, lost: map[string]bool{},
	}
}

// clone copies the hub, as a backup does.
func (h *modelHub) clone() *modelHub {
	c := newHub()
	c.epoch, c.head, c.lineage, c.drift = h.epoch, h.head, slices.Clone(h.lineage), h.drift
	for k, v := range h.regs {
		c.regs[k], c.at[k] = v, h.at[k]
	}
	for k, v := range h.authors {
		c.authors[k] = v
	}
	for k, v := range h.refused {
		c.refused[k] = v
	}
	for k, v := range h.losers {
		c.losers[k] = slices.Clone(v)
	}
	for k, v := range h.lost {
		c.lost[k] = v
	}
	return c
}

func (h *modelHub) put(r crdt.Register) {
	h.head++
	if r.Birth.IsZero() {
		r.Birth = crdt.Position{Epoch: h.epoch, Offset: h.head}
	}
	h.regs[r.Op.Key], h.at[r.Op.Key] = &r, h.head
}

func (h *modelHub) publish(e outbox.Entry, nowMillis int64) core.OpResult {
	op := e.Op
	seen := h.authors[op.Author]
	out := core.OpResult{Op: op.ID(), Outcome: core.OutcomeApplied, Offset: h.head}
	switch {
	case op.Seq <= seen:
		if reason := h.refused[op.ID()]; reason != "" {
			out.Outcome, out.Reason = core.OutcomeRefused, reason
		}
		return out
	case op.Seq != seen+1, !e.After.IsZero() && h.authors[e.After.Author] < e.After.Seq:
		out.Outcome = core.OutcomeGap
		return out
	}
	h.authors[op.Author] = op.Seq
	if h.drift > 0 && op.Stamp.Millis() > nowMillis+h.drift {
		return h.refuse(out, "stamp.future")
	}
	if !h.merge(op) {
		return h.refuse(out, "stamp.base")
	}
	out.Offset = h.head
	return out
}

func (h *modelHub) refuse(out core.OpResult, reason string) core.OpResult {
	h.refused[out.Op] = reason
	out.Outcome, out.Reason = core.OutcomeRefused, reason
	return out
}

func (h *modelHub) merge(op crdt.Op) bool {
	r := crdt.NewRegister(op, crdt.Position{})
	cur := h.regs[op.Key]
	if cur == nil {
		cur = &crdt.Register{}
	}
	var preds []crdt.OpID
	for _, l := range h.losers[op.Key] {
		preds = append(preds, l.Base.Pred)
	}
	switch crdt.Judge(cur, &r, h.lineage, preds) {
	case crdt.VerdictMalformed:
		return false
	case crdt.VerdictFirst, crdt.VerdictReplace:
		h.put(r)
	case crdt.VerdictWon:
		h.lose(cur, &r)
		h.put(r)
	case crdt.VerdictLost:
		h.lose(&r, cur)
	}
	h.losers[op.Key] = slices.DeleteFunc(h.losers[op.Key], func(l crdt.Op) bool {
		if l.ID() != op.Base.Pred {
			return false
		}
		h.resolve(&l, &r)
		return true
	})
	return true
}

// resolve closes the record of a loser that r was made on.
func (h *modelHub) resolve(loser *crdt.Op, r *crdt.Register) {
	record := h.regs[loser.Key.Sibling(crdt.LostField(loser.Key.Field, loser.Digest()))]
	if record == nil {
		return
	}
	if l, err := crdt.DecodeLost(&record.Op); err == nil {
		l = l.Resolved(r)
		h.put(crdt.NewRegister(l.Op(), crdt.Position{}))
	}
}

func (h *modelHub) lose(loser, winner *crdt.Register) {
	h.losers[loser.Op.Key] = append(h.losers[loser.Op.Key], loser.Op)
	if v, err := crdt.OpenPlain(loser.Op.Value); err == nil {
		h.lost[v.AsText()] = true
	}
	l := crdt.NewLost(loser, winner)
	h.put(crdt.NewRegister(l.Op(), crdt.Position{}))
}

// offer joins registers and knows where an outbox goes on.
func (h *modelHub) offer(part *core.OfferPart) {
	for _, r := range part.Registers {
		if cur := h.regs[r.Op.Key]; cur == nil || r.Compare(cur) > 0 {
			h.put(r)
		}
	}
	if a := part.After.Author; part.End && !part.After.IsZero() {
		h.authors[a] = max(h.authors[a], part.After.Seq)
	}
}

// feed cuts a slice behind cursor.
func (h *modelHub) feed(pact crdt.Pact, cursor crdt.Position, max int, now int64) core.Fed {
	var keys []crdt.Key
	for k, at := range h.at {
		if at > cursor.Offset {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b crdt.Key) int { return int(h.at[a]) - int(h.at[b]) })
	f := core.Fed{NowMillis: now, Pact: pact, Head: h.head, Cursor: crdt.Position{Epoch: h.epoch, Offset: h.head}}
	if len(keys) > max {
		keys = keys[:max]
		f.Cursor.Offset = h.at[keys[max-1]]
	}
	for _, k := range keys {
		f.Entries = append(f.Entries, *h.regs[k])
	}
	return f
}
