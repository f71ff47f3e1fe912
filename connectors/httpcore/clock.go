package httpcore

import (
	"net/http"
	"sync"
	"time"
)

// clock estimates how far a server's clock is ahead of ours. A Date header of
// second D on a call from t0 to t1 says that the offset lies between D-t1 and
// D+1s-t0: its middle corrects for half the round trip and half the second. The
// estimate is the intersection of such intervals, so the least uncertain answers
// decide; it widens with age, as clocks drift, and starts anew when a clock
// jumped.
type clock struct {
	mu       sync.Mutex
	lo, hi   time.Duration
	at       time.Time // of lo and hi, our clock
	observed bool
}

const driftPerSecond = 200 * time.Microsecond

func (c *clock) observe(h http.Header, t0, t1 time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" && h.Get("Age") != "0" || t1.Before(t0) {
		return
	}
	lo, hi := date.Sub(t1), date.Add(time.Second).Sub(t0)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.observed {
		drift := max(0, time.Duration(t1.Sub(c.at).Seconds()*float64(driftPerSecond)))
		if l, h := max(lo, c.lo-drift), min(hi, c.hi+drift); l <= h {
			lo, hi = l, h
		}
	}
	c.lo, c.hi, c.at, c.observed = lo, hi, t1, true
}

func (c *clock) offset() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lo + (c.hi-c.lo)/2, c.observed
}
