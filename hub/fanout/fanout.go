// Package fanout serves feeds from the merged state. A subscriber costs one
// goroutine and at most one slice in memory, however far behind it is: it reads
// the state where it stands, so what was overwritten meanwhile is never sent, and
// under load one slice holds what several entries brought. Any node serves feeds.
package fanout

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// Bounds of one slice: with the longest names and the envelope of a message they
// stay within wire.SliceBytesMax.
const (
	sliceEntriesMax = 512
	sliceBytesMax   = 512 << 10 // of ops
)

// State is what fanout reads.
type State interface {
	Feed(name crdt.Pact, after crdt.Position, entriesMax, bytesMax int) (state.Slice, error)
}

// Config of a Fanout. All fields are needed.
type Config struct {
	State State
	// Heartbeat is how long a stream may be silent.
	Heartbeat time.Duration
	// BehindMax is how long a subscriber whose cursor is ahead of this node waits
	// for the node to catch up.
	BehindMax time.Duration
	// Newest reports whether this node surely holds everything that was acked.
	Newest func() bool
}

// Fanout wakes and serves subscribers. Safe for concurrent use.
type Fanout struct {
	cfg         Config
	subscribers atomic.Int64

	mu      sync.Mutex
	wake    map[crdt.Pact]chan struct{}        // closed and dropped when the pact's feed grows
	serving map[crdt.Pact]map[*reader]struct{} // never empty sets
}

// New returns a Fanout without subscribers.
func New(cfg Config) *Fanout {
	return &Fanout{cfg: cfg, wake: map[crdt.Pact]chan struct{}{}, serving: map[crdt.Pact]map[*reader]struct{}{}}
}

// Advanced wakes the subscribers of these pacts. It does not wait for them.
func (f *Fanout) Advanced(pacts []crdt.Pact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pact := range pacts {
		if ch := f.wake[pact]; ch != nil {
			close(ch)
			delete(f.wake, pact)
		}
	}
}

// Subscribers returns how many feeds are being served.
func (f *Fanout) Subscribers() int { return int(f.subscribers.Load()) }

// grown returns a channel that is closed when the pact's feed grows. Take it
// before reading, or an advance in between is missed.
func (f *Fanout) grown(pact crdt.Pact) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := f.wake[pact]
	if ch == nil {
		ch = make(chan struct{})
		f.wake[pact] = ch
	}
	return ch
}

// Serve sends the feed of pact after cursor until ctx ends, send fails or
// allowed does, which is asked before each slice. An error is that of ctx, send or
// allowed, or a *wire.Error.
func (f *Fanout) Serve(ctx context.Context, pact crdt.Pact, cursor crdt.Position,
	allowed func() error, send func(wire.Slice) error,
) error {
	if err := allowed(); err != nil { // first: a refused name leaves no trace
		return err
	}
	f.subscribers.Add(1)
	defer f.subscribers.Add(-1)
	reader, leave := f.enter(pact, cursor)
	defer leave()
	beat := time.NewTimer(f.cfg.Heartbeat)
	defer beat.Stop()
	due := true // the first slice goes out even if it is empty: it tells the head
	var told crdt.Lineage
	for {
		if err := allowed(); err != nil {
			return err
		}
		grown, asked := f.grown(pact), time.Now()
		slice, err := f.read(ctx, pact, cursor)
		if err != nil {
			return err
		}
		reader.read(&slice, asked)
		if len(slice.Versions) > 0 || due {
			var news crdt.Lineage
			if !slices.Equal(told, slice.Lineage) {
				told, news = slice.Lineage, slice.Lineage
			}
			if err := pass(&slice, news, send); err != nil {
				return err
			}
			beat.Reset(f.cfg.Heartbeat)
			due, cursor = false, slice.Cursor
		}
		reader.passed(slice.Cursor.Offset)
		if slice.Cursor.Offset < slice.Head {
			continue // more is there already
		}
		cursor = slice.Cursor
		select {
		case <-grown: // it did while the slice was on its way
			continue
		default:
		}
		reader.rests()
		select {
		case <-grown:
		case <-beat.C:
			due = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		reader.wakes()
	}
}

// read reads once, or waits while this node is behind the cursor.
func (f *Fanout) read(ctx context.Context, pact crdt.Pact, cursor crdt.Position) (state.Slice, error) {
	var patience <-chan time.Time
	for {
		grown := f.grown(pact)
		slice, err := f.cfg.State.Feed(pact, cursor, sliceEntriesMax, sliceBytesMax)
		switch {
		case err == nil:
			return slice, nil
		case errors.Is(err, state.ErrPactUnknown):
			return slice, wire.Errorf(wire.ReasonPactUnknown, "pact %s", pact)
		case errors.Is(err, state.ErrEpoch):
			return slice, wire.Errorf(wire.ReasonEpochChanged, "cursor %s is of another epoch", cursor)
		case !errors.Is(err, state.ErrCursor):
			return slice, wire.Errorf(wire.ReasonHubBusy, "this node cannot read its feed: %w", err)
		case f.cfg.Newest():
			return slice, wire.Errorf(wire.ReasonCursorBeyond, "cursor %s is beyond the head", cursor)
		}
		if patience == nil {
			timer := time.NewTimer(f.cfg.BehindMax)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case <-grown:
		case <-patience:
			return slice, wire.Errorf(wire.ReasonHubBusy, "this node has not yet got as far as cursor %s", cursor)
		case <-ctx.Done():
			return slice, context.Cause(ctx)
		}
	}
}
