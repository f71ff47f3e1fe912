package state_test

import (
	"errors"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// given is a log whose Machine has given a title away, and an entry whose op has
// not seen it.
func given(t *testing.T) (*log, command.Entry) {
	t.Helper()
	l := newDiskLog(t)
	l.publish(epochOne, crdt.OpID{}, edit(author("acme", 1), 1, key(1, "title"), 0, "acme's"))
	l.publish(epochOne, crdt.OpID{}, edit(author("acme", 1), 2, key(2, "title"), 0, "another page"))
	l.disk.checkpoint(t, l.m)
	op := edit(author("globex", 1), 1, key(1, "title"), 5, "globex's")
	return l, command.Entry{TimeMillis: now, DriftMaxMillis: driftMax, Commands: []command.Command{
		&command.Publish{Site: "globex", Agent: op.Author.Agent, Pact: tickets, Epoch: epochOne, Ops: []crdt.Op{op}},
	}}
}

// An entry that is applied though what it meets was not read is not answered, and
// neither is any entry behind it, until another state is loaded.
func TestTornEntry(t *testing.T) {
	defer state.SetPageFull(1)()
	l, e := given(t)
	for range 2 {
		res := l.m.Apply(l.index+1, e)
		if !errors.Is(res.Err, state.ErrTorn) || res.Commands != nil || res.Advanced != nil {
			t.Fatalf("%+v", res)
		}
	}
	l.m = l.disk.load(t)
	if r := l.apply(e.Commands...).Commands[0].Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("%+v", r)
	}
}

// A page that is not there any more is damage, and nothing of the entry happens.
func TestPrepareWithoutThePage(t *testing.T) {
	defer state.SetPageFull(1)()
	l, e := given(t)
	clear(l.disk.pages)
	if _, err := l.m.Prepare(e); !errors.Is(err, state.ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	if l.m.Index() != l.index {
		t.Fatalf("index %d, want %d", l.m.Index(), l.index)
	}
}
