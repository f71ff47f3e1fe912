package state_test

import (
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// twin is the machine again, as a list of everything that ever happened: no
// index, no derived state, the rule spelled out from its text.
type twin struct {
	head     crdt.Offset
	versions []version // every version that was ever put, in order
	answers  []answer
}

type version struct {
	offset crdt.Offset
	reg    crdt.Register
}

type answer struct {
	id     crdt.OpID
	reason state.Reason
}

func (w *twin) publish(c *command.Publish) []state.OpResult {
	var out []state.OpResult
	before := c.After
	for _, op := range c.Ops {
		out = append(out, w.op(c.Site, op, before))
		before = op.ID()
	}
	return out
}

func (w *twin) op(site crdt.Site, op crdt.Op, before crdt.OpID) state.OpResult {
	if i := w.answered(op.ID()); i >= 0 {
		if r := w.answers[i].reason; r != "" {
			return state.OpResult{Outcome: state.OutcomeRefused, Reason: r}
		}
		return state.OpResult{Outcome: state.OutcomeApplied}
	}
	previous := crdt.OpID{Author: op.Author, Seq: op.Seq - 1}
	if op.Seq > 1 && w.answered(previous) < 0 || !before.IsZero() && w.answered(before) < 0 {
		return state.OpResult{Outcome: state.OutcomeGap, Reason: state.ReasonGap}
	}
	reason := state.Reason(agreement(1).CheckOp(site, &op))
	if reason == "" && op.Stamp.Millis() > now+int64(driftMax) {
		reason = state.ReasonStampFuture
	}
	if reason == "" {
		reason = w.merge(crdt.NewRegister(op, crdt.Position{}))
	}
	w.answers = append(w.answers, answer{op.ID(), reason})
	if reason != "" {
		return state.OpResult{Outcome: state.OutcomeRefused, Reason: reason}
	}
	return state.OpResult{Outcome: state.OutcomeApplied}
}

func (w *twin) merge(r crdt.Register) state.Reason {
	k := r.Op.Key
	cur := w.current(k)
	open := w.open(k)
	saw := cur != nil && (r.Op.Base.Pred == cur.Op.ID() || !r.Op.Base.Birth.IsZero() && r.Op.Base.Birth.Offset >= cur.Birth.Offset)
	old := cur != nil && cur.Op.Base.Pred == r.Op.ID()
	for _, l := range open {
		old = old || l.Loser.Base.Pred == r.Op.ID()
	}
	if saw && !old && r.Op.Stamp <= cur.Op.Stamp {
		return state.ReasonStampBase
	}
	wins := cur == nil || !old && (saw || r.Compare(cur) > 0)
	for _, l := range open {
		if l.Loser.ID() == r.Op.Base.Pred && (wins || cur.Op.ID() != r.Op.Base.Pred) {
			resolved := l.Resolved(&r)
			w.put(resolved.Op())
		}
	}
	switch {
	case old:
		return ""
	case !wins:
		w.lose(&r, cur)
		return ""
	case cur != nil && !saw:
		w.lose(cur, &r)
	}
	w.bury(&r)
	w.put(r.Op)
	return ""
}

func (w *twin) bury(r *crdt.Register) {
	k := r.Op.Key
	if k.Field != crdt.FieldLife {
		if life := w.current(k.Sibling(crdt.FieldLife)); life != nil && deleted(life) {
			w.lose(r, life)
		}
		return
	}
	life, err := crdt.DecodeLife(r.Op.Value)
	if err != nil || !life.Deleted {
		return
	}
	for _, f := range []crdt.Field{"notes", "status", "title"} {
		cur := w.current(k.Sibling(f))
		if cur == nil {
			continue
		}
		base, ok := life.Seen[f]
		if !ok || base.Pred != cur.Op.ID() && (base.Birth.IsZero() || base.Birth.Offset < cur.Birth.Offset) {
			w.lose(cur, r)
		}
	}
}

func (w *twin) lose(loser, winner *crdt.Register) {
	l := crdt.NewLost(loser, winner)
	if op := l.Op(); w.current(op.Key) == nil {
		w.put(op)
	}
}

func (w *twin) put(op crdt.Op) {
	w.head++
	birth := crdt.Position{Epoch: epochOne, Offset: w.head}
	w.versions = append(w.versions, version{w.head, crdt.NewRegister(op, birth)})
}

func (w *twin) answered(id crdt.OpID) int {
	return slices.IndexFunc(w.answers, func(a answer) bool { return a.id == id })
}

// current is the last version put under k.
func (w *twin) current(k crdt.Key) *crdt.Register {
	for i := len(w.versions) - 1; i >= 0; i-- {
		if w.versions[i].reg.Op.Key == k {
			return &w.versions[i].reg
		}
	}
	return nil
}

// open decodes the open conflict records of k.
func (w *twin) open(k crdt.Key) (out []crdt.Lost) {
	for _, v := range w.feed() {
		f, ok := v.reg.Op.Key.Field.LostOf()
		if !ok || v.reg.Op.Key.Sibling(f) != k {
			continue
		}
		if l, err := crdt.DecodeLost(&v.reg.Op); err == nil && l.State == crdt.LostOpen {
			out = append(out, l)
		}
	}
	return out
}

// feed is every version that nothing was put over, in order.
func (w *twin) feed() (out []version) {
	for i, v := range w.versions {
		later := slices.ContainsFunc(w.versions[i+1:], func(l version) bool { return l.reg.Op.Key == v.reg.Op.Key })
		if !later {
			out = append(out, v)
		}
	}
	return out
}
