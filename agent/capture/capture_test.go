package capture_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/entente-sync/entente/agent/capture"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a scripted system, and the agent beside it: the cursor moves by steps alone.
type desk struct {
	connectors.Connector
	changes func(cursor string) (connectors.Page, error)
	read    func(context.Context) (connectors.Record, error)
	ahead   time.Duration

	mu     sync.Mutex
	cursor connectors.Cursor
	asked  []string // cursors
	events []core.Event
	fail   error // of steps
}

func (d *desk) Changes(_ context.Context, c connectors.Cursor, _ int) (connectors.Page, error) {
	d.mu.Lock()
	d.asked = append(d.asked, string(c))
	d.mu.Unlock()
	return d.changes(string(c))
}

func (d *desk) Read(ctx context.Context, _ connectors.Key) (connectors.Record, error) {
	return d.read(ctx)
}

func (d *desk) ClockOffset() (time.Duration, bool) { return d.ahead, true }

func (d *desk) Cursor(string) (connectors.Cursor, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cursor, nil
}

func (d *desk) Step(build func(int64) core.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	e := build(time.Now().UnixMilli())
	d.events = append(d.events, e)
	if listed, ok := e.(core.Listed); ok {
		d.cursor = listed.Next
	}
	return nil
}

// calls are the cursors of the listings so far.
func (d *desk) calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.asked)
}

func (d *desk) told() []core.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

func (d *desk) loop(log *slog.Logger) *capture.Loop {
	return capture.New(capture.Config{System: "desk", Connector: d, Engine: d, Cursors: d, Now: time.Now, Log: log})
}

// inLoop runs test beside a loop in virtual time, and stops the loop afterwards.
func inLoop(t *testing.T, d *desk, test func(t *testing.T, l *capture.Loop, failed chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := d.loop(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- l.Run(ctx) }()
		synctest.Wait()
		test(t, l, failed)
		cancel()
		if err := <-failed; err != nil {
			t.Errorf("a stopped loop returned %v", err)
		}
	})
}

func page(next string, more bool, keys ...connectors.Key) connectors.Page {
	p := connectors.Page{Next: connectors.Cursor(next), More: more}
	for _, k := range keys {
		p.Refs = append(p.Refs, connectors.Ref{Key: k})
	}
	return p
}

// Pages are read on from what was committed, at once while more wait, then at
// every poll.
func TestPages(t *testing.T) {
	d := &desk{changes: func(cursor string) (connectors.Page, error) {
		switch cursor {
		case "":
			return page("a", true, "1", "2"), nil
		case "a":
			return page("b", false, "3"), nil
		}
		return page("b", false), nil
	}}
	inLoop(t, d, func(t *testing.T, l *capture.Loop, _ chan error) {
		if want := []string{"", "a"}; !slices.Equal(d.calls(), want) {
			t.Fatalf("asked from %q, want %q", d.calls(), want)
		}
		if first := d.told()[0].(core.Listed); first.System != "desk" || len(first.Refs) != 2 || !first.More || first.NowMillis == 0 {
			t.Errorf("told %+v", first)
		}
		if l.ListedUnix() != time.Now().Unix() {
			t.Errorf("listed at %d", l.ListedUnix())
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if want := []string{"", "a", "b", "b"}; !slices.Equal(d.calls(), want) {
			t.Errorf("asked from %q, want %q", d.calls(), want)
		}
		l.Poke()
		synctest.Wait()
		if len(d.calls()) != 5 {
			t.Errorf("a poke listed %d times", len(d.calls())-4)
		}
	})
}

// The cursor of a page whose step failed is not kept, and the loop ends.
func TestFailedStep(t *testing.T) {
	full := errors.New("no space left")
	d := &desk{fail: full, changes: func(string) (connectors.Page, error) { return page("a", true), nil }}
	inLoop(t, d, func(t *testing.T, l *capture.Loop, failed chan error) {
		if err := <-failed; !errors.Is(err, full) || len(d.calls()) != 1 || d.cursor != nil || l.ListedUnix() != 0 {
			t.Errorf("%v, asked from %q, cursor %q", err, d.calls(), d.cursor)
		}
		failed <- nil
	})
}

func TestFailingSystemCostsOnlyDelay(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	d := &desk{}
	d.changes = func(string) (connectors.Page, error) {
		if down.Load() {
			return connectors.Page{}, errors.New("connection refused")
		}
		return page("a", false), nil
	}
	inLoop(t, d, func(t *testing.T, l *capture.Loop, _ chan error) {
		time.Sleep(10 * time.Minute)
		n := len(d.calls())
		down.Store(false)
		if n < 10 || n > 30 || l.ListedUnix() != 0 {
			t.Errorf("asked %d times in 10 minutes, listed at %d", n, l.ListedUnix())
		}
		l.Poke() // a person mended it
		synctest.Wait()
		if l.ListedUnix() != time.Now().Unix() || len(d.told()) != 1 {
			t.Errorf("listed at %d, %d events", l.ListedUnix(), len(d.told()))
		}
	})
}

// Neither the own pace nor a person cuts short what the system asked for.
func TestRetryAfter(t *testing.T) {
	d := &desk{changes: func(string) (connectors.Page, error) {
		return connectors.Page{}, &connectors.Error{Class: connectors.ClassThrottled, RetryAfter: 3 * time.Minute}
	}}
	inLoop(t, d, func(t *testing.T, l *capture.Loop, _ chan error) {
		time.Sleep(time.Minute)
		l.Poke()
		time.Sleep(119 * time.Second)
		synctest.Wait()
		if len(d.calls()) != 1 {
			t.Fatalf("asked %d times before the time", len(d.calls()))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(d.calls()) != 2 {
			t.Errorf("asked %d times", len(d.calls()))
		}
	})
}

// A connector that would list the same page for ever is a failing one.
func TestEndlessListing(t *testing.T) {
	for name, p := range map[string]connectors.Page{"no next": page("", false, "1"), "same place": page("a", true)} {
		t.Run(name, func(t *testing.T) {
			d := &desk{cursor: connectors.Cursor("a"), changes: func(string) (connectors.Page, error) { return p, nil }}
			inLoop(t, d, func(t *testing.T, _ *capture.Loop, _ chan error) {
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := len(d.calls()); n > 12 || len(d.told()) != 0 {
					t.Errorf("asked %d times in a minute, %d events", n, len(d.told()))
				}
			})
		})
	}
}

func TestFailureIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := &desk{changes: func(string) (connectors.Page, error) {
			return connectors.Page{}, &connectors.Error{Class: connectors.ClassDenied, System: "desk", Op: "list", Message: "no such key"}
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.loop(slog.New(slog.NewTextHandler(&log, nil))).Run(ctx); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"level=WARN", "system=desk", "class=denied", "no such key", "nothing is lost"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %q in %s", want, log.String())
			}
		}
	})
}

func TestRead(t *testing.T) {
	record := connectors.Record{Key: "7", Revision: "r1"}
	throttled := &connectors.Error{Class: connectors.ClassThrottled, RetryAfter: time.Minute, Message: "slow down"}
	for name, c := range map[string]struct {
		err  error
		want core.Fault
	}{
		"throttled":         {throttled, core.Fault{Class: connectors.ClassThrottled, RetryAfter: time.Minute, Message: "slow down"}},
		"not a connector's": {errors.New("odd"), *core.FaultOf(errors.New("odd"))},
	} {
		t.Run(name, func(t *testing.T) {
			d := &desk{read: func(context.Context) (connectors.Record, error) { return connectors.Record{}, c.err }}
			if err := d.loop(nil).Read(t.Context(), core.Read{System: "desk", Key: "7"}); err != nil {
				t.Fatal(err)
			}
			got := d.told()[0].(core.Missing)
			if got.Key != "7" || got.System != "desk" || got.Fault != c.want || got.NowMillis == 0 {
				t.Errorf("told %+v", got)
			}
		})
	}
	d := &desk{ahead: time.Hour, read: func(context.Context) (connectors.Record, error) { return record, nil }}
	if err := d.loop(nil).Read(t.Context(), core.Read{System: "desk", Key: "7"}); err != nil {
		t.Fatal(err)
	}
	if got := d.told()[0].(core.Observed); got.Record.Revision != "r1" || got.ClockAhead != time.Hour {
		t.Errorf("told %+v", got)
	}
}

// A read that a stop cut off is answered by nobody: the next start asks again.
func TestReadCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := &desk{read: func(ctx context.Context) (connectors.Record, error) {
		cancel()
		<-ctx.Done()
		return connectors.Record{}, ctx.Err()
	}}
	if err := d.loop(nil).Read(ctx, core.Read{System: "desk", Key: "7"}); err != nil || len(d.told()) != 0 {
		t.Errorf("%v, told %+v", err, d.told())
	}
}
