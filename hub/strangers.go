package hub

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/entente-sync/entente/proto/adminhttp"
)

// How often strangers may ask to enrol: so many at once, and one more each so often.
const (
	strangerBurst = 10
	strangerEvery = 2 * time.Second
	// strangersBurst and strangersEvery are of all addresses together.
	strangersBurst = 50
	strangersEvery = 200 * time.Millisecond
	// addressesMax bounds the addresses that are remembered. While so many have asked
	// lately, others wait.
	addressesMax = 1024
)

// strangers bounds how often somebody without a certificate may try a token, by
// address and in all, so that nobody guesses secrets or keeps a node busy. Safe for
// concurrent use.
type strangers struct {
	now func() time.Time

	mu  sync.Mutex
	of  map[netip.Addr]bucket
	all bucket
}

// bucket is when it was last full enough, in the units of its rate: a try costs
// every, and may be ahead of the clock by burst of them.
type bucket struct{ spent time.Time }

func newStrangers(now func() time.Time) *strangers {
	return &strangers{now: now, of: map[netip.Addr]bucket{}}
}

func (b bucket) take(now time.Time, every time.Duration, burst int) (bucket, bool) {
	if b.spent.Before(now) || b.spent.Sub(now) > 2*time.Duration(burst)*every { // the clock went back
		b.spent = now
	}
	next := b.spent.Add(every)
	if next.Sub(now) > time.Duration(burst)*every {
		return b, false
	}
	return bucket{next}, true
}

// allow counts a try from an address, or refuses it.
func (s *strangers) allow(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	known, ok := s.of[from]
	if !ok && len(s.of) >= addressesMax {
		for a, b := range s.of {
			if !b.spent.After(now) {
				delete(s.of, a)
			}
		}
		if len(s.of) >= addressesMax {
			return false
		}
	}
	own, ok := known.take(now, strangerEvery, strangerBurst)
	if !ok {
		return false
	}
	all, ok := s.all.take(now, strangersEvery, strangersBurst)
	if !ok {
		return false
	}
	s.of[from], s.all = own, all
	return true
}

// addressKey is for the address of a stranger in a request's context.
type addressKey struct{}

// With implements adminhttp.Known.
func (c fromStranger) With(ctx context.Context) context.Context {
	var from netip.Addr
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		from = tcp.AddrPort().Addr().Unmap()
	}
	return context.WithValue(ctx, addressKey{}, from)
}

// mayAsk refuses a stranger who asks too often.
func (h *Hub) mayAsk(ctx context.Context) error {
	from, _ := ctx.Value(addressKey{}).(netip.Addr)
	if h.strangers.allow(from) {
		return nil
	}
	return &adminhttp.Error{
		Status: http.StatusTooManyRequests, Code: "enrol.rate", Message: "too many tries to enrol; no token was spent",
		Next: "wait half a minute, and try again with the same token",
	}
}
