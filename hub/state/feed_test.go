package state

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
)

// Holes are swept before they outnumber what is alive, and reading from any
// cursor is not disturbed.
func TestFeedSweeps(t *testing.T) {
	const alive, rounds = 10, 500
	var f feed
	var current [alive]*Stored
	head := crdt.Offset(0)
	for round := range rounds {
		for i := range current {
			if current[i] != nil {
				f.drop(current[i].Offset)
			}
			head++
			current[i] = &Stored{Offset: head}
			f.push(current[i])
		}
		if len(f.slots) > 2*(alive+sweepMin) || round > 0 && f.len() != alive {
			t.Fatalf("round %d: %d slots for %d alive", round, len(f.slots), f.len())
		}
		after := head - alive/2
		entries, cursor := f.read(after, head, 100, 0)
		if len(entries) != alive/2 || cursor != head {
			t.Fatalf("round %d: %d entries behind %d, cursor %d", round, len(entries), after, cursor)
		}
	}
}

// The limit of bytes holds, but one entry always passes.
func TestFeedBytes(t *testing.T) {
	var f feed
	for i := range 5 {
		s := &Stored{Offset: crdt.Offset(i + 1)}
		s.Register.Op.Value = make([]byte, 100)
		f.push(s)
	}
	for _, c := range []struct{ bytesMax, want int }{{0, 1}, {99, 1}, {200, 2}, {299, 2}, {1000, 5}} {
		entries, cursor := f.read(0, 5, 10, c.bytesMax)
		if len(entries) != c.want || cursor != crdt.Offset(c.want) {
			t.Errorf("%d bytes: %d entries to %d, want %d", c.bytesMax, len(entries), cursor, c.want)
		}
	}
}

// What an author can make us remember is bounded; the sums stay those of the runs.
func TestRefusedRunsAreBounded(t *testing.T) {
	a := &author{}
	var sum uint64
	for i := range 3 * refusedRunsMax {
		reason := ReasonMalformed
		if i%2 == 0 {
			reason = ReasonStampBase
		}
		sum += a.refuse(reason)
		if i%3 == 0 {
			a.seen++ // applied
		}
	}
	if len(a.refused) != refusedRunsMax || a.refusals() != sum {
		t.Fatalf("%d runs, %d refusals, sum %d", len(a.refused), a.refusals(), sum)
	}
	for i, r := range a.refused {
		if r.From > r.To || i > 0 && r.From <= a.refused[i-1].To {
			t.Fatalf("run %d: %+v behind %+v", i, r, a.refused[i-1])
		}
	}
	if a.refusal(1) == "" || a.refusal(a.seen+1) != "" {
		t.Fatal("the first seq is forgotten, or the next one is known")
	}
}

// fieldBytesMax is what crdt.LostField needs.
func TestFieldBytesMax(t *testing.T) {
	if n := len(crdt.LostField("", crdt.Digest{})); fieldBytesMax != crdt.FieldBytesMax-n {
		t.Fatalf("a conflict record's name adds %d bytes", n)
	}
}
