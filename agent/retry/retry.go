// Package retry spaces repeated attempts.
package retry

import (
	"context"
	"time"
)

// Backoff doubles from Min to Max. It has no jitter of its own: an agent talks
// to one hub and a few systems, each with a connection of its own. The zero
// Backoff waits 1 s, then up to 1 min. Not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
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
	return wait
}

// Reset begins at Min again, after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Sleep waits for d; it returns false at once when ctx ends.
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
