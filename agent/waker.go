package agent

import (
	"context"
	"time"

	"github.com/entente-sync/entente/agent/core"
)

// wokenEvery bounds how long an agent sleeps whatever the core asked for: clocks
// jump.
const wokenEvery = 30 * time.Second

// waker sends Woken at the earliest time that the core named.
type waker struct {
	now  func() time.Time
	step func(func(nowMillis int64) core.Event) error
	asks chan int64
}

func newWaker(now func() time.Time, step func(func(int64) core.Event) error) *waker {
	return &waker{now: now, step: step, asks: make(chan int64, 1)}
}

// ask never blocks: of several times that were not looked at yet the earliest
// stays.
func (w *waker) ask(atMillis int64) {
	for {
		select {
		case w.asks <- atMillis:
			return
		case other := <-w.asks:
			atMillis = min(atMillis, other)
		}
	}
}

// run sleeps and wakes until ctx ends or a step fails.
func (w *waker) run(ctx context.Context) error {
	next := w.now().Add(wokenEvery).UnixMilli()
	for {
		timer := time.NewTimer(min(time.Duration(next-w.now().UnixMilli())*time.Millisecond, wokenEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case at := <-w.asks:
			timer.Stop()
			next = min(next, at)
		case <-timer.C:
			next = w.now().Add(wokenEvery).UnixMilli()
			if err := w.step(func(now int64) core.Event { return core.Woken{NowMillis: now} }); err != nil {
				return err
			}
		}
	}
}
