package state_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// kept reads the history of all of a state: what each message says, sorted.
func kept(t *testing.T, m *state.Machine) (out []string) {
	t.Helper()
	f := m.Freeze()
	defer f.Close()
	check(t, f.History(func(message []byte) error { out = append(out, fmt.Sprintf("%x", message)); return nil }))
	slices.Sort(out)
	return out
}

// The history of an image is there once at every moment: before a checkpoint takes
// it, while that is written, and when the source has it. Changes that a store would
// not write, since no entry was applied, do not take it.
func TestHistoryOfAnImageIsThereOnce(t *testing.T) {
	l := newLog(t)
	agreed := agreement(2)
	agreed.Limits.HistoryDays = 5
	l.apply(&command.PutPact{Document: agreed.Encode()})
	var last crdt.OpID
	for i := range crdt.Seq(3) {
		op := on(edit(author("acme", 1), i+1, key(1, "title"), int64(i), "text"), last, 0)
		l.publish(epochOne, crdt.OpID{}, op)
		last = op.ID()
	}
	want := kept(t, l.m)
	if len(want) != 3 {
		t.Fatalf("%d versions", len(want))
	}
	f := l.m.Freeze()
	img, err := f.Image()
	f.Close()
	check(t, err)
	l.disk = newDisk()
	check(t, l.m.RestoreFrom(img, l.disk, 0))
	same := func(when string) {
		t.Helper()
		if got := kept(t, l.m); !slices.Equal(got, want) {
			t.Errorf("%s: %d versions, want %d", when, len(got), len(want))
		}
	}
	same("restored")
	if c := l.m.TakeDirty(); c.Archive != nil {
		t.Error("Changes to nothing took the history")
	}
	l.apply(&command.PutPact{Document: agreed.Encode()})
	l.disk.take(l.m)
	same("taken")
	l.disk.settle(t, l.m)
	same("durable")
	l.apply(&command.PutPact{Document: agreed.Encode()})
	l.disk.checkpoint(t, l.m)
	same("at the next checkpoint")
}
