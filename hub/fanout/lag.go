package fanout

import (
	"sync"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// Lag is how far the slowest subscriber of a pact is behind.
type Lag struct {
	Sent   crdt.Offset   // up to which it was sent the feed; a head below means that nothing is missing
	Behind time.Duration // for how long it has not had all that was there; 0 if it waits at the head
}

// Lags returns the lag of every pact whose feed is being served.
func (f *Fanout) Lags() map[crdt.Pact]Lag {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	out := make(map[crdt.Pact]Lag, len(f.serving))
	for pact, readers := range f.serving {
		first := true
		var slowest Lag
		for r := range readers {
			l := r.lag(now)
			if first {
				slowest, first = l, false
				continue
			}
			slowest = Lag{min(slowest.Sent, l.Sent), max(slowest.Behind, l.Behind)}
		}
		out[pact] = slowest
	}
	return out
}

// reader is where one subscriber stands. Safe for concurrent use.
type reader struct {
	mu    sync.Mutex
	sent  crdt.Offset
	since time.Time // it has all that was there then; zero while it waits at the head

	// The head at one moment, which becomes since once the reader has got that far.
	markHead crdt.Offset
	markAt   time.Time // zero: no mark
}

// enter counts a subscriber of pact, at cursor, until leave is called.
func (f *Fanout) enter(pact crdt.Pact, cursor crdt.Position) (r *reader, leave func()) {
	r = &reader{sent: cursor.Offset, since: time.Now()}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serving[pact] == nil {
		f.serving[pact] = map[*reader]struct{}{}
	}
	f.serving[pact][r] = struct{}{}
	return r, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if delete(f.serving[pact], r); len(f.serving[pact]) == 0 {
			delete(f.serving, pact)
		}
	}
}

// read notes what the head was when s was read, if no older head is to be reached.
func (r *reader) read(s *state.Slice, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.markAt.IsZero() {
		r.markHead, r.markAt = s.Head, at
	}
}

// passed notes that the feed was sent up to cursor.
func (r *reader) passed(cursor crdt.Offset) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = cursor
	if cursor >= r.markHead && !r.markAt.IsZero() {
		r.since, r.markAt = r.markAt, time.Time{}
	}
}

// rests notes that the reader has everything and waits.
func (r *reader) rests() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
}

// wakes notes that the reader had everything until now.
func (r *reader) wakes() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Now()
}

func (r *reader) lag(now time.Time) Lag {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		return Lag{Sent: r.sent}
	}
	return Lag{r.sent, now.Sub(r.since)}
}
