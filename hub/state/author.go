package state

import (
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// author is what is remembered of one author: enough to answer every known seq
// again, in space that grows with refusals only.
type author struct {
	name    crdt.Author // the one copy of its strings
	seen    crdt.Seq
	applied crdt.Seq
	refused []RefusedRun
}

func (a *author) state() AuthorState {
	return AuthorState{Author: a.name, Seen: a.seen, Applied: a.applied}
}

// refusal returns why seq was refused, "" if it was applied.
func (a *author) refusal(seq crdt.Seq) Reason {
	i, _ := slices.BinarySearchFunc(a.refused, seq, func(r RefusedRun, seq crdt.Seq) int {
		if r.To < seq {
			return -1
		}
		return 1
	})
	if i < len(a.refused) && a.refused[i].From <= seq {
		return a.refused[i].Reason
	}
	return ""
}

// refuse consumes the next seq.
func (a *author) refuse(reason Reason) {
	a.seen++
	if n := len(a.refused); n > 0 && a.refused[n-1].To == a.seen-1 && a.refused[n-1].Reason == reason {
		a.refused[n-1].To = a.seen
		return
	}
	a.refused = append(a.refused, RefusedRun{From: a.seen, To: a.seen, Reason: reason})
}

func (a *author) row(pact crdt.Pact) AuthorRow {
	return AuthorRow{Pact: pact, State: a.state(), Refused: slices.Clone(a.refused)}
}
