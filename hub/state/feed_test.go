package state

import (
	"slices"
	"testing"

	"github.com/entente-sync/entente/crdt"
)

// small is a version of some 40 bytes.
func small(offset crdt.Offset) *entry {
	op := crdt.Op{Key: crdt.Key{Field: "f"}, Value: []byte("some value")}
	return &entry{op: op.AppendCanonical(nil), offset: offset, birth: crdt.Position{Epoch: 1, Offset: offset}}
}

// What is overwritten takes space for a while, but never more than what lives,
// and reading from any cursor is not disturbed.
func TestFeedSweeps(t *testing.T) {
	const alive, rounds = 500, 300
	var f feed
	type at struct {
		page   uint32
		offset crdt.Offset
	}
	var current [alive]at
	head := crdt.Offset(0)
	for round := range rounds {
		for i := range current {
			if i%7 == 3 && round%50 != 0 { // seldom written: these lie between those that go
				continue
			}
			head++
			was := current[i]
			n, _ := f.push(small(head))
			current[i] = at{n, head}
			if was.offset != 0 {
				f.drop(was.page, was.offset)
			}
		}
		bytes, pages := 0, 0
		for _, g := range f.pages {
			if g != nil {
				bytes += len(g.data)
				pages++
			}
		}
		if limit := 2*alive*len(appendEntry(nil, small(head))) + pageBytes; bytes > limit {
			t.Fatalf("round %d: %d bytes for %d alive", round, bytes, alive)
		}
		if len(f.order) > 2*(pages+sweepMin) || len(f.pages) > 2*(pages+sweepMin) {
			t.Fatalf("round %d: %d places, %d numbers for %d pages", round, len(f.order), len(f.pages), pages)
		}
		after := head - crdt.Offset(round%alive)
		var want []crdt.Offset
		for _, c := range current {
			if c.offset > after {
				want = append(want, c.offset)
			}
		}
		slices.Sort(want)
		got, cursor := readAll(t, &f, after, head, 1<<20)
		if !slices.Equal(got, want) || cursor != head {
			t.Fatalf("round %d: %d entries behind %d, want %d; cursor %d", round, len(got), after, len(want), cursor)
		}
	}
}

func readAll(t *testing.T, f *feed, after, head crdt.Offset, bytesMax int) ([]crdt.Offset, crdt.Offset) {
	t.Helper()
	const entriesMax = 1 << 20
	var r reader
	entries, cursor, err := r.read(f.views(after, entriesMax), after, head, entriesMax, bytesMax)
	if err != nil {
		t.Fatal(err)
	}
	var out []crdt.Offset
	for _, e := range entries {
		out = append(out, e.Offset)
	}
	return out, cursor
}

// The limit of bytes holds, but one entry always passes.
func TestFeedBytes(t *testing.T) {
	var f feed
	for i := range 5 {
		op := crdt.Op{Value: make([]byte, 100)}
		f.push(&entry{op: op.AppendCanonical(nil), offset: crdt.Offset(i + 1)})
	}
	size := len((&crdt.Op{Value: make([]byte, 100)}).AppendCanonical(nil))
	for _, c := range []struct{ bytesMax, want int }{{0, 1}, {size - 1, 1}, {2 * size, 2}, {3*size - 1, 2}, {10 * size, 5}} {
		entries, cursor := readAll(t, &f, 0, 5, c.bytesMax)
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

// BenchmarkOverwrite appends versions of registers that were written not long ago,
// in no order: what is dead goes before a checkpoint has it.
func BenchmarkOverwrite(b *testing.B) {
	type at struct {
		page   uint32
		offset crdt.Offset
	}
	op := crdt.Op{Key: crdt.Key{Field: "title"}, Value: make([]byte, 100)}
	e := entry{op: op.AppendCanonical(nil), birth: crdt.Position{Epoch: 1}}
	var f feed
	current := make([]at, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		e.offset++
		e.birth.Offset = e.offset
		was := &current[uint64(e.offset)*2_654_435_761>>7%uint64(len(current))]
		page, _ := f.push(&e)
		if was.offset != 0 {
			f.drop(was.page, was.offset)
		}
		*was = at{page, e.offset}
	}
}
