package hub

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Connections that are served count as much as those that wait; closing one, twice
// too, makes room for one.
func TestConnectionsAsideAreBounded(t *testing.T) {
	c := newConns()
	defer c.Close()
	come := func() (served, caller net.Conn) {
		here, there := net.Pipe()
		t.Cleanup(func() { there.Close() })
		c.hand(fromStranger{here})
		select {
		case conn := <-c.queue:
			return conn, there
		default:
			return nil, there
		}
	}
	var all []net.Conn
	for i := range asideMax {
		conn, _ := come()
		if conn == nil {
			t.Fatalf("connection %d is turned away", i)
		}
		all = append(all, conn)
	}
	turnedAway := func() {
		t.Helper()
		conn, caller := come()
		if conn != nil {
			t.Fatalf("%d connections are served", asideMax+1)
		}
		if _, err := caller.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("who was turned away reads %v", err)
		}
	}
	turnedAway()
	for range 2 {
		if err := all[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, _ := come(); conn == nil {
		t.Fatal("a closed connection keeps its place")
	}
	turnedAway()
}

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
