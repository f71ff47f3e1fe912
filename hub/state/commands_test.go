package state_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

func TestFounding(t *testing.T) {
	l := &log{m: state.New()}
	a := author("acme", 1)
	early := l.apply(
		&command.Publish{Site: "acme", Agent: "main", Pact: tickets, Ops: []crdt.Op{edit(a, 1, key(1, "title"), 0, "x")}},
		&command.PutPact{Document: agreement(1).Encode()},
		&command.Fork{Parent: 0, Child: 1},
		&command.Found{},
	)
	for i, want := range []state.Reason{state.ReasonUnfounded, state.ReasonUnfounded, state.ReasonUnfounded, state.ReasonMalformed} {
		if got := early.Commands[i].Reason; got != want {
			t.Errorf("command %d before founding: %q, want %q", i, got, want)
		}
	}
	if r := early.Commands[0].Ops[0]; r.Outcome != state.OutcomeRetry {
		t.Errorf("an op before founding: %s", r.Outcome)
	}
	res := l.apply(&command.Found{Hub: hubID, Epoch: epochOne}, &command.Found{Hub: command.HubID{9}, Epoch: 9})
	if res.Commands[0].Reason != "" || res.Commands[1].Reason != state.ReasonFounded {
		t.Errorf("founded twice: %+v", res.Commands)
	}
	if hub, epoch := l.m.Hub(); hub != hubID || epoch != epochOne {
		t.Errorf("hub %s epoch %s", hub, epoch)
	}
	res = l.apply(&command.Fork{Parent: 5, Child: 6}, &command.Fork{Parent: epochOne, Child: epochOne})
	if res.Commands[0].Reason != state.ReasonEpoch || res.Commands[1].Reason != state.ReasonMalformed {
		t.Errorf("forks: %+v", res.Commands)
	}
}

func TestPacts(t *testing.T) {
	l := newLog(t)
	put := func(doc []byte) state.CommandResult { return l.apply(&command.PutPact{Document: doc}).Commands[0] }
	for _, c := range []struct {
		name string
		doc  []byte
		want state.CommandResult
	}{
		{"same again", agreement(1).Encode(), state.CommandResult{Version: 1}},
		{"skips a version", agreement(3).Encode(), state.CommandResult{Version: 1, Reason: state.ReasonPactVersion}},
		{"garbage", []byte{1, 2, 3}, state.CommandResult{Reason: state.ReasonPactInvalid}},
		{"newer format", []byte{255}, state.CommandResult{Reason: state.ReasonPactNewer}},
		{"next", agreement(2).Encode(), state.CommandResult{Version: 2}},
		{"back", agreement(1).Encode(), state.CommandResult{Version: 2, Reason: state.ReasonPactVersion}},
	} {
		if got := put(c.doc); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	info, err := l.m.Pact(tickets)
	if err != nil || info.Pact.Version != 2 || !slices.Equal(info.Document, agreement(2).Encode()) {
		t.Errorf("in force: %+v %v", info, err)
	}
	if got := l.m.Pacts(); !slices.Equal(got, []crdt.Pact{tickets}) {
		t.Errorf("pacts %v", got)
	}
	if _, err := l.m.Pact("other"); !errors.Is(err, state.ErrPactUnknown) {
		t.Errorf("another pact: %v", err)
	}
	if _, err := l.m.Feed("other", crdt.Position{}, 1, 1); !errors.Is(err, state.ErrPactUnknown) {
		t.Errorf("another pact's feed: %v", err)
	}
	if l.get(crdt.Key{Pact: "other"}) != nil || l.get(key(9, "title")) != nil {
		t.Error("a register that nobody wrote")
	}
}

func TestPactsAreBounded(t *testing.T) {
	l := newLog(t)
	var reason state.Reason
	for i := range state.PactsMax {
		p := agreement(1)
		p.Name = crdt.Pact("p" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)))
		reason = l.apply(&command.PutPact{Document: p.Encode()}).Commands[0].Reason
		if want := i == state.PactsMax-1; want != (reason == state.ReasonPacts) {
			t.Fatalf("pact %d: %q", i+1, reason)
		}
	}
	index, pacts := l.m.Digests()
	e := command.Entry{Commands: []command.Command{&command.Audit{Index: index, Pacts: pacts}}}
	if _, err := command.Decode(e.Encode()); err != nil {
		t.Fatalf("an audit of every pact: %v", err)
	}
}

// Audits compare equal index with equal index, and name what differs.
func TestAudit(t *testing.T) {
	leader, follower := newLog(t), newLog(t)
	a := author("acme", 1)
	both := func(c command.Command) (state.CommandResult, state.Result) {
		lead := leader.apply(c)
		return lead.Commands[0], follower.apply(c)
	}
	publish := func(seq crdt.Seq, text string) *command.Publish {
		op := edit(a, seq, key(byte(seq), "title"), 0, text)
		return &command.Publish{Site: "acme", Agent: "main", Pact: tickets, Epoch: epochOne, Ops: []crdt.Op{op}}
	}
	next := func() *command.Audit {
		index, pacts := leader.m.LastAudit()
		return &command.Audit{Index: index, Pacts: pacts}
	}
	both(publish(1, "x"))
	if r, _ := both(next()); r.Compared || len(r.Diverged) > 0 {
		t.Fatalf("the first audit compares: %+v", r)
	}
	both(publish(2, "x"))
	if r, f := both(next()); !r.Compared || len(r.Diverged) > 0 || !f.Commands[0].Compared || len(f.Commands[0].Diverged) > 0 {
		t.Fatalf("equal replicas: %+v %+v", r, f)
	}
	leader.apply(publish(3, "mine"))
	follower.apply(publish(3, "rot"))
	both(next()) // compares the point before, remembers this one
	lead, f := both(next())
	if len(lead.Diverged) > 0 || !slices.Equal(f.Commands[0].Diverged, []crdt.Pact{tickets}) {
		t.Fatalf("diverged replicas: leader %+v, follower %+v", lead, f)
	}
	index, _ := leader.m.LastAudit()
	r := follower.apply(&command.Audit{Index: index, Pacts: []command.PactDigest{{Pact: "alpha"}, {Pact: "zulu"}}}).Commands[0]
	if !slices.Equal(r.Diverged, []crdt.Pact{"alpha", tickets, "zulu"}) {
		t.Fatalf("pacts that one side has: %v", r.Diverged)
	}
	if r := follower.apply(&command.Audit{Index: 1}).Commands[0]; r.Compared {
		t.Fatal("an audit of another index compares")
	}
}

func TestSkipsAppliedEntries(t *testing.T) {
	l := newLog(t)
	before := l.m.Image()
	if res := l.m.Apply(l.index, l.entries[0]); !res.Skipped || res.Commands != nil {
		t.Fatalf("applied again: %+v", res)
	}
	if !reflect.DeepEqual(l.m.Image(), before) {
		t.Fatal("a skipped entry changed the state")
	}
}

func TestAdvanced(t *testing.T) {
	l := newLog(t)
	a := author("acme", 1)
	p := &command.Publish{
		Site: "acme", Agent: "main", Pact: tickets, Epoch: epochOne,
		Ops: []crdt.Op{edit(a, 1, key(1, "title"), 0, "x")},
	}
	if got := l.apply(p, p).Advanced; !slices.Equal(got, []crdt.Pact{tickets}) {
		t.Errorf("after a publish: %v", got)
	}
	if got := l.apply(p).Advanced; len(got) != 0 {
		t.Errorf("after a duplicate: %v", got)
	}
	if got := l.apply(&command.Fork{Parent: epochOne, Child: 7}).Advanced; !slices.Equal(got, []crdt.Pact{tickets}) {
		t.Errorf("after a fork: %v", got)
	}
}

// Of many restores the newest are remembered: agents take no more forks.
func TestLineageIsBounded(t *testing.T) {
	l := newLog(t)
	at := epochOne
	for range wire.LineageMax + 2 {
		l.apply(&command.Fork{Parent: at, Child: at + 1})
		at++
	}
	info, err := l.m.Pact(tickets)
	if err != nil || len(info.Lineage) != wire.LineageMax || info.Lineage[wire.LineageMax-1].Child != at {
		t.Errorf("%d forks, %v", len(info.Lineage), err)
	}
}

// A damaged image is refused and leaves the machine as it was.
func TestRestoreRefuses(t *testing.T) {
	l := newLog(t)
	for i := range 5 {
		l.publish(epochOne, crdt.OpID{}, edit(author("acme", uint64(i+1)), 1, key(1, "title"), int64(i), "x"))
	}
	for name, damage := range map[string]func(*state.Image){
		"register missing": func(i *state.Image) { i.Registers = i.Registers[1:] },
		"register twice":   func(i *state.Image) { i.Registers = append(i.Registers, i.Registers[0]) },
		"register changed": func(i *state.Image) {
			s := *i.Registers[0]
			s.Register.Digest[3] ^= 1
			i.Registers[0] = &s
		},
		"offset twice": func(i *state.Image) {
			s := *i.Registers[1]
			s.Offset = i.Registers[0].Offset
			i.Registers[1] = &s
		},
		"author missing": func(i *state.Image) { i.Authors = i.Authors[1:] },
		"author twice":   func(i *state.Image) { i.Authors = append(i.Authors, i.Authors[0]) },
		"author stale":   func(i *state.Image) { i.Authors[0].State.Seen++ },
		"pact missing":   func(i *state.Image) { i.Pacts = nil },
		"pact unknown":   func(i *state.Image) { i.Meta.Pacts = nil },
		"pact renamed":   func(i *state.Image) { i.Pacts[0].Pact = "other" },
	} {
		img := l.m.Image()
		damage(img)
		m := state.New()
		if err := m.Restore(img); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
		if m.Index() != 0 || len(m.Pacts()) != 0 {
			t.Errorf("%s: the machine changed", name)
		}
	}
}

// FuzzApply: any entry that can be decoded is applied without a panic, twice
// alike, and leaves a state that can be restored.
func FuzzApply(f *testing.F) {
	l := newLog(f)
	a, b := author("acme", 1), author("globex", 1)
	first := edit(a, 1, key(1, "title"), 1, "x")
	l.publish(epochOne, crdt.OpID{}, first, edit(a, 2, key(1, "notes"), 2, "y"))
	l.publish(epochOne, crdt.OpID{}, edit(b, 1, key(1, "title"), 3, "z"))
	del := edit(b, 2, key(1, crdt.FieldLife), 4, "")
	del.Value = crdt.Life{Deleted: true}.Envelope()
	l.publish(epochOne, crdt.OpID{}, del)
	l.apply(&command.Audit{}, &command.Fork{Parent: epochOne, Child: 2})
	lost := l.get(key(1, crdt.LostField("title", first.Digest())))
	if lost == nil {
		f.Fatal("no conflict record to offer")
	}
	at := crdt.Position{Epoch: 9, Offset: 4}
	l.offer("globex", crdt.Lineage{{Child: 9, Parent: 8, At: 2}}, &command.OfferEnd{After: crdt.OpID{Author: b, Seq: 7}, Held: []crdt.Position{at}},
		command.Offered{Op: del, Birth: at}, command.Offered{Op: lost.Register.Op, Birth: at}, command.Offered{Op: edit(a, 9, key(1, "title"), 9, "late"), Birth: at})
	l.apply(&command.OfferPact{Sites: []crdt.Site{"acme", "globex", "initech"}, Document: agreement(4).Encode()})
	start := l.m.Image()
	for _, e := range l.entries {
		raw := e.Encode()
		f.Add(raw[:len(raw)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := command.Decode(sealed(body))
		if err != nil {
			return
		}
		var images [2]*state.Image
		for i := range images {
			m := state.New()
			if err := m.Restore(start); err != nil {
				t.Fatal(err)
			}
			m.Apply(start.Meta.Index+1, e)
			images[i] = m.Image()
		}
		if !reflect.DeepEqual(images[0], images[1]) {
			t.Fatal("two machines differ")
		}
		if err := state.New().Restore(images[0]); err != nil {
			t.Fatal(err)
		}
	})
}

// What an op may be answered with is in the protocol's table, and what the table
// says becomes of the op fits the outcome.
func TestReasonsAreTheProtocols(t *testing.T) {
	for reason, fates := range map[state.Reason][]wire.Fate{
		state.ReasonMalformed:   {wire.FateHold},
		state.ReasonStampFuture: {wire.FateRestamp},
		state.ReasonStampBase:   {wire.FateRestamp},
		state.ReasonForged:      {wire.FateHold},
		state.ReasonSeqReused:   {wire.FateRestamp, wire.FateHold},
		state.ReasonGap:         {wire.FateRewind},
		state.ReasonEpoch:       {wire.FateResend},
		state.ReasonPactUnknown: {wire.FateResend},
		state.ReasonNotMember:   {wire.FateResend},
		state.ReasonUnfounded:   {wire.FateResend},
	} {
		if d := wire.Describe(wire.Reason(reason)); !d.Reason.Known() || !slices.Contains(fates, d.Fate) {
			t.Errorf("%s: known %v, fate %s, want one of %v", reason, d.Reason.Known(), d.Fate, fates)
		}
	}
	for ours, theirs := range map[state.Outcome]wire.Outcome{
		state.OutcomeApplied: wire.OutcomeApplied, state.OutcomeRefused: wire.OutcomeRefused,
		state.OutcomeRetry: wire.OutcomeRetry, state.OutcomeGap: wire.OutcomeGap,
	} {
		if uint8(ours) != uint8(theirs) || ours.String() != theirs.String() {
			t.Errorf("outcome %s is %s on the wire", ours, theirs)
		}
	}
}

// The largest op under the longest name that is allowed can lose: its conflict
// record is made, restored and resolved.
func TestLargestConflict(t *testing.T) {
	l := newLog(t)
	a, b := author("acme", 1), author("globex", 1)
	k := key(1, "labels/"+crdt.Field(strings.Repeat("a", 32)))
	large := edit(a, 1, k, 1, strings.Repeat("x", crdt.ValueBytesMax-6))
	if len(large.Value) != crdt.ValueBytesMax {
		t.Fatalf("the largest value has %d bytes, limit %d", len(large.Value), crdt.ValueBytesMax)
	}
	l.publish(epochOne, crdt.OpID{}, large)
	l.publish(epochOne, crdt.OpID{}, edit(b, 1, k, 2, "winner"))
	m := state.New()
	if err := m.Restore(l.m.Image()); err != nil {
		t.Fatal(err)
	}
	l.m = m
	res := l.publish(epochOne, crdt.OpID{}, on(edit(a, 2, k, 3, "again"), large.ID(), 3))
	lost := get(m, k.Sibling(crdt.LostField(k.Field, large.Digest())))
	if res[0].Outcome != state.OutcomeApplied || lost == nil {
		t.Fatalf("%+v, record %v", res, lost)
	}
	if d, err := crdt.DecodeLost(&lost.Register.Op); err != nil || d.State != crdt.LostResolved {
		t.Fatalf("record %s: %v", d.State, err)
	}
	long := edit(a, 3, k, 4, "x")
	long.Key.Field = "labels/" + crdt.Field(strings.Repeat("a", 230))
	if r := l.publish(epochOne, crdt.OpID{}, long)[0]; r.Reason != state.ReasonMalformed {
		t.Fatalf("a name that has no room for a conflict record: %+v", r)
	}
}
