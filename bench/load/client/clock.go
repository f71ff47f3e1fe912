package client

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/bench/workload"
)

// clockOps is how many ops of a writer are remembered: more than can be under
// way, to the slowest subscriber too.
const clockOps = 1 << 20

// Clock remembers when each writer's newest ops were sent.
type Clock struct {
	began time.Time
	sends [workload.WritersMax][]atomic.Int64 // nanoseconds after began, by seq
}

// NewClock returns a Clock of this moment.
func NewClock() *Clock {
	c := &Clock{began: time.Now()}
	for i := range c.sends {
		c.sends[i] = make([]atomic.Int64, clockOps)
	}
	return c
}

func (c *Clock) sent(writer int, seq uint64, at time.Time) {
	c.sends[writer][seq%clockOps].Store(int64(at.Sub(c.began)))
}

func (c *Clock) age(writer int, seq uint64, now time.Time) time.Duration {
	return now.Sub(c.began) - time.Duration(c.sends[writer][seq%clockOps].Load())
}

// Latencies gathers samples. Safe for concurrent use.
type Latencies struct {
	mu      sync.Mutex
	samples []time.Duration
}

// Add takes samples in.
func (l *Latencies) Add(samples ...time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, samples...)
}

// Count returns how many samples there are.
func (l *Latencies) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.samples)
}

// Quantile returns the sample that a share q of all does not exceed; 0 of none.
func (l *Latencies) Quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.samples) == 0 {
		return 0
	}
	slices.Sort(l.samples)
	return l.samples[min(len(l.samples)-1, int(q*float64(len(l.samples))))]
}
