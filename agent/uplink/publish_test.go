package uplink_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/proto/wire"
)

func wantSent(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.hub.sent(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q; %+v", got, want, w.loop.Status())
	}
	if n := w.waiting(); n != 0 {
		t.Errorf("%d ops have no answer", n)
	}
}

func TestBatchesGoInOrder(t *testing.T) {
	inWorld(t, &hub{}, nil, func(t *testing.T, w *world) {
		w.put(helpdesk, 5)
		synctest.Wait()
		w.put(bugs, 1)
		synctest.Wait()
		w.put(helpdesk, 1)
		synctest.Wait()
		wantSent(t, w, "helpdesk 0<1-2", "helpdesk 2<3-4", "helpdesk 4<5-5", "bugs 0<1-1", "helpdesk 5<6-6")
		for _, e := range eventsOf[core.Acked](w.agent) {
			if e.Epoch != 1 || e.HubMillis != 1000 || e.NowMillis == 0 {
				t.Errorf("the core was told %+v", e)
			}
		}
	})
}

func TestOutcomesReachTheCore(t *testing.T) {
	for from, want := range map[wire.Outcome]core.Outcome{
		wire.OutcomeApplied: core.OutcomeApplied, wire.OutcomeRefused: core.OutcomeRefused,
		wire.OutcomeRetry: core.OutcomeRetry, wire.OutcomeGap: core.OutcomeGap,
	} {
		if core.Outcome(from) != want {
			t.Errorf("outcome %d of the wire is %d, want %d", from, core.Outcome(from), want)
		}
	}
}

// At most the protocol's window is under way.
func TestWindow(t *testing.T) {
	var answer chan struct{}
	h := &hub{}
	h.publish = func(ctx context.Context, s wire.PublishStream) error {
		return h.take(s, func(b wire.Batch) wire.BatchResult {
			select {
			case <-answer:
			case <-ctx.Done():
			}
			return applied(b)
		})
	}
	prepare := func(_ *config, a *agent) {
		answer = make(chan struct{})
		a.fill(helpdesk, run*(wire.InFlightMax+3))
	}
	inWorld(t, h, prepare, func(t *testing.T, w *world) {
		if got, want := w.asked(), wire.InFlightMax+1; got != want {
			t.Errorf("asked for %d runs, want %d: the window, and one that waits for it", got, want)
		}
		close(answer)
		synctest.Wait()
		if w.waiting() != 0 {
			t.Errorf("%d ops have no answer", w.waiting())
		}
	})
}

// After a break everything without an answer is sent again, from the first.
func TestResendAfterBreak(t *testing.T) {
	h := &hub{}
	h.publish = func(_ context.Context, s wire.PublishStream) error {
		if h.greeted() > 1 {
			return eof(h.take(s, applied))
		}
		first, err := h.receive(s)
		if err != nil {
			return err
		}
		if _, err := h.receive(s); err != nil {
			return err
		}
		if err := s.Send(applied(first)); err != nil {
			return err
		}
		time.Sleep(time.Second) // so that the answer is settled before the stream ends
		return errors.New("the node dies")
	}
	inWorld(t, h, func(_ *config, a *agent) { a.fill(helpdesk, 4) }, func(t *testing.T, w *world) {
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantSent(t, w, "helpdesk 0<1-2", "helpdesk 2<3-4", "helpdesk 2<3-4")
		if n := h.greeted(); n != 2 {
			t.Errorf("%d greetings, want one a session", n)
		}
	})
}

// A gap rewinds once, whatever the batches under way behind it are answered.
func TestGapRewindsOnce(t *testing.T) {
	h := &hub{}
	h.publish = func(_ context.Context, s wire.PublishStream) error {
		var first []wire.Batch
		for range 3 {
			b, err := h.receive(s)
			if err != nil {
				return err
			}
			first = append(first, b)
		}
		for _, b := range first {
			if err := s.Send(gap(b)); err != nil {
				return err
			}
		}
		return eof(h.take(s, applied))
	}
	inWorld(t, h, func(_ *config, a *agent) { a.fill(helpdesk, 6) }, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		synctest.Wait()
		wantSent(t, w, "helpdesk 0<1-2", "helpdesk 2<3-4", "helpdesk 4<5-6",
			"helpdesk 0<1-2", "helpdesk 2<3-4", "helpdesk 4<5-6")
		gaps := 0
		for _, e := range eventsOf[core.Acked](w.agent) {
			if e.Results[0].Outcome == core.OutcomeGap {
				gaps++
			}
		}
		if gaps != 1 {
			t.Errorf("the core heard of %d gaps, want the first alone", gaps)
		}
	})
}

// The pact whose ops are put off waits as long as the hub asked; others go on.
func TestRetryWaits(t *testing.T) {
	h, off := &hub{}, true
	h.publish = func(_ context.Context, s wire.PublishStream) error {
		return eof(h.take(s, func(b wire.Batch) wire.BatchResult {
			if b.Pact == helpdesk && off {
				off = false
				return later(b, wire.ReasonQuotaOps, 20*time.Second)
			}
			return applied(b)
		}))
	}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		w.put(helpdesk, 1)
		synctest.Wait()
		if got := w.loop.Status().Pacts[helpdesk].Delayed; got != wire.ReasonQuotaOps {
			t.Errorf("the status says %q of the delay", got)
		}
		w.put(bugs, 1)
		w.put(helpdesk, 1) // new ops do not cut the wait short
		time.Sleep(25 * time.Second)
		synctest.Wait()
		wantSent(t, w, "helpdesk 0<1-1", "bugs 0<1-1", "helpdesk 0<1-2")
		if d := h.at[1].Sub(h.at[0]); d > time.Second {
			t.Errorf("the other pact waited %s", d)
		}
		if d := h.at[2].Sub(h.at[0]); d < 20*time.Second || d > 21*time.Second {
			t.Errorf("sent again after %s, want the 20 s that the hub asked for", d)
		}
		if got := w.loop.Status().Pacts[helpdesk].Delayed; got != "" {
			t.Errorf("the status still says %q", got)
		}
	})
}

// A hub that puts ops off for ever, or finds gaps for ever, without naming a
// time is not hammered.
func TestRetryBacksOff(t *testing.T) {
	for name, answer := range map[string]func(wire.Batch) wire.BatchResult{
		"retry": func(b wire.Batch) wire.BatchResult { return later(b, wire.ReasonHubReadonly, 0) },
		"gap":   gap,
	} {
		t.Run(name, func(t *testing.T) {
			h := &hub{}
			h.publish = func(_ context.Context, s wire.PublishStream) error { return eof(h.take(s, answer)) }
			inWorld(t, h, nil, func(t *testing.T, w *world) {
				w.put(helpdesk, 1)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if n := len(h.sent()); n < 20 || n > 60 {
					t.Errorf("sent %d times in 5 minutes", n)
				}
				if n := h.greeted(); n != 1 {
					t.Errorf("%d sessions, want one", n)
				}
			})
		})
	}
}

func TestLeaderMoved(t *testing.T) {
	moved := &wire.Error{Reason: wire.ReasonLeaderMoved, Leader: "three"}
	for name, script := range map[string]func(*hub){
		"an answer": func(h *hub) {
			h.publish = func(_ context.Context, s wire.PublishStream) error {
				return eof(h.take(s, func(b wire.Batch) wire.BatchResult {
					if h.greeted() > 1 {
						return applied(b)
					}
					r := later(b, wire.ReasonLeaderMoved, 0)
					r.Leader = "three"
					return r
				}))
			}
		},
		"the greeting": func(h *hub) {
			h.greet = func(*wire.Welcome) error {
				if len(h.greets) > 1 {
					return nil
				}
				return moved
			}
		},
		"the stream": func(h *hub) {
			h.publish = func(_ context.Context, s wire.PublishStream) error {
				if h.greeted() > 1 {
					return eof(h.take(s, applied))
				}
				return moved
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hub{}
			script(h)
			inWorld(t, h, func(_ *config, a *agent) { a.fill(helpdesk, 1) }, func(t *testing.T, w *world) {
				time.Sleep(time.Second)
				synctest.Wait()
				if !slices.Equal(w.dialed, []string{"one", "three"}) || w.waiting() != 0 {
					t.Errorf("dialled %q, %d ops wait; want the leader within a second", w.dialed, w.waiting())
				}
			})
		})
	}
}

// A batch that is never answered ends the session, though the feed is alive.
func TestUnansweredBatch(t *testing.T) {
	h := &hub{}
	h.publish = func(ctx context.Context, s wire.PublishStream) error {
		if h.greeted() > 1 {
			return eof(h.take(s, applied))
		}
		_, err := h.receive(s)
		<-ctx.Done()
		return err
	}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Minute) // nothing is owed: no reason to end anything
		w.put(helpdesk, 1)
		time.Sleep(29 * time.Second)
		if n := h.greeted(); n != 1 {
			t.Fatalf("%d sessions before the time", n)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantSent(t, w, "helpdesk 0<1-1", "helpdesk 0<1-1")
	})
}

// An answer that fits to no batch is a broken hub: nothing of it is believed.
func TestForeignAnswers(t *testing.T) {
	for name, answer := range map[string]func(wire.Batch) wire.BatchResult{
		"another batch":   func(b wire.Batch) wire.BatchResult { r := applied(b); r.Batch++; return r },
		"too few results": func(b wire.Batch) wire.BatchResult { r := applied(b); r.Results = nil; return r },
	} {
		t.Run(name, func(t *testing.T) {
			h := &hub{}
			h.publish = func(_ context.Context, s wire.PublishStream) error {
				return eof(h.take(s, func(b wire.Batch) wire.BatchResult {
					if h.greeted() > 1 {
						return applied(b)
					}
					return answer(b)
				}))
			}
			inWorld(t, h, func(_ *config, a *agent) { a.fill(helpdesk, 1) }, func(t *testing.T, w *world) {
				time.Sleep(time.Second)
				synctest.Wait()
				wantSent(t, w, "helpdesk 0<1-1", "helpdesk 0<1-1")
				if n := len(eventsOf[core.Acked](w.agent)); n != 1 {
					t.Errorf("the core was told of %d answers", n)
				}
			})
		})
	}
}
