package fanout

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// growing is a feed of one pact whose every offset is an entry.
type growing struct {
	mu    sync.Mutex
	head  crdt.Offset
	reads int
}

func (g *growing) grow(f *Fanout, n int) {
	g.mu.Lock()
	g.head += crdt.Offset(n)
	g.mu.Unlock()
	f.Advanced([]crdt.Pact{"p"})
}

func (g *growing) Feed(_ crdt.Pact, after crdt.Position, entriesMax, _ int) (state.Slice, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads++
	switch {
	case after.Offset > 0 && after.Epoch != 1:
		return state.Slice{}, state.ErrEpoch
	case after.Offset > g.head:
		return state.Slice{}, state.ErrCursor
	}
	s := state.Slice{Cursor: after, Head: g.head}
	s.Cursor.Epoch = 1
	for s.Cursor.Offset < g.head && len(s.Versions) < entriesMax {
		s.Cursor.Offset++
		s.Versions = append(s.Versions, state.Version{Op: new(crdt.Op).AppendCanonical(nil), Offset: s.Cursor.Offset})
	}
	return s, nil
}

func newFanout(g *growing, newest bool) *Fanout {
	return New(Config{State: g, Heartbeat: 10 * time.Second, BehindMax: 5 * time.Second, Newest: func() bool { return newest }})
}

func always() error { return nil }

// A subscriber that is slow gets larger slices, not more of them, and nobody
// keeps anything for it.
func TestCoalescing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &growing{}
		f := newFanout(g, true)
		ctx, cancel := context.WithCancel(t.Context())
		var sizes []int
		last := crdt.Offset(0)
		ended := make(chan error, 1)
		serve := func() error {
			return f.Serve(ctx, "p", crdt.Position{}, always, func(s wire.Slice) error {
				if first, end := s.Packed.Span(); s.Packed.Len() > 0 {
					if first != last+1 || end-last != crdt.Offset(s.Packed.Len()) {
						t.Errorf("%d offsets %d to %d after %d", s.Packed.Len(), first, end, last)
					}
					last = end
				}
				sizes = append(sizes, s.Packed.Len())
				time.Sleep(100 * time.Millisecond)
				return nil
			})
		}
		go func() { ended <- serve() }()
		for range 100 {
			time.Sleep(9 * time.Millisecond)
			g.grow(f, 1)
		}
		time.Sleep(time.Second)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if last != 100 || len(sizes) > 12 {
			t.Errorf("got as far as %d of 100 in slices of %v", last, sizes)
		}
		if n := f.Subscribers(); n != 0 {
			t.Errorf("%d subscribers are left", n)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &growing{head: 3}
		f := newFanout(g, true)
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		beats := 0
		err := f.Serve(ctx, "p", crdt.Position{Epoch: 1, Offset: 3}, always, func(s wire.Slice) error {
			if s.Packed.Len() != 0 || s.Head != 3 || s.Cursor.Offset != 3 {
				t.Errorf("heartbeat %+v", s)
			}
			beats++
			return nil
		})
		if !errors.Is(err, context.DeadlineExceeded) || beats != 7 || g.reads > 8 {
			t.Errorf("%d heartbeats in 65 s with %d reads, %v", beats, g.reads, err)
		}
	})
}

// A cursor ahead of a node that may be behind waits; one ahead of the leader is
// wrong.
func TestCursorAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cursor := crdt.Position{Epoch: 1, Offset: 5}
		nothing := func(wire.Slice) error { return nil }
		serve := func(newest bool) error {
			return newFanout(&growing{head: 3}, newest).Serve(t.Context(), "p", cursor, always, nothing)
		}
		if err := serve(true); wire.ReasonOf(err) != wire.ReasonCursorBeyond {
			t.Errorf("the leader: %v", err)
		}
		began := time.Now()
		if err := serve(false); wire.ReasonOf(err) != wire.ReasonHubBusy || time.Since(began) != 5*time.Second {
			t.Errorf("a follower after %s: %v", time.Since(began), err)
		}
		g := &growing{head: 3}
		f := newFanout(g, false)
		got := make(chan crdt.Offset, 1)
		stop := errors.New("enough")
		ended := make(chan error, 1)
		go func() {
			ended <- f.Serve(t.Context(), "p", cursor, always, func(s wire.Slice) error {
				first, _ := s.Packed.Span()
				got <- first
				return stop
			})
		}()
		time.Sleep(time.Second)
		g.grow(f, 4)
		if first := <-got; first != 6 {
			t.Errorf("after catching up: from offset %d", first)
		}
		if err := <-ended; err != stop {
			t.Errorf("ended with %v", err)
		}
	})
}

// Whoever is no longer allowed is cut off before the next slice.
func TestAllowedEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &growing{}
		f := newFanout(g, true)
		gone := wire.Errorf(wire.ReasonPactNotMember, "no")
		var mu sync.Mutex
		var verdict error
		ended := make(chan error, 1)
		go func() {
			ended <- f.Serve(t.Context(), "p", crdt.Position{}, func() error { mu.Lock(); defer mu.Unlock(); return verdict },
				func(s wire.Slice) error {
					if s.Packed.Len() > 0 {
						t.Error("an entry was sent")
					}
					return nil
				})
		}()
		synctest.Wait()
		mu.Lock()
		verdict = gone
		mu.Unlock()
		g.grow(f, 1)
		if err := <-ended; err != gone {
			t.Errorf("ended with %v", err)
		}
	})
}

// Names that nobody may read leave nothing behind, however many are asked for.
func TestRefusedNamesAreForgotten(t *testing.T) {
	f := newFanout(&growing{}, true)
	refused := wire.Errorf(wire.ReasonPactUnknown, "no")
	for i := range 100_000 {
		err := f.Serve(t.Context(), crdt.Pact(strconv.Itoa(i)), crdt.Position{}, func() error { return refused },
			func(wire.Slice) error { return nil })
		if err != refused {
			t.Fatalf("ended with %v", err)
		}
	}
	if n := len(f.wake); n != 0 {
		t.Errorf("%d names are kept", n)
	}
}
