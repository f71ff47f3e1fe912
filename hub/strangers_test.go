package hub

import (
	"net/netip"
	"testing"
	"time"
)

// Who asks too often waits, alone; all together wait when all ask; time gives it back,
// and neither addresses without end nor a clock that goes back do harm.
func TestStrangersAreBounded(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := newStrangers(func() time.Time { return now })
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range strangerBurst {
		if !s.allow(address(1)) {
			t.Fatalf("try %d is refused", i)
		}
	}
	if s.allow(address(1)) {
		t.Fatal("one more than the burst")
	}
	if !s.allow(address(2)) {
		t.Fatal("another address pays for it")
	}
	now = now.Add(strangerEvery)
	if !s.allow(address(1)) || s.allow(address(1)) {
		t.Fatal("time gives back one try, and one alone")
	}
	now = now.Add(-time.Hour)
	if !s.allow(address(1)) {
		t.Fatal("refused because the clock went back")
	}
	now = now.Add(2 * time.Hour)
	allowed := 0
	for i := range 10 * strangersBurst {
		if s.allow(address(i)) {
			allowed++
		}
	}
	if allowed != strangersBurst {
		t.Fatalf("%d of all addresses were allowed at once, want %d", allowed, strangersBurst)
	}
	for i := range 5 * addressesMax {
		now = now.Add(strangersEvery)
		s.allow(address(i))
	}
	if len(s.of) > addressesMax {
		t.Fatalf("%d addresses are remembered", len(s.of))
	}
}
