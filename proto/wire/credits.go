package wire

import (
	"context"
	"sync"
)

// credits counts what a subscriber has granted and the hub has not used.
// Safe for concurrent use.
type credits struct {
	mu   sync.Mutex
	left int
	more chan struct{} // holds a token after each grant
}

func newCredits() *credits { return &credits{more: make(chan struct{}, 1)} }

// grant adds n, or nothing and false if that would exceed CreditsMax.
func (c *credits) grant(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left+n > CreditsMax {
		return false
	}
	c.left += n
	select {
	case c.more <- struct{}{}:
	default:
	}
	return true
}

// take uses one, waiting for it until ctx ends. One taker at a time.
func (c *credits) take(ctx context.Context) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		c.mu.Lock()
		got := c.left > 0
		if got {
			c.left--
		}
		c.mu.Unlock()
		if got {
			return nil
		}
		select {
		case <-c.more:
		case <-ctx.Done():
		}
	}
}
