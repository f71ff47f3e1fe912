package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/proto/wire"
)

func TestGreetingReachesTheCore(t *testing.T) {
	author := crdt.Author{Site: "acme", Agent: "main", Incarnation: 3}
	h := &hub{greet: func(w *wire.Welcome) error {
		w.Pacts[0].Head = 9
		w.Pacts[0].Authors = []wire.AuthorState{{Author: author, Seen: 5, Applied: 4}}
		return nil
	}}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		greeted := eventsOf[core.Greeted](w.agent)
		if len(greeted) != 2 {
			t.Fatalf("told of %d pacts", len(greeted))
		}
		g := greeted[0]
		if g.Pact != helpdesk || g.Epoch != 1 || g.HubMillis != 1000 || g.Head != 9 ||
			!slices.Equal(g.Authors, []core.AuthorState{{Author: author, Seen: 5, Applied: 4}}) {
			t.Errorf("told %+v", g)
		}
	})
}

// The status tells the cursor from the first moment: a hub that has nothing new
// to say sends no slice for a while.
func TestStatusAfterGreeting(t *testing.T) {
	h := &hub{
		greet: func(w *wire.Welcome) error { w.Pacts[0].Head = 9; return nil },
		subscribe: func(ctx context.Context, _ crdt.Pact, _ crdt.Position, _ wire.FeedStream) error {
			<-ctx.Done()
			return ctx.Err()
		},
	}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		s := w.loop.Status()
		if !s.Connected || s.Address != "one" || s.Epoch != 1 || s.Problem != "" {
			t.Errorf("status %+v", s)
		}
		if at := s.Pacts[helpdesk]; at.Head != 9 || at.Cursor != 7 {
			t.Errorf("helpdesk stands at %+v, want what the store says (7) of 9", at)
		}
	})
}

func TestFeedReachesTheCore(t *testing.T) {
	h := &hub{}
	h.subscribe = func(ctx context.Context, pact crdt.Pact, from crdt.Position, s wire.FeedStream) error {
		if from != (crdt.Position{Epoch: 1, Offset: 7}) {
			return errors.New("subscribed elsewhere than the store says")
		}
		op := crdttest.Op(crdt.StampOf(1000, 0), "globex", 1, "hello")
		op.Key.Pact = pact
		slice := wire.Slice{Cursor: crdt.Position{Epoch: 1, Offset: 8}, Head: 10}
		slice.Entries = []wire.Entry{{Offset: 8, Register: crdt.NewRegister(op, crdt.Position{Epoch: 1, Offset: 8})}}
		return beat(ctx, s, slice)
	}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		fed := eventsOf[core.Fed](w.agent)
		if len(fed) != 2 || len(fed[0].Entries) != 1 || fed[0].Cursor.Offset != 8 || fed[0].Head != 10 {
			t.Fatalf("told %+v", fed)
		}
		if at := w.loop.Status().Pacts[bugs]; at.Cursor != 8 || at.Head != 10 {
			t.Errorf("status %+v", at)
		}
	})
}

// A feed of another epoch is greeted before anything of it is read.
func TestEpochChange(t *testing.T) {
	for _, where := range []string{"the feed", "an answer"} {
		t.Run(where, func(t *testing.T) {
			h := &hub{greet: func(w *wire.Welcome) error { w.Epoch = 2; return nil }}
			changed := &wire.Error{Reason: wire.ReasonEpochChanged}
			h.subscribe = func(ctx context.Context, _ crdt.Pact, _ crdt.Position, s wire.FeedStream) error {
				if where == "the feed" && h.greeted() == 1 {
					return changed
				}
				return beat(ctx, s, wire.Slice{Cursor: crdt.Position{Epoch: 2}})
			}
			h.publish = func(_ context.Context, s wire.PublishStream) error {
				return eof(h.take(s, func(b wire.Batch) wire.BatchResult {
					if where == "an answer" && h.greeted() == 1 {
						return later(b, wire.ReasonEpochChanged, time.Second)
					}
					return applied(b)
				}))
			}
			inWorld(t, h, func(_ *config, a *agent) { a.fill(helpdesk, 1) }, func(t *testing.T, w *world) {
				time.Sleep(time.Second)
				synctest.Wait()
				if n := h.greeted(); n != 2 {
					t.Errorf("%d greetings, want two", n)
				}
				if n := w.waiting(); n != 0 || h.batches[len(h.batches)-1].Epoch != 2 {
					t.Errorf("%d ops wait, newest batch is for epoch %s", n, h.batches[len(h.batches)-1].Epoch)
				}
			})
		})
	}
}

// A hub that refuses the cursor for ever is not hammered.
func TestRegreetBacksOff(t *testing.T) {
	h := &hub{subscribe: func(context.Context, crdt.Pact, crdt.Position, wire.FeedStream) error {
		return &wire.Error{Reason: wire.ReasonCursorBeyond}
	}}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		time.Sleep(5 * time.Minute)
		if n := h.greeted(); n < 15 || n > 60 {
			t.Errorf("%d greetings in 5 minutes", n)
		}
		if s := w.loop.Status(); s.Connected || !strings.Contains(s.Problem, "cursor.beyond") {
			t.Errorf("status %+v", s)
		}
	})
}

func TestHubNamesTheWait(t *testing.T) {
	h := &hub{greet: func(*wire.Welcome) error {
		return &wire.Error{Reason: wire.ReasonHubDraining, RetryAfter: 20 * time.Second}
	}}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		time.Sleep(19 * time.Second)
		if n := h.greeted(); n != 1 {
			t.Fatalf("%d greetings before the time", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := h.greeted(); n != 2 || !slices.Equal(w.dialed, []string{"one", "two"}) {
			t.Errorf("%d greetings, dialled %q", n, w.dialed)
		}
	})
}

// A node that served and then sends the agent to another one ends what was waited
// before: the other nodes are tried at once, one that is dead among them. After any
// other end of a short session the waits go on growing.
func TestSentOnIsNoFailure(t *testing.T) {
	for reason, within := range map[wire.Reason]time.Duration{
		wire.ReasonHubDraining: time.Second, wire.ReasonLeaderMoved: time.Second, wire.ReasonHubInternal: 0,
	} {
		t.Run(string(reason), func(t *testing.T) {
			const dead, served = 6, 20 * time.Second
			h := &hub{}
			h.greet = func(*wire.Welcome) error {
				if n := len(h.greets); n <= dead || n == dead+2 {
					return errors.New("nobody is there")
				}
				return nil
			}
			h.subscribe = func(ctx context.Context, _ crdt.Pact, _ crdt.Position, s wire.FeedStream) error {
				if h.greeted() > dead+1 {
					return beat(ctx, s, wire.Slice{Cursor: crdt.Position{Epoch: 1}})
				}
				time.Sleep(served)
				return &wire.Error{Reason: reason}
			}
			inWorld(t, h, nil, func(t *testing.T, w *world) {
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if n := h.greeted(); n != dead+3 {
					t.Fatalf("%d greetings, want %d", n, dead+3)
				}
				wait := h.greets[dead+2].Sub(h.greets[dead]) - served
				if within > 0 && wait > within || within == 0 && wait < 5*time.Second {
					t.Errorf("served again after %s", wait)
				}
			})
		})
	}
}

func TestSilentFeed(t *testing.T) {
	h := &hub{}
	h.subscribe = func(ctx context.Context, _ crdt.Pact, _ crdt.Position, s wire.FeedStream) error {
		if h.greeted() > 1 {
			return beat(ctx, s, wire.Slice{Cursor: crdt.Position{Epoch: 1}})
		}
		if err := s.Send(wire.Slice{Cursor: crdt.Position{Epoch: 1}}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	inWorld(t, h, nil, func(t *testing.T, w *world) {
		time.Sleep(29 * time.Second)
		if n := h.greeted(); n != 1 {
			t.Fatalf("%d sessions before the time", n)
		}
		time.Sleep(10 * time.Minute) // heartbeats keep the second one
		if n := h.greeted(); n != 2 {
			t.Errorf("%d sessions", n)
		}
		if d := time.Since(time.Unix(w.loop.HeardUnix(), 0)); d > 11*time.Second {
			t.Errorf("last heard %s ago", d)
		}
	})
}

// A slow disk here is no silence of the hub.
func TestOwnSlownessIsNoSilence(t *testing.T) {
	slow := func(_ *config, a *agent) { a.step = time.Minute }
	inWorld(t, &hub{}, slow, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Minute)
		if n := w.hub.greeted(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A pact that differs from the accepted one stays out, and the others run. When
// the difference is gone it joins by itself.
func TestForeignDocument(t *testing.T) {
	var log bytes.Buffer
	var mended atomic.Bool
	prepare := func(c *config, a *agent) {
		a.fill(helpdesk, 1)
		a.fill(bugs, 1)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Documents = func(p wire.PactState) error {
			if p.Pact == helpdesk && !mended.Load() {
				return errors.New("the hub has version 4, this site accepted version 3")
			}
			return nil
		}
	}
	inWorld(t, &hub{}, prepare, func(t *testing.T, w *world) {
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := w.hub.sent(); !slices.Equal(got, []string{"bugs 0<1-1"}) || w.hub.greeted() < 3 {
			t.Fatalf("sent %q, greeted %d times", got, w.hub.greeted())
		}
		s := w.loop.Status()
		if at := s.Pacts[helpdesk]; !s.Connected || at.Refused != "pact.version: the hub has version 4, this site accepted version 3" {
			t.Errorf("status %+v", s)
		}
		if greeted := eventsOf[core.Greeted](w.agent); len(greeted) != 1 || greeted[0].Pact != bugs {
			t.Errorf("the core was told %+v", greeted)
		}
		if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "version 4") {
			t.Errorf("log:\n%s", text)
		}
		mended.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := w.waiting(); n != 0 || w.loop.Status().Pacts[helpdesk].Refused != "" {
			t.Errorf("%d ops wait, status %+v", n, w.loop.Status())
		}
	})
}

func TestAllPactsRefused(t *testing.T) {
	var member atomic.Bool
	h := &hub{greet: func(w *wire.Welcome) error {
		for i := range w.Pacts {
			if !member.Load() {
				w.Pacts[i].Refused = wire.ReasonPactNotMember
			}
		}
		return nil
	}}
	fill := func(_ *config, a *agent) { a.fill(helpdesk, 1) }
	inWorld(t, h, fill, func(t *testing.T, w *world) {
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		s := w.loop.Status()
		const want = "none of this agent's pacts can run: bugs: pact.not_member: This site is not a member of the pact.; helpdesk: pact.not_member"
		if s.Connected || !strings.Contains(s.Problem, want) || s.Pacts[bugs].Refused == "" {
			t.Errorf("status %+v", s)
		}
		if n := h.greeted(); n < 15 || n > 60 || len(eventsOf[core.Greeted](w.agent)) != 0 {
			t.Errorf("%d greetings in 5 minutes", n)
		}
		member.Store(true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := w.waiting(); n != 0 || !w.loop.Status().Connected {
			t.Errorf("%d ops wait, status %+v", n, w.loop.Status())
		}
	})
}

// What fails on this side ends the loop: trying again is no use.
func TestEngineStops(t *testing.T) {
	broken := errors.New("the disk is full")
	inWorld(t, &hub{}, nil, func(t *testing.T, w *world) {
		w.mu.Lock()
		w.fail = broken
		w.mu.Unlock()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if err := <-w.failed; !errors.Is(err, broken) {
			t.Errorf("Run returned %v", err)
		}
		w.failed <- nil
	})
}

func TestStatusIsACopy(t *testing.T) {
	inWorld(t, &hub{}, nil, func(t *testing.T, w *world) {
		clear(w.loop.Status().Pacts)
		if n := len(w.loop.Status().Pacts); n != 2 {
			t.Errorf("%d pacts left", n)
		}
	})
}
