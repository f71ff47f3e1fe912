package state_test

import (
	"reflect"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

const epochOld crdt.Epoch = 0xd0

func offeredAt(op crdt.Op, offset crdt.Offset) command.Offered {
	return command.Offered{Op: op, Birth: crdt.Position{Epoch: epochOld, Offset: offset}}
}

// What may not stand is refused, each register alone, and nothing is touched.
func TestRefusedOffers(t *testing.T) {
	a := author("acme", 1)
	good := edit(a, 3, key(1, "title"), 1, "x")
	loser, winner := crdt.NewRegister(good, crdt.Position{}), crdt.NewRegister(edit(author("globex", 1), 1, key(1, "title"), 2, "y"), crdt.Position{})
	lost := crdt.NewLost(&loser, &winner)
	foreign := lost
	foreign.Loser.Author.Site = "umbrella"
	with := func(change func(*crdt.Op)) command.Offered {
		op := good
		change(&op)
		return offeredAt(op, 7)
	}
	spoiled := lost.Op()
	spoiled.Stamp++
	for name, c := range map[string]struct {
		register command.Offered
		reason   state.Reason
	}{
		"an author outside the pact":  {with(func(o *crdt.Op) { o.Author.Site = "umbrella" }), state.ReasonNotMember},
		"a field outside the pact":    {with(func(o *crdt.Op) { o.Key.Field = "salary" }), "pact.field"},
		"a type outside the pact":     {with(func(o *crdt.Op) { o.Key.Type = "invoice" }), "pact.type"},
		"a field of another writer":   {with(func(o *crdt.Op) { o.Author.Site, o.Key.Field = "globex", "status" }), "pact.writer"},
		"another site's link":         {with(func(o *crdt.Op) { o.Key.Field = crdt.LinkField("globex", "desk") }), "pact.writer"},
		"another pact":                {with(func(o *crdt.Op) { o.Key.Pact = "other" }), state.ReasonMalformed},
		"a later version of the pact": {with(func(o *crdt.Op) { o.PactVersion = 9 }), state.ReasonPactVersion},
		"a stamp of tomorrow":         {with(func(o *crdt.Op) { o.Stamp = crdt.StampOf(now+int64(driftMax)+1, 0) }), state.ReasonStampFuture},
		"a delete that is not granted": {with(func(o *crdt.Op) {
			o.Author.Site, o.Key.Field, o.Value = "initech", crdt.FieldLife, crdt.Life{Deleted: true}.Envelope()
		}), "pact.delete"},
		"no lifecycle":                   {with(func(o *crdt.Op) { o.Key.Field = crdt.FieldLife }), state.ReasonMalformed},
		"no seq":                         {with(func(o *crdt.Op) { o.Seq = 0 }), state.ReasonMalformed},
		"no name":                        {with(func(o *crdt.Op) { o.Author.Agent = "No Name" }), state.ReasonMalformed},
		"no value":                       {with(func(o *crdt.Op) { o.Value = nil }), state.ReasonMalformed},
		"no birth":                       {command.Offered{Op: good}, state.ReasonMalformed},
		"a birth that is to come":        {command.Offered{Op: good, Birth: crdt.Position{Epoch: epochOne, Offset: 99}}, state.ReasonStampBase},
		"a birth that this hub has made": {command.Offered{Op: good, Birth: crdt.Position{Epoch: epochOne, Offset: 1}}, state.ReasonStampBase},
		"a record of a foreign loser":    {offeredAt(foreign.Op(), 7), state.ReasonNotMember},
		"a record that is made up":       {offeredAt(spoiled, 7), state.ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.publish(epochOne, crdt.OpID{}, edit(a, 1, key(2, "title"), 1, "stands"))
			before := l.m.Image()
			fine := offeredAt(edit(a, 2, key(3, "title"), 1, "fine"), 5)
			res := l.offer("globex", nil, nil, c.register, fine)
			if r := res.Ops[0]; r.Outcome != state.OutcomeRefused || r.Reason != c.reason {
				t.Fatalf("%s %q, want refused %q", r.Outcome, r.Reason, c.reason)
			}
			if r := res.Ops[1]; r.Outcome != state.OutcomeApplied {
				t.Fatalf("its neighbour: %s %q", r.Outcome, r.Reason)
			}
			if err := state.New().Restore(l.m.Image()); err != nil {
				t.Fatal(err)
			}
			alone := newLog(t)
			alone.publish(epochOne, crdt.OpID{}, edit(a, 1, key(2, "title"), 1, "stands"))
			alone.offer("globex", nil, nil, c.register)
			after := alone.m.Image()
			after.Meta.Index = before.Meta.Index
			if !reflect.DeepEqual(before, after) {
				t.Fatal("a refused register changed the state")
			}
		})
	}
}

// An offer as a whole is put off where it does not belong.
func TestOffersElsewhere(t *testing.T) {
	l := newLog(t)
	register := offeredAt(edit(author("acme", 1), 1, key(1, "title"), 1, "x"), 7)
	for reason, c := range map[state.Reason]*command.Offer{
		state.ReasonEpoch:       {Site: "acme", Agent: "main", Pact: tickets, Epoch: 5, Registers: []command.Offered{register}},
		state.ReasonPactUnknown: {Site: "acme", Agent: "main", Pact: "other", Epoch: epochOne, Registers: []command.Offered{register}},
		state.ReasonNotMember:   {Site: "umbrella", Agent: "main", Pact: tickets, Epoch: epochOne, Registers: []command.Offered{register}},
	} {
		c.End = &command.OfferEnd{}
		res := l.apply(c).Commands[0]
		if len(res.Ops) != 2 || res.Ops[0].Outcome != state.OutcomeRetry || res.Ops[1].Reason != reason {
			t.Errorf("%s: %+v", reason, res)
		}
	}
	if info, _ := l.m.Pact(tickets); info.Head != 0 || info.Digest.Authors.Count != 0 {
		t.Errorf("something was taken: %+v", info.Digest)
	}
}

// The end of an offer lets the agent's outbox go on, and nobody else's.
func TestOfferEnd(t *testing.T) {
	l := newLog(t)
	a := author("acme", 1)
	after := crdt.OpID{Author: a, Seq: 9}
	next := edit(a, 10, key(1, "title"), 1, "x")
	if r := l.publish(epochOne, after, next)[0]; r.Outcome != state.OutcomeGap {
		t.Fatalf("before the offer: %+v", r)
	}
	if r := l.offer("globex", nil, &command.OfferEnd{After: after}).Ops[0]; r.Reason != state.ReasonForged {
		t.Fatalf("somebody else's word: %+v", r)
	}
	if r := l.offer("acme", nil, &command.OfferEnd{After: crdt.OpID{Author: a}}).Ops[0]; r.Reason != state.ReasonMalformed {
		t.Fatalf("no seq: %+v", r)
	}
	held := []crdt.Position{{Epoch: epochOld, Offset: 40}, {}, {Epoch: epochOne, Offset: 1}}
	if r := l.offer("acme", crdt.Lineage{{Child: epochOld, Parent: 0xc0, At: 5}, {Child: epochOne, Parent: 0xc0, At: 5}}, &command.OfferEnd{After: after, Held: held}).Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("the end: %+v", r)
	}
	if r := l.publish(epochOne, after, next)[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("after the offer: %+v", r)
	}
	info, _ := l.m.Pact(tickets)
	want := crdt.Lineage{{Child: epochOld, Parent: 0xc0, At: 5}, {Child: epochOne, Parent: epochOld, At: 40, From: 1}}
	if !reflect.DeepEqual(info.Lineage, want) {
		t.Fatalf("lineage %+v, want %+v", info.Lineage, want)
	}
	for i := range crdt.Offset(50) { // what agents tell is bounded
		l.publish(epochOne, crdt.OpID{}, edit(author("globex", uint64(i+1)), 1, key(byte(i), "notes"), 1, "y"))
		l.offer("acme", nil, &command.OfferEnd{Held: []crdt.Position{{Epoch: epochOld, Offset: 41 + i}}})
	}
	info, _ = l.m.Pact(tickets)
	if n := len(info.Lineage); n > 10 || !info.Lineage.Covers(crdt.Position{Epoch: epochOne, Offset: info.Head + 1}, crdt.Position{Epoch: epochOld, Offset: 90}) {
		t.Fatalf("%d forks: %+v", n, info.Lineage)
	}
}

// A name that was heard of stands on one content, and its agent is told of it.
func TestHeardSeqs(t *testing.T) {
	l := newLog(t)
	a := author("acme", 1)
	op := edit(a, 1, key(1, "title"), 1, "x")
	l.offer("globex", nil, nil, offeredAt(op, 7))
	if got := l.m.Authors(tickets, "acme", "main"); len(got) != 1 || got[0].Heard != 1 || got[0].Seen != 0 {
		t.Fatalf("authors %+v", got)
	}
	other := edit(a, 1, key(1, "title"), 1, "another")
	if r := l.publish(epochOne, crdt.OpID{}, other)[0]; r.Reason != state.ReasonSeqReused {
		t.Fatalf("another op under a known name: %+v", r)
	}
	l = newLog(t)
	l.offer("globex", nil, nil, offeredAt(op, 7))
	for range 2 {
		if r := l.publish(epochOne, crdt.OpID{}, op)[0]; r.Outcome != state.OutcomeApplied || r.Offset != 1 {
			t.Fatalf("the op itself: %+v", r)
		}
	}
}

// A document comes in force by the word of all its members, and of those of the
// one before; it may skip versions and never goes back.
func TestOfferPact(t *testing.T) {
	all := []crdt.Site{"acme", "globex", "initech"}
	l := &log{m: state.New()}
	offer := func(version uint32, sites ...crdt.Site) state.CommandResult {
		return l.apply(&command.OfferPact{Sites: sites, Document: agreement(version).Encode()}).Commands[0]
	}
	if r := offer(3, all...); r.Reason != state.ReasonUnfounded {
		t.Fatalf("before founding: %+v", r)
	}
	l.apply(&command.Found{Hub: hubID, Epoch: epochOne})
	for _, c := range []struct {
		version uint32
		sites   []crdt.Site
		want    state.CommandResult
	}{
		{3, all[:2], state.CommandResult{Reason: state.ReasonUnaccepted}},
		{3, all, state.CommandResult{Version: 3}},
		{3, nil, state.CommandResult{Version: 3}},
		{2, all, state.CommandResult{Version: 3, Reason: state.ReasonPactVersion}},
		{7, all[1:], state.CommandResult{Reason: state.ReasonUnaccepted}},
		{7, all, state.CommandResult{Version: 7}},
	} {
		if got := offer(c.version, c.sites...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("version %d by %v: %+v, want %+v", c.version, c.sites, got, c.want)
		}
	}
	smaller := agreement(8)
	smaller.Members, smaller.Deletes = all[:2], nil
	r := l.apply(&command.OfferPact{Sites: all[:2], Document: smaller.Encode()}).Commands[0]
	if r.Reason != state.ReasonUnaccepted {
		t.Errorf("a member is put out without its word: %+v", r)
	}
	if r := l.apply(&command.OfferPact{Sites: all, Document: []byte{1, 2}}).Commands[0]; r.Reason != state.ReasonPactInvalid {
		t.Errorf("garbage: %+v", r)
	}
}

// What one history has decided about two versions is not asked again when the
// greater one comes back before the record of the lesser, even if its author did
// not know where the version that he saw was born.
func TestOffersKeepWhatHistoryDecided(t *testing.T) {
	k := key(1, "title")
	first := edit(author("globex", 1), 1, k, 1, "first")
	rival := edit(author("acme", 1), 1, k, 2, "had not seen the first")
	next := edit(author("acme", 1), 2, k, 3, "seen the rival only")
	next.Base.Pred = rival.ID() // at once: the rival had no answer yet
	l := newLog(t)
	for _, op := range []crdt.Op{first, rival, next} {
		if r := l.publish(epochOne, crdt.OpID{}, op)[0]; r.Outcome != state.OutcomeApplied {
			t.Fatalf("%s: %+v", op.ID(), r)
		}
	}
	want, err := l.m.Pact(tickets)
	if err != nil {
		t.Fatal(err)
	}
	var back []command.Offered // what is newer than the backup, the newest version first
	for _, s := range feedAll(t, l.m, crdt.Position{Epoch: epochOne, Offset: 1}, 100) {
		o := command.Offered{Op: s.Register.Op, Birth: s.Register.Birth}
		back = append([]command.Offered{o}, back...)
	}
	if len(back) != 2 || back[0].Op.ID() != next.ID() {
		t.Fatalf("the record and the newest version were to come back, not %+v", back)
	}

	l = newLog(t)
	l.publish(epochOne, crdt.OpID{}, first)
	l.apply(&command.Fork{Parent: epochOne, Child: 0xe2})
	res := l.apply(&command.Offer{Site: "acme", Agent: "main", Pact: tickets, Epoch: 0xe2, Registers: back}).Commands[0]
	for i, r := range res.Ops {
		if r.Outcome != state.OutcomeApplied {
			t.Fatalf("register %d: %+v", i, r)
		}
	}
	if got, _ := l.m.Pact(tickets); got.Digest.Registers != want.Digest.Registers {
		t.Fatalf("digest %+v, before %+v", got.Digest, want.Digest)
	}
}
