package retry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/agent/retry"
)

func most() float64  { return 0.999999999 }
func least() float64 { return 0 }

func TestBackoffDoubles(t *testing.T) {
	b := retry.Backoff{Min: time.Second, Max: 5 * time.Second, Random: most}
	for i, want := range []float64{1, 2, 4, 5, 5} {
		if got := b.Next().Round(time.Millisecond).Seconds(); got != want {
			t.Errorf("wait %d is %v s, want %v s", i, got, want)
		}
	}
	b.Reset()
	if got := b.Next().Round(time.Millisecond); got != time.Second {
		t.Errorf("after a success: %s", got)
	}
}

func TestBackoffSpreads(t *testing.T) {
	b := retry.Backoff{Min: 8 * time.Second, Max: 8 * time.Second, Random: least}
	if got := b.Next(); got != 4*time.Second {
		t.Errorf("the shortest wait is %s, want half", got)
	}
	b.Random = nil
	seen := map[time.Duration]bool{}
	for range 20 {
		d := b.Next()
		if d < 4*time.Second || d > 8*time.Second {
			t.Fatalf("%s is outside of 4 to 8 s", d)
		}
		seen[d] = true
	}
	if len(seen) < 2 {
		t.Error("every wait is the same")
	}
}

func TestZeroBackoff(t *testing.T) {
	b := retry.Backoff{Random: most}
	first, last := b.Next(), time.Duration(0)
	for range 20 {
		last = b.Next()
	}
	if first.Round(time.Millisecond) != time.Second || last.Round(time.Millisecond) != time.Minute {
		t.Errorf("from %s to %s, want 1 s to 1 min", first, last)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !retry.Sleep(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("slept %s", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began = time.Now()
		if retry.Sleep(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("slept %s, want until the context ended", time.Since(began))
		}
	})
}
