package crdt_test

import (
	"errors"
	"maps"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/crdt/value"
)

// Movements and stocktakes, in one place, against a plain number.
func TestCounterEqualsPlainNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := crdt.Counter{Moved: map[crdt.Author]int64{}}
		var plain int64
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			n := rapid.Int64Range(-1000, 1000).Draw(t, "n")
			if rapid.IntRange(0, 5).Draw(t, "stocktake") == 0 {
				c.Start, plain = c.Stocktake(n), n
				continue
			}
			a := crdttest.Authors().Draw(t, "author")
			moved, err := c.Move(a, n)
			if err != nil {
				t.Fatal(err)
			}
			c.Moved[a] = moved
			plain += n
		}
		if got, err := c.Total(); err != nil || got != plain {
			t.Fatalf("%d, %v; want %d", got, err, plain)
		}
	})
}

// Sites move at once and learn of each other in any order: all totals end equal,
// and a movement that the stocktake had not seen counts on top of it.
func TestCountersConverge(t *testing.T) {
	one := crdt.Author{Site: "acme", Agent: "one", Incarnation: 1}
	two := crdt.Author{Site: "globex", Agent: "one", Incarnation: 1}
	acme := crdt.Counter{Start: crdt.Start{Found: 100}, Moved: map[crdt.Author]int64{one: -7}}
	start := acme.Stocktake(90) // three had gone missing; globex's sale of 5 is unseen
	whole := crdt.Counter{Start: start, Moved: map[crdt.Author]int64{one: -7, two: -5}}
	if got, err := whole.Total(); err != nil || got != 85 {
		t.Errorf("%d, %v; want 85", got, err)
	}
	late := crdt.Counter{Start: whole.Stocktake(85), Moved: map[crdt.Author]int64{two: -5}} // acme's share not here yet
	if got, err := late.Total(); err != nil || got != 85 {
		t.Errorf("a share on its way counts as movement: %d, %v", got, err)
	}
	if again := late.Stocktake(85); !maps.Equal(again.Seen, whole.Stocktake(85).Seen) {
		t.Errorf("a stocktake forgot a share that is on its way: %v", again.Seen)
	}
}

func TestCounterOverflowIsAnError(t *testing.T) {
	one := crdt.Author{Site: "acme", Agent: "one", Incarnation: 1}
	two := crdt.Author{Site: "acme", Agent: "one", Incarnation: 2}
	c := crdt.Counter{Start: crdt.Start{Found: math.MaxInt64}, Moved: map[crdt.Author]int64{one: 1}}
	if n, err := c.Total(); !errors.Is(err, crdt.ErrOverflow) {
		t.Errorf("%d, %v", n, err)
	}
	c.Moved[two] = -1 // in whatever order they are added
	if n, err := c.Total(); err != nil || n != math.MaxInt64 {
		t.Errorf("%d, %v", n, err)
	}
	c = crdt.Counter{Start: crdt.Start{Seen: map[crdt.Author]int64{one: math.MinInt64}}, Moved: map[crdt.Author]int64{one: 0}}
	if n, err := c.Total(); !errors.Is(err, crdt.ErrOverflow) {
		t.Errorf("minus the least: %d, %v", n, err)
	}
	c = crdt.Counter{Moved: map[crdt.Author]int64{one: math.MinInt64}}
	if n, err := c.Move(one, -1); !errors.Is(err, crdt.ErrOverflow) {
		t.Errorf("%d, %v", n, err)
	}
}

func TestStartComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := crdt.Start{
			Found: rapid.Int64().Draw(t, "found"),
			Seen:  rapid.MapOf(crdttest.Authors(), rapid.Int64().Filter(func(n int64) bool { return n != 0 })).Draw(t, "seen"),
		}
		back, err := crdt.DecodeStart(s.Value())
		if err != nil || back.Found != s.Found || !maps.Equal(back.Seen, s.Seen) {
			t.Fatalf("%+v came back as %+v, %v", s, back, err)
		}
	})
	share := func(author string, n value.Value) value.Value {
		return value.Map(map[string]value.Value{"found": value.Int(1), "seen": value.Map(map[string]value.Value{author: n})})
	}
	for name, v := range map[string]value.Value{
		"null": value.Null(), "number": value.Int(1), "no author": share("acme", value.Int(1)),
		"another spelling": share("acme/one/01", value.Int(1)), "zero share": share("acme/one/1", value.Int(0)),
		"share of text": share("acme/one/1", value.Text("1")),
	} {
		if s, err := crdt.DecodeStart(v); !errors.Is(err, crdt.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := crdt.ShareValue(value.Text("1")); !errors.Is(err, crdt.ErrMalformed) {
		t.Errorf("share of text: %v", err)
	}
	if n, err := crdt.ShareValue(value.Int(-4)); err != nil || n != -4 {
		t.Errorf("%d, %v", n, err)
	}
}

// A share that moved there and back is 0 again; a second stocktake must not
// remember what the first one saw of it.
func TestStocktakeForgetsAShareThatWentBackToZero(t *testing.T) {
	one := crdt.Author{Site: "acme", Agent: "one", Incarnation: 1}
	first := crdt.Counter{Moved: map[crdt.Author]int64{one: -1}}
	second := crdt.Counter{Start: first.Stocktake(5), Moved: map[crdt.Author]int64{one: 0}}
	second.Start = second.Stocktake(9)
	if got, err := second.Total(); err != nil || got != 9 {
		t.Errorf("%d, %v; want 9", got, err)
	}
}
