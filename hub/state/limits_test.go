package state_test

import (
	"slices"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// limited is newLog with limits in the pact.
func limited(t *testing.T, limits pact.Limits) *log {
	t.Helper()
	p := agreement(1)
	p.Limits = limits
	l := &log{m: state.New()}
	for _, c := range l.apply(&command.Found{Hub: hubID, Epoch: epochOne}, &command.PutPact{Document: p.Encode()}).Commands {
		if c.Reason != "" {
			t.Fatalf("founding: %s", c.Reason)
		}
	}
	return l
}

// sender publishes ops of one author, one after the other.
type sender struct {
	l    *log
	name crdt.Author
	seq  crdt.Seq
}

func (s *sender) send(t *testing.T, op crdt.Op, want state.Reason) crdt.OpID {
	t.Helper()
	s.seq++
	op.Author, op.Seq = s.name, s.seq
	outcome := state.OutcomeApplied
	if want != "" {
		outcome = state.OutcomeRefused
	}
	if r := s.l.publish(epochOne, crdt.OpID{}, op)[0]; r.Reason != want || r.Outcome != outcome {
		t.Fatalf("op %s: %s %q, want %q", op.Key, r.Outcome, r.Reason, want)
	}
	return op.ID()
}

func TestPactIsFullOfRegisters(t *testing.T) {
	l := limited(t, pact.Limits{Registers: 4})
	acme, globex := &sender{l: l, name: author("acme", 1)}, &sender{l: l, name: author("globex", 1)}
	write := func(record byte, field crdt.Field, millis int64) crdt.Op {
		return edit(crdt.Author{}, 0, key(record, field), millis, "x")
	}
	life := func(record byte, l crdt.Life, millis int64) crdt.Op {
		op := write(record, crdt.FieldLife, millis)
		op.Value = l.Envelope()
		return op
	}
	shown := func(id crdt.OpID) crdt.Life {
		return crdt.Life{Deleted: true, Seen: map[crdt.Field]crdt.Base{"title": {Pred: id}}}
	}
	first := acme.send(t, write(1, "title", 1), "")
	live := acme.send(t, life(1, crdt.Life{}, 1), "")
	other := acme.send(t, write(2, "title", 1), "")
	alive := acme.send(t, life(2, crdt.Life{}, 1), "")

	// Full: nothing new, neither a record, a register, nor a conflict record.
	acme.send(t, write(3, "title", 2), state.ReasonRegisters)
	acme.send(t, write(1, "notes", 2), state.ReasonRegisters)
	globex.send(t, write(1, "title", 2), state.ReasonRegisters) // would win unseen
	globex.send(t, write(1, "title", 0), state.ReasonRegisters) // would lose
	if got := l.get(key(1, "title")); got.Register.Op.ID() != first {
		t.Fatalf("a refused op has become current: %s", got.Register.Op.ID())
	}

	// What needs no room goes on, also after a restart.
	again := &log{m: state.New(), index: l.index}
	if err := again.m.Restore(l.m.Image()); err != nil {
		t.Fatal(err)
	}
	l, acme.l, globex.l = again, again, again
	acme.send(t, write(3, "title", 3), state.ReasonRegisters)
	second := globex.send(t, on(write(1, "title", 4), first, 0), "")
	acme.send(t, on(life(1, shown(first), 5), live, 0), state.ReasonRegisters) // has not seen the second
	deleted := acme.send(t, on(life(2, shown(other), 5), alive, 0), "")
	globex.send(t, on(write(2, "title", 6), other, 0), state.ReasonRegisters) // an edit in a deleted record
	acme.send(t, on(life(2, crdt.Life{}, 7), deleted, 0), "")
	info, err := l.m.Pact(tickets)
	if err != nil || info.Digest.Registers.Count() != 4 {
		t.Fatalf("%d registers, %v", info.Digest.Registers.Count(), err)
	}

	// More room, and the change goes out again as a new op.
	next := agreement(2)
	next.Limits.Registers = 6
	if r := l.apply(&command.PutPact{Document: next.Encode()}).Commands[0]; r.Reason != "" {
		t.Fatal(r.Reason)
	}
	acme.send(t, on(life(1, shown(first), 8), live, 0), "")
	if got := l.get(key(1, crdt.LostField("title", l.get(key(1, "title")).Register.Digest))); got == nil {
		t.Fatalf("the edit %s that the delete had not seen is not recorded", second)
	}
	acme.send(t, write(3, "title", 8), "")
	acme.send(t, write(4, "title", 8), state.ReasonRegisters)
}

// A pact that is full, and holds a conflict record of the last op besides, is
// rebuilt whole from what agents bring back, whatever comes first.
func TestFullPactIsRebuilt(t *testing.T) {
	limits := pact.Limits{Registers: 4}
	old := limited(t, limits)
	acme, globex := &sender{l: old, name: author("acme", 1)}, &sender{l: old, name: author("globex", 1)}
	life := func(deleted bool, millis int64) crdt.Op {
		op := edit(crdt.Author{}, 0, key(1, crdt.FieldLife), millis, "")
		op.Value = crdt.Life{Deleted: deleted}.Envelope()
		return op
	}
	live := acme.send(t, life(false, 1), "")
	acme.send(t, edit(crdt.Author{}, 0, key(1, "title"), 1, "x"), "")
	acme.send(t, edit(crdt.Author{}, 0, key(1, "notes"), 1, "x"), "")
	globex.send(t, on(life(true, 2), live, 0), "") // has seen neither
	want, _ := old.m.Pact(tickets)
	if n := want.Digest.Registers.Count(); n != 5 {
		t.Fatalf("%d registers: the last op has not passed the limit", n)
	}
	held := old.m.Image().Registers
	for _, backward := range []bool{false, true} {
		l := limited(t, limits)
		if backward {
			slices.Reverse(held)
		}
		for _, s := range held {
			birth := crdt.Position{Epoch: epochOld, Offset: s.Register.Birth.Offset}
			if r := l.offer("globex", nil, nil, command.Offered{Op: s.Register.Op, Birth: birth}).Ops[0]; r.Outcome != state.OutcomeApplied {
				t.Errorf("%s, backward %v: %s %s", s.Register.Op.Key, backward, r.Outcome, r.Reason)
			}
		}
		if got, _ := l.m.Pact(tickets); got.Digest.Registers != want.Digest.Registers {
			t.Errorf("backward %v: %d registers, want those 5", backward, got.Digest.Registers.Count())
		}
		other := &sender{l: l, name: author("acme", 2)}
		other.send(t, edit(crdt.Author{}, 0, key(9, "title"), 3, "x"), state.ReasonRegisters) // only offers may
	}
}

// Offers open conflict records beyond the limit, which are bounded too.
func TestOffersFillPact(t *testing.T) {
	const limit, room, atOnce = 1 << 10, 1 << 16, 1 << 10
	l := limited(t, pact.Limits{Registers: limit})
	told := func(n int) command.Offered { // every version of another life of the hub
		k := key(1, "title")
		k.Record[0], k.Record[1] = byte(n%limit), byte(n%limit>>8)
		op := edit(author("acme", 1), crdt.Seq(n+1), k, int64(n/limit+1), "x")
		return command.Offered{Op: op, Birth: crdt.Position{Epoch: crdt.Epoch(0x1000 + n/limit), Offset: crdt.Offset(n + 1)}}
	}
	for from := 0; from < limit+room; from += atOnce {
		var registers []command.Offered
		for n := range atOnce {
			registers = append(registers, told(from+n))
		}
		for i, r := range l.offer("globex", nil, nil, registers...).Ops {
			if r.Outcome != state.OutcomeApplied {
				t.Fatalf("version %d: %s %s", from+i, r.Outcome, r.Reason)
			}
		}
	}
	before, _ := l.m.Pact(tickets)
	if n := before.Digest.Registers.Count(); n != limit+room {
		t.Fatalf("%d registers, want %d", n, limit+room)
	}
	more := told(limit + room)
	more.Op.Author = author("acme", 2) // of whom nothing must be heard
	for _, r := range l.offer("globex", nil, nil, more, told(limit+room+1)).Ops {
		if r.Outcome != state.OutcomeRefused || r.Reason != state.ReasonRegisters {
			t.Fatalf("one too many: %s %s", r.Outcome, r.Reason)
		}
	}
	if r := l.offer("globex", nil, nil, told(limit+room-1)).Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("what stands there already: %s %s", r.Outcome, r.Reason)
	}
	after, _ := l.m.Pact(tickets)
	if after.Digest != before.Digest {
		t.Fatalf("a refusal left a trace: %+v, before %+v", after.Digest, before.Digest)
	}
}

func TestPactIsFullOfRecords(t *testing.T) {
	l := limited(t, pact.Limits{Records: 2})
	acme := &sender{l: l, name: author("acme", 1)}
	acme.send(t, edit(crdt.Author{}, 0, key(1, "title"), 1, "x"), "")
	acme.send(t, edit(crdt.Author{}, 0, key(2, "title"), 1, "x"), "")
	acme.send(t, edit(crdt.Author{}, 0, key(3, "title"), 1, "x"), state.ReasonRecords)
	acme.send(t, edit(crdt.Author{}, 0, key(2, "notes"), 1, "x"), "")
	acme.send(t, edit(crdt.Author{}, 0, key(3, "notes"), 1, "x"), state.ReasonRecords)
}
