package state_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// Any history: the twin agrees, nothing is lost, a second machine is equal, the
// feed obeys its laws, checkpoints rebuild the state. So it is with all of the state
// in memory, and with as little of it as can be.
func TestHistories(t *testing.T) {
	t.Run("in memory", func(t *testing.T) { histories(t, newLog) })
	t.Run("on disk", func(t *testing.T) {
		defer state.SetPageFull(1000)() // a few versions
		histories(t, newDiskLog)
	})
}

func histories(t *testing.T, newLog func(tb) *log) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, newLog(t))
		w := &twin{}
		checked := 0
		folded := s.disk
		if folded == nil {
			folded = newDisk()
		}
		s.run(rapid.IntRange(1, 60).Draw(t, "steps"), func() {
			for ; checked < len(s.entries); checked++ {
				agree(t, w, s, checked)
			}
			if lost := s.lost(); len(lost) > 0 {
				t.Fatalf("lost: %v", lost)
			}
			switch rapid.IntRange(0, 9).Draw(t, "checkpoint") {
			case 0:
				folded.take(s.m)
			case 1:
				folded.settle(t, s.m)
			}
		})
		feedLaws(t, s, w)
		full := s.m.Image()
		if other := replay(t, s.entries); !reflect.DeepEqual(other.Image(), full) {
			t.Fatal("a second machine differs after the same log")
		}
		folded.checkpoint(t, s.m)
		if !reflect.DeepEqual(folded.load(t).Image(), full) {
			t.Fatal("the folded checkpoints are not the state")
		}
	})
}

// agree compares what the machine answered and holds with the twin. Offsets of
// answers are checked by the sim: they never go back.
func agree(t *rapid.T, w *twin, s *sim, i int) {
	c, ok := s.entries[i].Commands[0].(*command.Publish)
	if !ok {
		return
	}
	for j, want := range w.publish(c) {
		got, seen := s.answers[c.Ops[j].ID()]
		if want.Outcome != state.OutcomeGap && (!seen || got.Outcome != want.Outcome || got.Reason != want.Reason) {
			t.Fatalf("op %s: machine %v, twin %v", c.Ops[j].ID(), got, want)
		}
	}
	if i != len(s.entries)-1 {
		return
	}
	feed := feedAll(t, s.m, crdt.Position{}, 100)
	if !slices.EqualFunc(feed, w.feed(), func(a *state.Stored, b version) bool {
		return a.Offset == b.offset && a.Register.Digest == b.reg.Digest && a.Register.Birth == b.reg.Birth
	}) {
		t.Fatalf("feeds differ: machine %d, twin %d entries", len(feed), len(w.feed()))
	}
}

// feedLaws: from any cursor, in pages of any size, come exactly the current
// versions behind it, in order, each once.
func feedLaws(t *rapid.T, s *sim, w *twin) {
	cursor := crdt.Position{Epoch: epochOne, Offset: crdt.Offset(rapid.IntRange(0, int(w.head)).Draw(t, "cursor"))}
	got := feedAll(t, s.m, cursor, rapid.IntRange(1, 9).Draw(t, "page"))
	var want []crdt.Offset
	for _, v := range w.feed() {
		if v.offset > cursor.Offset {
			want = append(want, v.offset)
		}
	}
	if !slices.EqualFunc(got, want, func(a *state.Stored, b crdt.Offset) bool { return a.Offset == b }) {
		t.Fatalf("feed behind %s: %d entries, want %d", cursor, len(got), len(want))
	}
	cursor.Offset = w.head + 1
	if _, err := s.m.Feed(tickets, cursor, 1, 1); !errors.Is(err, state.ErrCursor) {
		t.Fatalf("beyond the head: %v", err)
	}
	cursor = crdt.Position{Epoch: epochOne + 1, Offset: 1}
	if _, err := s.m.Feed(tickets, cursor, 1, 1); !errors.Is(err, state.ErrEpoch) {
		t.Fatalf("another epoch: %v", err)
	}
}

// replay applies entries to another machine, which is restored from its own
// image now and then: what it derives must survive that.
func replay(t tb, entries []command.Entry) *state.Machine {
	m := state.New()
	for i, e := range entries {
		if i%5 == 4 {
			restored := state.New()
			if err := restored.Restore(m.Image()); err != nil {
				t.Fatal(err)
			}
			m = restored
		}
		apply(m, uint64(i+1), e)
		apply(m, uint64(i+1), e) // a log may be replayed
	}
	return m
}

func apply(m *state.Machine, index uint64, e command.Entry) {
	done, err := m.Prepare(e)
	if err != nil {
		panic(err)
	}
	defer done()
	m.Apply(index, e)
}

// Concurrent ops of many agents leave the same current versions in any order.
func TestConvergence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "ops")
		ops := make([]crdt.Op, n)
		for i := range ops {
			ops[i] = edit(author("acme", uint64(i+1)), 1, key(1, "title"), int64(rapid.IntRange(0, 3).Draw(t, "time")), "x")
		}
		var want crdt.Digest
		for round := range 3 {
			l := newLog(t)
			for _, op := range rapid.Permutation(ops).Draw(t, "order") {
				l.publish(epochOne, crdt.OpID{}, op)
			}
			got := l.get(key(1, "title")).Register.Digest
			if round > 0 && got != want {
				t.Fatal("the order of arrival decided")
			}
			want = got
			if n := len(feedAll(t, l.m, crdt.Position{}, 100)); n != len(ops) {
				t.Fatalf("%d registers for %d concurrent ops", n, len(ops))
			}
		}
	})
}
