package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/agent/core"
)

// wakings runs a waker for a while of virtual time and returns when it woke,
// in seconds from the start. skew is added to its clock, which may change.
func wakings(t *testing.T, skew *time.Duration, during func(w *waker)) (at []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		now := func() time.Time {
			if skew != nil {
				return time.Now().Add(*skew)
			}
			return time.Now()
		}
		w := newWaker(now, func(build func(int64) core.Event) error {
			if _, ok := build(1).(core.Woken); !ok {
				t.Error("another event than Woken")
			}
			at = append(at, int(time.Since(began).Seconds()))
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.run(ctx) }()
		synctest.Wait()
		during(w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return at
}

func equal(t *testing.T, got []int, want ...int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("woke at %d, want %d", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("woke at %d, want %d", got, want)
		}
	}
}

func in(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }

func TestWakerIsNeverLongAsleep(t *testing.T) {
	equal(t, wakings(t, nil, func(*waker) { time.Sleep(95 * time.Second) }), 30, 60, 90)
}

func TestWakerTakesTheEarliest(t *testing.T) {
	equal(t, wakings(t, nil, func(w *waker) {
		w.ask(in(9 * time.Second))
		w.ask(in(5 * time.Second))
		w.ask(in(20 * time.Second))
		time.Sleep(31 * time.Second)
	}), 5)
}

func TestWakerPastTimesAreNow(t *testing.T) {
	equal(t, wakings(t, nil, func(w *waker) {
		w.ask(in(-time.Hour))
		time.Sleep(time.Second)
	}), 0)
}

// An ask before the waker runs, and many before it looks, neither block nor
// get lost.
func TestWakerNeverBlocks(t *testing.T) {
	w := newWaker(time.Now, nil)
	for i := range int64(100) {
		w.ask(1000 - i)
	}
	if got := <-w.asks; got != 901 {
		t.Errorf("the earliest is %d", got)
	}
}

// A clock that is set back an hour must not make an hour's sleep of what was
// to come soon.
func TestWakerClockSetBack(t *testing.T) {
	var skew time.Duration
	equal(t, wakings(t, &skew, func(w *waker) {
		time.Sleep(10 * time.Second)
		skew = -time.Hour
		w.ask(time.Now().UnixMilli()) // by the new clock in an hour
		time.Sleep(31 * time.Second)
	}), 40)
}

func TestWakerEndsWithTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no space left")
		w := newWaker(time.Now, func(func(int64) core.Event) error { return broken })
		if err := w.run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}
