package replica

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/store"
)

// ErrRotten is wrapped by what a scrub found: bytes on this node's disk are not
// those that were written.
var ErrRotten = errors.New("the scrub found damage on this node's disk: look at the disk, " +
	"then empty the node's directory and let it join again from the others")

// scrubStepBytes is read at once; the store's other work waits for that long.
const scrubStepBytes = 1 << 20

// scrubber is what is known of the scrubs of this node's life.
type scrubber struct {
	mu   sync.Mutex
	last time.Time // when the newest one ended with everything whole; guarded by mu
	rows uint64    // rows and log entries read; guarded by mu
	bad  uint64    // scrubs that found damage; guarded by mu
}

func (s *scrubber) read(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows += uint64(n)
}

// errClosing ends a scrub that nobody waits for any more.
var errClosing = errors.New("the replica is closing")

// scrub reads the checkpoint and the log back again and again, slowly: what
// nobody reads rots unseen, and when it is needed the other copies may be gone.
func (r *Replica) scrub() {
	tick := time.NewTicker(r.cfg.ScrubInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.closing:
			return
		case <-r.stopped:
			return
		}
		err := r.scrubOnce()
		switch {
		case errors.Is(err, store.ErrDamaged), errors.Is(err, ErrLogCorrupt):
			r.scrubber.mu.Lock()
			r.scrubber.bad++
			r.scrubber.mu.Unlock()
			r.latch.trip(fmt.Errorf("%w: %w", ErrRotten, err))
			return
		case err != nil:
			r.cfg.Log.Debug("scrub put off", "error", err)
		}
	}
}

func (r *Replica) scrubOnce() error {
	if err := r.scrubStore(); err != nil {
		return err
	}
	if err := r.scrubLog(); err != nil {
		return err
	}
	r.scrubber.mu.Lock()
	defer r.scrubber.mu.Unlock()
	r.scrubber.last = r.cfg.Now()
	return nil
}

func (r *Replica) scrubStore() error {
	c, err := r.store.BeginScrub()
	if err != nil {
		return err
	}
	defer c.End()
	for {
		rows, bytes, done, err := c.Step(scrubStepBytes)
		r.scrubber.read(rows)
		if err != nil || done {
			return err
		}
		if err := r.pace(bytes); err != nil {
			return err
		}
	}
}

// scrubLog reads every entry with its checksum. Entries that were cut off
// meanwhile are none of its business.
func (r *Replica) scrubLog() error {
	next, err := r.log.FirstIndex()
	if err != nil {
		return err
	}
	bytes := 0
	for {
		last, err := r.log.LastIndex()
		if err != nil || next > last || next == 0 {
			return err
		}
		var entry raft.Log
		err = r.log.read(next, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			first, err := r.log.FirstIndex()
			if err != nil || first <= next {
				return err // the end was cut; the next scrub sees what came in its place
			}
			next = first
			continue
		}
		if err != nil {
			return err
		}
		r.scrubber.read(1)
		next++
		if bytes += len(entry.Data); bytes >= scrubStepBytes {
			if err := r.pace(bytes); err != nil {
				return err
			}
			bytes = 0
		}
	}
}

// pace waits for as long as bytes may take.
func (r *Replica) pace(bytes int) error {
	wait := time.NewTimer(time.Duration(float64(bytes) / float64(r.cfg.ScrubBytesPerSecond) * float64(time.Second)))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-r.closing:
	case <-r.stopped:
	}
	return errClosing
}
