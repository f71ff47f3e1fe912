package link

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// far is a server whose connections a test holds.
func far(t *testing.T) (address string, accepted <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	out := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			out <- c
		}
	}()
	return l.Addr().String(), out
}

func linked(t *testing.T) (k *Link, near, other net.Conn) {
	t.Helper()
	address, accepted := far(t)
	k, err := New("")
	check(t, err)
	t.Cleanup(func() { k.Close() })
	k.Connect(address)
	near = dial(t, k)
	return k, near, <-accepted
}

func dial(t *testing.T, k *Link) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", k.Address())
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	check(t, err)
}

func arrives(t *testing.T, c net.Conn, text string) {
	t.Helper()
	check(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
		t.Fatalf("got %q, %v; want %q", buf, err, text)
	}
}

func nothing(t *testing.T, c net.Conn) {
	t.Helper()
	check(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := c.Read(make([]byte, 1))
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes arrived, %v", n, err)
	}
}

func TestBothWaysAndTheEnd(t *testing.T) {
	_, near, other := linked(t)
	send(t, near, "question")
	arrives(t, other, "question")
	send(t, other, "answer")
	arrives(t, near, "answer")
	other.Close()
	check(t, near.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the other side closed: %v", err)
	}
}

// What is held arrives when the link heals; the other way goes on meanwhile.
func TestOneWayCut(t *testing.T) {
	k, near, other := linked(t)
	send(t, near, "before")
	arrives(t, other, "before")
	k.Hold(Out)
	send(t, near, "late")
	send(t, other, "answer")
	arrives(t, near, "answer")
	nothing(t, other)
	k.Heal()
	arrives(t, other, "late")
}

// A connection that is dialled during a cut gets through when it heals.
func TestDialledDuringACut(t *testing.T) {
	address, accepted := far(t)
	k, err := New("")
	check(t, err)
	defer k.Close()
	k.Connect(address)
	k.Hold(Back)
	near := dial(t, k)
	send(t, near, "hello")
	select {
	case <-accepted:
		t.Fatal("it got through")
	case <-time.After(50 * time.Millisecond):
	}
	k.Heal()
	arrives(t, <-accepted, "hello")
}

// A half-open connection swallows and never recovers; a new one is good. At the
// end of the fault it is reset.
func TestHalfOpen(t *testing.T) {
	address, accepted := far(t)
	k, err := New("")
	check(t, err)
	defer k.Close()
	k.Connect(address)
	old := dial(t, k)
	send(t, old, "first")
	end := <-accepted
	arrives(t, end, "first")
	if n := k.HalfOpen(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	send(t, old, "swallowed")
	nothing(t, end)
	end.Close()
	nothing(t, old)
	fresh := dial(t, k)
	send(t, fresh, "good")
	arrives(t, <-accepted, "good")
	k.Heal()
	check(t, old.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := old.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after healing: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	k, err := New("")
	check(t, err)
	defer k.Close()
	near := dial(t, k)
	check(t, near.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := near.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestSlow(t *testing.T) {
	k, near, other := linked(t)
	k.Slow(time.Hour, 1)
	send(t, near, "a")
	nothing(t, other)
	k.Heal()
	arrives(t, other, "a")
	k.Slow(time.Millisecond, 1<<20)
	send(t, near, "b")
	arrives(t, other, "b")
}
