package state_test

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// Bounds of limits.go.
const (
	authorsMax = 1 << 16
	heardMax   = 1 << 18
	atOnce     = 1 << 11 // ops of one command
)

// Each incarnation of an agent costs every replica a row for ever, whatever becomes
// of its ops, so that a site has its share in a pact and no more.
func TestIncarnationsAreBounded(t *testing.T) {
	l := newLog(t)
	first := edit(author("acme", 1), 1, key(1, "nonsense"), 1, "x") // refused
	for from := uint64(0); from < authorsMax; from += atOnce {
		c := &command.Publish{Site: "acme", Agent: "main", Pact: tickets, Epoch: epochOne}
		for i := range uint64(atOnce) {
			op := first
			op.Author.Incarnation = from + i + 1
			c.Ops = append(c.Ops, op)
		}
		for i, r := range l.apply(c).Commands[0].Ops {
			if r.Outcome != state.OutcomeRefused {
				t.Fatalf("incarnation %d: %s %s", from+uint64(i)+1, r.Outcome, r.Reason)
			}
		}
	}
	again := &log{m: state.New(), index: l.index}
	if err := again.m.Restore(l.m.Image()); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*log{l, again} { // nothing is consumed, and restored states have the same bound
		for range 2 {
			r := l.publish(epochOne, crdt.OpID{}, edit(author("acme", authorsMax+1), 1, key(1, "title"), 2, "x"))[0]
			if r.Outcome != state.OutcomeRetry || r.Reason != state.ReasonAuthors {
				t.Fatalf("one too many: %s %s", r.Outcome, r.Reason)
			}
			end := &command.OfferEnd{After: crdt.OpID{Author: author("acme", authorsMax+1), Seq: 7}}
			if r := l.offer("acme", nil, end).Ops[0]; r.Outcome != state.OutcomeRetry || r.Reason != state.ReasonAuthors {
				t.Fatalf("one too many, of an offer: %s %s", r.Outcome, r.Reason)
			}
		}
		if info, _ := l.m.Pact(tickets); info.Digest.Authors.Count != authorsMax {
			t.Fatalf("%d authors", info.Digest.Authors.Count)
		}
		if r := l.publish(epochOne, crdt.OpID{}, edit(author("acme", authorsMax), 2, key(1, "title"), 2, "x"))[0]; r.Outcome != state.OutcomeApplied {
			t.Fatalf("who is known goes on: %s %s", r.Outcome, r.Reason)
		}
		if r := l.publish(epochOne, crdt.OpID{}, edit(author("globex", 1), 1, key(2, "title"), 2, "x"))[0]; r.Outcome != state.OutcomeApplied {
			t.Fatalf("another site: %s %s", r.Outcome, r.Reason)
		}
	}
}

// What a member tells of others is bounded apart from what they may do themselves.
func TestHeardAuthorsAreBounded(t *testing.T) {
	l := newLog(t)
	told := func(incarnation uint64) command.Offered {
		op := edit(author("acme", incarnation), 1, key(1, "title"), 2, "x")
		if incarnation > 1 {
			op.Stamp = crdt.StampOf(1, 0) // lost to the first, in one history
		}
		return offeredAt(op, crdt.Offset(incarnation))
	}
	for from := uint64(0); from < heardMax; from += atOnce {
		var registers []command.Offered
		for i := range uint64(atOnce) {
			registers = append(registers, told(from+i+1))
		}
		for i, r := range l.offer("globex", nil, nil, registers...).Ops {
			if r.Outcome != state.OutcomeApplied {
				t.Fatalf("incarnation %d: %s %s", from+uint64(i)+1, r.Outcome, r.Reason)
			}
		}
	}
	if r := l.offer("globex", nil, nil, told(heardMax+1)).Ops[0]; r.Outcome != state.OutcomeRetry || r.Reason != state.ReasonAuthors {
		t.Fatalf("one too many: %s %s", r.Outcome, r.Reason)
	}
	if info, _ := l.m.Pact(tickets); info.Digest.Authors.Count != heardMax {
		t.Fatalf("%d authors", info.Digest.Authors.Count)
	}
	if r := l.publish(epochOne, crdt.OpID{}, edit(author("acme", heardMax+1), 1, key(1, "notes"), 2, "x"))[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("what others told keeps acme from writing: %s %s", r.Outcome, r.Reason)
	}
	if r := l.publish(epochOne, crdt.OpID{}, told(2).Op)[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("who was told of publishes: %s %s", r.Outcome, r.Reason)
	}
	if r := l.offer("globex", nil, nil, told(heardMax+2)).Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("in the room that he left: %s %s", r.Outcome, r.Reason)
	}
}

// No offer makes a name's seqs jump to where no agent gets.
func TestHeardSeqsAreBounded(t *testing.T) {
	l := newLog(t)
	const seqMax = crdt.Seq(1) << 56
	far := offeredAt(edit(author("acme", 1), seqMax+1, key(1, "title"), 1, "x"), 7)
	if r := l.offer("globex", nil, nil, far).Ops[0]; r.Reason != state.ReasonMalformed {
		t.Errorf("a register: %s %s", r.Outcome, r.Reason)
	}
	end := &command.OfferEnd{After: crdt.OpID{Author: author("acme", 1), Seq: seqMax + 1}}
	if r := l.offer("acme", nil, end).Ops[0]; r.Reason != state.ReasonMalformed {
		t.Errorf("an end: %s %s", r.Outcome, r.Reason)
	}
	far.Op.Seq = seqMax
	if r := l.offer("globex", nil, nil, far).Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Errorf("the last seq: %s %s", r.Outcome, r.Reason)
	}
}
