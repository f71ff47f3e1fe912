package state

import (
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// refusedRunsMax bounds what one author can make every replica remember.
const refusedRunsMax = 4096

// author is what is remembered of one author: enough to answer every known seq
// again, in bounded space.
type author struct {
	name    crdt.Author // the one copy of its strings
	number  uint32      // of pactState.authors
	seen    crdt.Seq
	applied crdt.Seq
	heard   crdt.Seq // newest among offered ops; what is above seen is not answered for
	refused []RefusedRun
	dirty   bool // is in the Machine's dirty list
}

func (a *author) state() AuthorState {
	return AuthorState{Author: a.name, Seen: a.seen, Applied: a.applied, Heard: a.heard}
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

// refuse consumes the next seq and returns by how much the runs grew. Beyond
// refusedRunsMax the two oldest become one: an applied op between them would be
// answered "refused" if it came again, which makes its agent send the change as a
// new op: at worst a conflict too many.
func (a *author) refuse(reason Reason) uint64 {
	a.seen++
	n := len(a.refused)
	if n > 0 && a.refused[n-1].To == a.seen-1 && a.refused[n-1].Reason == reason {
		a.refused[n-1].To = a.seen
		return 1
	}
	grown := uint64(1)
	if n == refusedRunsMax {
		grown += uint64(a.refused[1].From - a.refused[0].To - 1)
		a.refused[1].From = a.refused[0].From
		a.refused = slices.Delete(a.refused, 0, 1)
	}
	a.refused = append(a.refused, RefusedRun{From: a.seen, To: a.seen, Reason: reason})
	return grown
}

// refusals counts the seqs in runs.
func (a *author) refusals() (n uint64) {
	for _, r := range a.refused {
		n += uint64(r.To-r.From) + 1
	}
	return n
}

func (a *author) row(pact crdt.Pact) AuthorRow {
	return AuthorRow{Pact: pact, State: a.state(), Refused: slices.Clone(a.refused)}
}
