// Package retry spaces repeated attempts.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff doubles from Min to Max. Each wait is drawn between a half of that
// and the whole, so that the many agents of one hub do not come back at the same
// moment. The zero Backoff goes from 1 s to 1 min. Not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration
	// Random draws from [0, 1); nil means the process's own.
	Random func() float64

	next time.Duration
}

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = time.Second
	}
	if hi <= 0 {
		hi = time.Minute
	}
	b.next = min(max(b.next, lo), hi)
	wait := b.next
	b.next = min(2*b.next, hi)
	random := b.Random
	if random == nil {
		random = rand.Float64
	}
	return wait/2 + time.Duration(random()*float64(wait/2))
}

// Reset begins at Min again, after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Sleep waits for d; it returns false as soon as ctx ends.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
