package httpcore

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	throttleMin = time.Second // wait after the first 429 without Retry-After
	throttleMax = time.Minute
)

// budget is the token bucket of one credential, closed altogether while a
// Retry-After runs. Every call takes a token, also a repeated one.
type budget struct {
	limiter *rate.Limiter
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	random  func() float64
	waitMax time.Duration

	mu       sync.Mutex
	closed   time.Time // no call before
	streak   int       // throttled answers in a row without Retry-After
	streakAt time.Time
}

func newBudget(cfg Config) *budget {
	perSecond := cfg.Settings.RatePerSecond
	return &budget{
		limiter: rate.NewLimiter(rate.Limit(perSecond), max(1, int(math.Ceil(perSecond)))),
		now:     cfg.Settings.Now, sleep: cfg.Sleep, random: cfg.Random, waitMax: cfg.WaitMax,
	}
}

// wait blocks until one call may go out. If that would take longer than
// waitMax it takes nothing and returns how long to stay away.
func (b *budget) wait(ctx context.Context) (waited, retryAfter time.Duration, err error) {
	pass := func(d time.Duration) error {
		waited += d
		return b.sleep(ctx, d)
	}
	for {
		if err := ctx.Err(); err != nil {
			return waited, 0, err
		}
		if d := b.closedFor(); d > 0 {
			if waited+d > b.waitMax {
				return waited, d, nil
			}
			if err := pass(d); err != nil {
				return waited, 0, err
			}
			continue
		}
		now := b.now()
		token := b.limiter.ReserveN(now, 1)
		d := token.DelayFrom(now)
		if waited+d > b.waitMax {
			token.CancelAt(now)
			return waited, d, nil
		}
		if d <= 0 {
			return waited, 0, nil
		}
		if err := pass(d); err != nil {
			token.CancelAt(b.now())
			return waited, 0, err
		}
		if b.closedFor() <= 0 { // nobody was throttled while we waited
			return waited, 0, nil
		}
	}
}

// take books a call that cannot wait.
func (b *budget) take() { b.limiter.ReserveN(b.now(), 1) }

func (b *budget) closedFor() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed.Sub(b.now())
}

// pause closes the budget for d, never shortening an earlier pause.
func (b *budget) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := b.now().Add(d); until.After(b.closed) {
		b.closed = until
	}
}

// throttled closes the budget after a 429: for told, or else for a doubling
// time with jitter. It returns for how long.
func (b *budget) throttled(told time.Duration) time.Duration {
	b.mu.Lock()
	if now := b.now(); now.Sub(b.streakAt) > 2*throttleMax {
		b.streak = 0
	}
	b.streakAt = b.now()
	if told <= 0 {
		bound := min(throttleMax, throttleMin<<min(b.streak, 6))
		told = bound/2 + time.Duration(b.random()*float64(bound/2))
		b.streak++
	}
	b.mu.Unlock()
	b.pause(told)
	return told
}
