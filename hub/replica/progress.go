package replica

import (
	"sync"
	"time"
)

// progress tells a leader that works from one that only holds the title.
type progress struct {
	mu      sync.Mutex
	pending int       // entries proposed and not answered
	since   time.Time // when the oldest wait began, or the newest answer came
}

func (p *progress) proposed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == 0 {
		p.since = now
	}
	p.pending++
}

func (p *progress) settled(now, began time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending--
	p.since = now
	return now.Sub(began)
}

// stalled returns for how long entries have waited without any being answered.
func (p *progress) stalled(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == 0 {
		return 0
	}
	return now.Sub(p.since)
}
