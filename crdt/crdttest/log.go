package crdttest

import "github.com/entente-sync/entente/crdt"

// JudgeFunc is the shape of crdt.Judge, so that a broken one can be put to the
// world.
type JudgeFunc func(cur, op *crdt.Register, lineage crdt.Lineage, loserPreds []crdt.OpID) crdt.Verdict

// Log is the reference for what a hub does with the ops of one register, in the
// order of its log. It forgets nothing and is not made to be fast.
type Log struct {
	Judge   JudgeFunc
	Epoch   crdt.Epoch
	Lineage crdt.Lineage
	Head    crdt.Offset

	Current crdt.Register
	Open    map[crdt.OpID]crdt.Register // losers of open conflict records
	Closed  map[crdt.OpID]crdt.OpID     // losers of resolved ones, and what resolved them
	answers map[crdt.OpID]Answer
}

// Answer is what an op's author hears.
type Answer struct {
	Verdict crdt.Verdict
	At      crdt.Position // the feed has passed the op once it has passed this
}

// NewLog returns an empty log in epoch 1 under crdt.Judge.
func NewLog() *Log {
	return &Log{
		Judge: crdt.Judge, Epoch: 1,
		Open:   map[crdt.OpID]crdt.Register{},
		Closed: map[crdt.OpID]crdt.OpID{}, answers: map[crdt.OpID]Answer{},
	}
}

// Apply puts the next op into the log. A known op gets the same answer again.
// A conflict record gets its offset before the winner.
func (l *Log) Apply(op crdt.Op) Answer {
	if answer, ok := l.answers[op.ID()]; ok {
		return answer
	}
	r := crdt.NewRegister(op, crdt.Position{})
	verdict := l.Judge(&l.Current, &r, l.Lineage, l.loserPreds())
	if verdict == crdt.VerdictMalformed {
		return l.answer(op, verdict)
	}
	if _, open := l.Open[op.Base.Pred]; open {
		delete(l.Open, op.Base.Pred)
		l.Closed[op.Base.Pred] = op.ID()
		l.Head++
	}
	switch verdict {
	case crdt.VerdictWon:
		l.record(l.Current)
	case crdt.VerdictLost:
		l.record(r)
	}
	if verdict.Current() {
		l.Head++
		r.Birth = crdt.Position{Epoch: l.Epoch, Offset: l.Head}
		l.Current = r
	}
	return l.answer(op, verdict)
}

// Rebuild begins a new epoch as a full copy of this one. Offsets go on from a
// lower number, as they may: they mean nothing across epochs.
func (l *Log) Rebuild() {
	child := l.Epoch*31 + 7
	l.Lineage = append(l.Lineage, crdt.Fork{Child: child, Parent: l.Epoch, At: l.Head})
	l.Epoch, l.Head = child, l.Head/2
}

func (l *Log) record(loser crdt.Register) {
	l.Head++
	l.Open[loser.Op.ID()] = loser
}

func (l *Log) answer(op crdt.Op, v crdt.Verdict) Answer {
	a := Answer{Verdict: v, At: crdt.Position{Epoch: l.Epoch, Offset: l.Head}}
	l.answers[op.ID()] = a
	return a
}

func (l *Log) loserPreds() []crdt.OpID {
	var preds []crdt.OpID
	for _, r := range l.Open {
		if !r.Op.Base.Pred.IsZero() {
			preds = append(preds, r.Op.Base.Pred)
		}
	}
	return preds
}
