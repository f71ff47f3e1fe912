package crdt_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
)

func TestStampKeepsItsParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		millis, counter := rapid.Int64Range(0, 1<<48-1).Draw(t, "millis"), rapid.Uint16().Draw(t, "counter")
		s := crdt.StampOf(millis, counter)
		if s.Millis() != millis || s.Counter() != counter || !s.Time().Equal(time.UnixMilli(millis)) {
			t.Fatalf("%d.%d came back as %d.%d", millis, counter, s.Millis(), s.Counter())
		}
		if crdt.StampAt(s.Time()) != crdt.StampOf(millis, 0) {
			t.Fatal("a stamp's time is another stamp")
		}
		o := crdt.Stamp(rapid.Uint64().Draw(t, "other"))
		if (s < o) != (s.String() < o.String()) {
			t.Fatal("stamps don't sort as they are printed")
		}
		next, ok := o.Next()
		if ok != (o != crdt.StampMax) || ok && next != o+1 {
			t.Fatalf("after %s comes %s", o, next)
		}
	})
}

func TestStampClampsItsMillis(t *testing.T) {
	if s := crdt.StampOf(-1, 7); s != crdt.StampOf(0, 7) {
		t.Errorf("before 1970: %s", s)
	}
	if s := crdt.StampOf(math.MaxInt64, 0); s != crdt.StampOf(1<<48-1, 0) {
		t.Errorf("beyond 48 bits: %s", s)
	}
}
