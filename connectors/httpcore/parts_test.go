package httpcore

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
)

func TestGuard(t *testing.T) {
	blocked := "169.254.169.254 169.254.0.1 ::ffff:169.254.169.254 fe80::1 fe80::1%eth0 febf::1 64:ff9b::a9fe:a9fe " +
		"2002:a9fe:a9fe::1 ::169.254.169.254 0.0.0.0 0.1.2.3 :: 224.0.0.1 ff02::1 255.255.255.255 240.0.0.1 " +
		"100.100.100.200 168.63.129.16 fd00:ec2::254 192.0.0.192 2001::1 fec0::1 ::ffff:0.0.0.0 64:ff9b:1::a9fe:a9fe"
	inner := "127.0.0.1 127.8.9.1 ::1 ::ffff:127.0.0.1 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fdff::1 " +
		"100.64.0.1 198.18.0.1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:7f00:1::1 ::10.0.0.1"
	public := "8.8.8.8 172.32.0.1 2606:4700::1111 ::ffff:8.8.8.8 100.128.0.1 169.253.255.255 193.168.1.1"
	for _, c := range []struct {
		host      string
		private   bool
		addresses string
		want      bool
		why       string
	}{
		{"desk.example.com", false, blocked, false, "never reachable"},
		{"desk.example.com", true, blocked, false, "not even with private addresses allowed"},
		{"169.254.169.254", true, "169.254.169.254", false, "not even by name"},
		{"desk.example.com", false, inner, false, "inside, and not allowed"},
		{"desk.example.com", true, inner, true, "inside, and allowed"},
		{"desk.example.com", false, public, true, "public"},
		{"127.0.0.1", false, "127.0.0.1 ::ffff:127.0.0.1", true, "named"},
		{"127.0.0.1", false, "127.0.0.2 10.0.0.1 ::1", false, "not the one named"},
		{"::1", false, "::1", true, "named"},
		{"10.1.2.3", false, "10.1.2.3", true, "named"},
		{"10.1.2.3", false, "10.1.2.4", false, "a neighbour"},
		{"localhost", false, "127.0.0.1 ::1", true, "localhost"},
		{"dev.localhost.", false, "127.0.0.1", true, "a name below localhost"},
		{"localhost", false, "10.0.0.1", false, "localhost is not inside"},
		{"localhost.example.com", false, "127.0.0.1", false, "only looks like localhost"},
		{"2130706433", false, "127.0.0.1", false, "decimal forms name nothing"},
	} {
		g := newGuard(c.host, c.private)
		for text := range strings.FieldsSeq(c.addresses) {
			err := g.check(netip.MustParseAddr(text))
			if (err == nil) != c.want || err != nil && !errors.Is(err, ErrBlocked) {
				t.Errorf("%s (private %t) to %s: %v, want allowed %t: %s", c.host, c.private, text, err, c.want, c.why)
			}
		}
	}
	if g := newGuard("x", true); g.check(netip.Addr{}) == nil {
		t.Error("the zero address is allowed")
	}
}

// TestDialIsGuarded: the check sits where names are already resolved.
func TestDialIsGuarded(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	transport := newTransport(newGuard("desk.example.com", false)) // as if that name led to loopback
	_, err := transport.DialContext(context.Background(), "tcp", s.Listener.Addr().String())
	if !errors.Is(err, ErrBlocked) {
		t.Errorf("dialled loopback for a public name: %v", err)
	}
	c := newClient(t, "http://169.254.169.254", newWorld())
	_, err = c.Do(t.Context(), Request{Op: "create", Method: "POST", Path: "latest/meta-data"})
	if connectors.ClassOf(err) != connectors.ClassDenied || !errors.Is(err, ErrBlocked) {
		t.Errorf("metadata address: %v", err)
	}
}

func TestClock(t *testing.T) {
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	const truth = 90*time.Second + 300*time.Millisecond
	var c clock
	if _, ok := c.offset(); ok {
		t.Error("an offset without an answer")
	}
	at := start
	answer := func(rtt time.Duration, ahead time.Duration) time.Duration {
		served := at.Add(rtt / 2).Add(ahead)
		h := http.Header{"Date": {served.Truncate(time.Second).Format(http.TimeFormat)}}
		c.observe(h, at, at.Add(rtt))
		at = at.Add(rtt + 370*time.Millisecond)
		offset, _ := c.offset()
		return offset
	}
	if got := answer(100*time.Millisecond, truth); (got - truth).Abs() > 550*time.Millisecond {
		t.Errorf("first estimate %s is more than half a second and half a round trip off %s", got, truth)
	}
	for range 50 {
		answer(100*time.Millisecond, truth)
	}
	got := answer(5*time.Second, truth) // a slow answer does not spoil what is known
	if (got - truth).Abs() > 120*time.Millisecond {
		t.Errorf("after many answers: %s, want %s", got, truth)
	}
	for range 50 {
		got = answer(50*time.Millisecond, -truth) // the clock was set
	}
	if (got + truth).Abs() > 120*time.Millisecond {
		t.Errorf("after a jump: %s, want %s", got, -truth)
	}
	c = clock{}
	for _, h := range []http.Header{{}, {"Date": {"nonsense"}}, {"Date": {start.Format(http.TimeFormat)}, "Age": {"60"}}} {
		c.observe(h, at, at)
	}
	if _, ok := c.offset(); ok {
		t.Error("an estimate from useless headers")
	}
}

func TestDecodeErrorsQuoteNothing(t *testing.T) {
	type shape struct {
		N int
		L []struct{ S string }
	}
	for _, text := range []string{`{"n":99999999999999999999999}`, `{"n":"canary"}`, `{"l":[{"s":4711}]}`, `canary`, `{"n":1}canary`, `{"canary"`, ``} {
		err := DecodeJSON([]byte(text), &shape{})
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "9999") || strings.Contains(err.Error(), "4711") {
			t.Errorf("%q: %v", text, err)
		}
	}
	var v any
	if err := DecodeJSON([]byte(`{"n":12345678901234567890.5,"s":"[[[[\"[["}`), &v); err != nil {
		t.Fatal(err)
	}
	if n, ok := v.(map[string]any)["n"].(json.Number); !ok || n.String() != "12345678901234567890.5" {
		t.Errorf("number became %T", v.(map[string]any)["n"])
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,{"b":"\u0000"}]}`))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Add([]byte(`"\`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		if DecodeJSON(b, &v) == nil && !json.Valid(b) {
			t.Error("decoded what is not JSON")
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for attempt := range 40 {
		if d := backoff(min(attempt, 20), 0.999999); d > backoffMax || d < 0 {
			t.Errorf("attempt %d: %s", attempt, d)
		}
	}
}
