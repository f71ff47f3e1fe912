package fanout

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// The lag of a pact is that of its slowest subscriber: none while all wait at the
// head, growing while one does not take what is sent, and gone with it.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &growing{head: 3}
		f := newFanout(g, true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		gate := make(chan struct{}, 1000)
		serve := func(ctx context.Context, send func(wire.Slice) error) {
			ended <- f.Serve(ctx, "p", crdt.Position{}, always, send)
		}
		want := func(when string, want Lag) {
			t.Helper()
			synctest.Wait()
			if lags := f.Lags(); len(lags) != 1 || lags["p"] != want {
				t.Errorf("%s: %+v, want %+v", when, lags, want)
			}
		}
		slow, leave := context.WithCancel(t.Context())
		go serve(ctx, func(wire.Slice) error { return nil })
		want("at the head", Lag{Sent: 3})
		time.Sleep(time.Hour + time.Second) // between two heartbeats
		g.grow(f, 2)
		want("after an idle hour", Lag{Sent: 5})

		go serve(slow, func(wire.Slice) error {
			select {
			case <-gate:
				return nil
			case <-slow.Done():
				return context.Cause(slow)
			}
		})
		synctest.Wait()
		time.Sleep(2 * time.Second)
		want("a newcomer takes nothing", Lag{Sent: 0, Behind: 2 * time.Second})
		g.grow(f, 600) // more than a slice
		time.Sleep(time.Second)
		want("and is left behind", Lag{Sent: 0, Behind: 3 * time.Second})
		gate <- struct{}{} // the first slice has what was there three seconds ago
		want("it has what was there when it came", Lag{Sent: 5, Behind: 3 * time.Second})
		time.Sleep(time.Second)
		gate <- struct{}{}
		want("one slice of two", Lag{Sent: 517, Behind: 4 * time.Second})
		gate <- struct{}{}
		want("it is at the head", Lag{Sent: 605})
		g.grow(f, 1)
		synctest.Wait()
		time.Sleep(time.Second)
		want("it is behind by one", Lag{Sent: 605, Behind: time.Second})
		end := func(cancel context.CancelFunc) {
			t.Helper()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		}
		end(leave)
		want("it is gone", Lag{Sent: 606})
		end(cancel)
		if lags := f.Lags(); len(lags) != 0 || len(f.serving) != 0 {
			t.Errorf("nobody is served, and there is %+v", lags)
		}
	})
}
