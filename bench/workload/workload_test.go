package workload_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/crdt"
)

func shapes() *rapid.Generator[workload.Shape] {
	return rapid.Custom(func(t *rapid.T) workload.Shape {
		s := workload.Shape{Writers: rapid.IntRange(1, workload.WritersMax).Draw(t, "writers"), Seed: rapid.Uint64().Draw(t, "seed")}
		s.Registers = rapid.IntRange(s.Writers, 200).Draw(t, "registers")
		if s.Writers > 1 {
			s.Contested = rapid.IntRange(0, 9).Draw(t, "contested")
		}
		return s
	})
}

// The winners that the writers tell are those of a map that merges every op.
func TestWinner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := shapes().Draw(t, "shape")
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		writers := make([]*workload.Writer, s.Writers)
		for i := range writers {
			writers[i] = s.Writer(i)
		}
		merged := map[uint32]workload.Version{}
		own := make([]map[uint32]uint64, s.Writers)
		for range rapid.IntRange(0, 1000).Draw(t, "ops") {
			n := rapid.IntRange(0, s.Writers-1).Draw(t, "writer")
			w := writers[n]
			filled := w.Filled()
			op := w.Next()
			if own[n] == nil {
				own[n] = map[uint32]uint64{}
			}
			switch mine := int(op.Register)%s.Writers == n; {
			case op.Seq != w.Seq() || op.Writer != n || int(op.Register) >= s.Registers:
				t.Fatalf("op %+v of writer %d at seq %d", op, n, w.Seq())
			case op.Pred != own[n][op.Register], !mine && op.Pred != 0:
				t.Fatalf("op %+v made on %d, own newest version %d", op, op.Pred, own[n][op.Register])
			case !filled && op.Pred != 0:
				t.Fatalf("op %+v of the fill is on a register that was written", op)
			case mine:
				own[n][op.Register] = op.Seq
			}
			if v := (workload.Version{Stamp: op.Stamp, Writer: n}); merged[op.Register].Less(v) {
				merged[op.Register] = v
			}
		}
		for r := range uint32(s.Registers) {
			if got := workload.Winner(writers, r); got != merged[r] {
				t.Fatalf("register %d: %+v wins, merged %+v", r, got, merged[r])
			}
		}
	})
}

func TestFillCoversEverythingOnce(t *testing.T) {
	s := workload.Shape{Registers: 1003, Writers: 4, Contested: 7, Seed: 1}
	seen := map[uint32]bool{}
	for i := range s.Writers {
		for w := s.Writer(i); !w.Filled(); {
			seen[w.Next().Register] = true
		}
	}
	if len(seen) != s.Registers {
		t.Errorf("the fill writes %d of %d registers", len(seen), s.Registers)
	}
}

func TestNamesAreAlikeAndInvertible(t *testing.T) {
	if got := workload.Fields(); !slices.IsSorted(got) || !slices.IsSorted(workload.Sites()) || len(workload.Sites()) != workload.WritersMax {
		t.Errorf("fields %v and sites %v must be sorted", got, workload.Sites())
	}
	rapid.Check(t, func(t *rapid.T) {
		s := shapes().Draw(t, "shape")
		r := uint32(rapid.IntRange(0, s.Registers-1).Draw(t, "register"))
		if key := s.Key(r); len(key) != workload.KeyBytes {
			t.Fatalf("key %q has %d bytes", key, len(key))
		}
		key := crdt.Key{Pact: workload.Pact, Type: workload.Type, Record: s.Record(r), Field: crdt.Field(s.Field(r))}
		if err := key.Validate(); err != nil {
			t.Fatal(err)
		}
		if back, ok := s.Register(s.Record(r), s.Field(r)); !ok || back != r {
			t.Fatalf("register %d comes back as %d, %v", r, back, ok)
		}
	})
}

func TestOpsAreTheSameEveryTime(t *testing.T) {
	s := workload.Shape{Registers: 64, Writers: 2, Contested: 5, Seed: 42}
	a, b := s.Writer(1), s.Writer(1)
	for range 200 {
		x, y := a.Next(), b.Next()
		if x.Register != y.Register || x.Pred != y.Pred || !slices.Equal(x.Value, y.Value) || len(x.Value) != workload.ValueBytes {
			t.Fatalf("%+v and %+v", x, y)
		}
		if _, err := crdt.OpenPlain(x.Value); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShapesThatCannotBePlayed(t *testing.T) {
	for _, s := range []workload.Shape{
		{Registers: 10},
		{Registers: 10, Writers: workload.WritersMax + 1},
		{Registers: 1, Writers: 2},
		{Registers: 10, Writers: 1, Contested: 2},
		{Registers: 10, Writers: 2, Contested: -1},
	} {
		if s.Validate() == nil {
			t.Errorf("%+v is valid", s)
		}
	}
}
