package hlc_test

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/hlc"
)

func TestNext(t *testing.T) {
	const now = 1_700_000_000_000
	last := crdt.StampMax - 1
	cases := map[string]struct {
		edit, now int64
		after     crdt.Stamp
		want      crdt.Stamp
	}{
		"on nothing":                   {now - 5, now, 0, crdt.StampOf(now-5, 0)},
		"later than its base":          {now, now, crdt.StampOf(now-1, 9), crdt.StampOf(now, 0)},
		"same millisecond as its base": {now, now, crdt.StampOf(now, 4), crdt.StampOf(now, 5)},
		"before its base":              {now - 90, now, crdt.StampOf(now, 4), crdt.StampOf(now, 5)},
		"beyond now":                   {now + 60_000, now, 0, crdt.StampOf(now, 0)},
		"base beyond now":              {now, now, crdt.StampOf(now+50, 1), crdt.StampOf(now+50, 2)},
		"full counter carries":         {now, now, crdt.StampOf(now, math.MaxUint16), crdt.StampOf(now+1, 0)},
		"before 1970":                  {-8, now, 0, 1},
		"last stamp that may be used":  {now, now, last - 1, last},
	}
	for name, c := range cases {
		got, err := hlc.Next(c.edit, c.now, c.after)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
	for _, after := range []crdt.Stamp{last, crdt.StampMax} {
		if got, err := hlc.Next(now, now, after); !errors.Is(err, hlc.ErrExhausted) {
			t.Errorf("after %s: %s, %v", after, got, err)
		}
	}
}

// A stamp follows its base, never leaves the reserved range, and lies beyond
// now only where the base already did.
func TestNextLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		edit, now := rapid.Int64().Draw(t, "edit"), rapid.Int64Range(0, 1<<48-1).Draw(t, "now")
		after := crdt.Stamp(rapid.Uint64().Draw(t, "after"))
		got, err := hlc.Next(edit, now, after)
		if err != nil {
			if after < crdt.StampMax-1 {
				t.Fatalf("refused after %s: %v", after, err)
			}
			return
		}
		if got <= after || got == 0 || got == crdt.StampMax {
			t.Fatalf("after %s came %s", after, got)
		}
		if got > crdt.StampOf(now, 0) && got != after+1 {
			t.Fatalf("now %d pulled to %s", now, got)
		}
	})
}
