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

// buried is a log that has given away a record of three edits, each in a page of its
// own, and one more record.
func buried(t *testing.T) *log {
	t.Helper()
	l := newDiskLog(t)
	l.apply(&command.PutPact{Document: agreement(2).Encode()})
	for i, f := range []crdt.Field{"notes", "status", "title"} {
		op := edit(author("acme", 1), crdt.Seq(i+1), key(1, f), 0, "new")
		op.PactVersion = 2
		l.publish(epochOne, crdt.OpID{}, op)
	}
	l.publish(epochOne, crdt.OpID{}, edit(author("acme", 1), 4, key(2, "title"), 0, "another record"))
	l.disk.checkpoint(t, l.m)
	return l
}

// lifeOp is an op on the record's ~life.
func lifeOp(a crdt.Author, seq crdt.Seq, l crdt.Life) crdt.Op {
	op := edit(a, seq, key(1, crdt.FieldLife), 9, "")
	op.Value = l.Envelope()
	return op
}

func born(offset crdt.Offset) crdt.Base {
	return crdt.Base{Birth: crdt.Position{Epoch: epochOne, Offset: offset}}
}

// Of a record that is deleted only what the delete has not seen is read, and nothing
// for one that lives.
func TestPrepareReadsWhatIsBuried(t *testing.T) {
	defer state.SetPageFull(1)()
	all := map[crdt.Field]crdt.Base{"notes": born(1), "status": born(2), "title": born(3)}
	for name, c := range map[string]struct {
		life  crdt.Life
		reads int
	}{
		"live":         {crdt.Life{}, 0},
		"all seen":     {crdt.Life{Deleted: true, Seen: all}, 0},
		"two seen":     {crdt.Life{Deleted: true, Seen: map[crdt.Field]crdt.Base{"notes": born(1), "title": born(3)}}, 1},
		"nothing seen": {crdt.Life{Deleted: true}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			l := buried(t)
			before := l.disk.reads
			r := l.publish(epochOne, crdt.OpID{}, lifeOp(author("globex", 1), 1, c.life))[0]
			if r.Outcome != state.OutcomeApplied || l.disk.reads-before != c.reads {
				t.Errorf("%s %s, %d pages read, want %d", r.Outcome, r.Reason, l.disk.reads-before, c.reads)
			}
			if n := l.disk.reads - before; int(r.Offset) != 4+n+1 {
				t.Errorf("offset %d: want a conflict record for each page", r.Offset)
			}
		})
	}
}

// What a delete has seen may shrink within the entry, by an offer before it: its
// newest fork stands for the one that knew.
func TestPrepareAfterAnOffer(t *testing.T) {
	defer state.SetPageFull(1)()
	l := newDiskLog(t)
	for at := range crdt.Offset(8) { // as many as are kept
		l.publish(epochOne, crdt.OpID{}, edit(author("acme", 1), crdt.Seq(at+1), key(2, "title"), 0, "the head moves"))
		l.offer("acme", nil, &command.OfferEnd{Held: []crdt.Position{{Epoch: epochOld, Offset: at + 1}}})
	}
	l.offer("acme", nil, nil, offeredAt(edit(author("initech", 1), 1, key(1, "title"), 0, "of the old epoch"), 8))
	l.disk.checkpoint(t, l.m)
	info, err := l.m.Pact(tickets)
	check(t, err)
	op := lifeOp(author("globex", 1), 1, crdt.Life{Deleted: true, Seen: map[crdt.Field]crdt.Base{"title": born(info.Head)}})
	lineage := info.Lineage
	if !lineage.Covers(crdt.Position{Epoch: epochOne, Offset: info.Head}, crdt.Position{Epoch: epochOld, Offset: 8}) {
		t.Fatalf("lineage %v: the delete has seen nothing", lineage)
	}
	res := l.apply(
		&command.Offer{Site: "acme", Agent: "main", Pact: tickets, Epoch: epochOne, End: &command.OfferEnd{
			Held: []crdt.Position{{Epoch: epochOld, Offset: 9}},
		}},
		&command.Publish{Site: "globex", Agent: "main", Pact: tickets, Epoch: epochOne, Ops: []crdt.Op{op}},
	)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	if r := res.Commands[1].Ops[0]; r.Outcome != state.OutcomeApplied || r.Offset != info.Head+2 {
		t.Fatalf("%s %s at %d, want the delete behind a conflict record, at %d", r.Outcome, r.Reason, r.Offset, info.Head+2)
	}
}
