package state_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// offering is what an agent brings to a hub of another epoch: fixed at the
// greeting, sent in parts.
type offering struct {
	registers []command.Offered
	older     crdt.Lineage // of the epochs that it had read; nil once it is told
}

// Hubs go back to any backup or lose everything, twice, while agents edit, lag,
// publish and bring back what they hold, each when it likes. Nothing that was
// applied is lost, and at rest every agent holds the hub's registers.
func TestRebuiltHubLosesNothing(t *testing.T) {
	t.Run("in memory", func(t *testing.T) { rebuilt(t, newLog) })
	t.Run("on disk", func(t *testing.T) {
		defer state.SetPageFull(1000)()
		rebuilt(t, newDiskLog)
	})
}

func rebuilt(t *testing.T, newLog func(tb) *log) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, newLog(t))
		s.run(rapid.IntRange(1, 30).Draw(t, "before"), func() {})
		for range rapid.IntRange(1, 2).Draw(t, "losses") {
			s.lose()
			for range rapid.IntRange(0, 40).Draw(t, "steps") {
				s.later(s.agents[rapid.IntRange(0, len(s.agents)-1).Draw(t, "agent")])
			}
		}
		s.settleDown()
		if lost := s.lost(); len(lost) > 0 {
			t.Fatalf("lost: %v", lost)
		}
		s.abreast()
	})
}

// Offers alone, of agents at rest, in any order, cut anywhere and sent again, give
// the registers and births of before, and no new conflict record.
func TestOffersBringBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, newLog(t))
		s.run(rapid.IntRange(1, 40).Draw(t, "steps"), func() {})
		if rapid.Bool().Draw(t, "already a second life") {
			s.lose()
			s.settleDown()
		}
		s.abreast()
		before, info := s.standing(), s.info()
		for _, a := range s.agents[1:] { // only one need be abreast
			for _, k := range sorted(a.inbox) {
				if r := a.inbox[k]; rapid.IntRange(0, 3).Draw(t, "lacks") == 0 && !r.Op.Key.Field.IsLost() {
					delete(a.inbox, k)
					a.whole = 0 // it has not read this far
				}
			}
			a.held = nil
		}
		s.lose()
		for s.bringing() {
			s.rejoin(s.agents[rapid.IntRange(0, len(s.agents)-1).Draw(t, "agent")])
		}
		after := s.standing()
		if len(after) != len(before) {
			t.Fatalf("%d registers, before %d", len(after), len(before))
		}
		for k, r := range before {
			got := after[k] // nothing asks for the birth of a conflict record
			if got.Digest != r.Digest || got.Birth != r.Birth && !k.Field.IsLost() {
				t.Fatalf("%s: %s born %s, before %s born %s", k, got.Op.ID(), got.Birth, r.Op.ID(), r.Birth)
			}
		}
		if now := s.info(); now.Digest.Registers != info.Digest.Registers || now.Pact.Version != info.Pact.Version {
			t.Fatalf("digest %s, before %s", &now.Digest.Registers, &info.Digest.Registers)
		}
		if err := state.New().Restore(s.m.Image()); err != nil {
			t.Fatal(err)
		}
		if other := replay(t, s.entries); !slices.EqualFunc(other.Image().Registers, s.m.Image().Registers, func(a, b *state.Stored) bool {
			return a.Register.Digest == b.Register.Digest && a.Offset == b.Offset && a.Register.Birth == b.Register.Birth
		}) {
			t.Fatal("a second machine differs after the same log")
		}
	})
}

// Whatever a few agents hold of several lives, the hub ends up with the join of it.
func TestOffersJoin(t *testing.T) {
	defer state.SetPageFull(1)()
	rapid.Check(t, func(t *rapid.T) {
		l := newDiskLog(t)
		var all []command.Offered
		want := map[crdt.Key]crdt.Register{}
		for i := range rapid.IntRange(1, 12).Draw(t, "registers") {
			a := author(rapid.SampledFrom([]crdt.Site{"acme", "globex"}).Draw(t, "site"), 1)
			k := key(byte(rapid.IntRange(1, 2).Draw(t, "record")), rapid.SampledFrom([]crdt.Field{"title", "notes"}).Draw(t, "field"))
			op := edit(a, crdt.Seq(i+1), k, int64(rapid.IntRange(0, 5).Draw(t, "time")), rapid.StringN(0, 2, 4).Draw(t, "value"))
			birth := crdt.Position{Epoch: crdt.Epoch(rapid.IntRange(1, 3).Draw(t, "epoch")), Offset: crdt.Offset(i + 1)}
			r := crdt.NewRegister(op, birth)
			known := want[k]
			want[k] = *crdt.Join(&known, &r)
			all = append(all, command.Offered{Op: op, Birth: birth})
		}
		for _, i := range rapid.Permutation(append(indexes(len(all)), indexes(len(all))...)).Draw(t, "order") {
			for _, r := range l.offer("initech", nil, nil, all[i]).Ops {
				if r.Outcome != state.OutcomeApplied {
					t.Fatalf("%s %s", r.Outcome, r.Reason)
				}
			}
			l.disk.checkpoint(t, l.m)
		}
		for k, r := range want {
			if got := l.get(k); got == nil || got.Register.Digest != r.Digest {
				t.Fatalf("%s is not the join", k)
			}
		}
	})
}

func sorted(m map[crdt.Key]held) []crdt.Key {
	return slices.SortedFunc(maps.Keys(m), crdt.Key.Compare)
}

func indexes(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// offer sends one part of an offer by the agent of a site.
func (l *log) offer(site crdt.Site, older crdt.Lineage, end *command.OfferEnd, registers ...command.Offered) state.CommandResult {
	_, epoch := l.m.Hub()
	return l.apply(&command.Offer{
		Site: site, Agent: "main", Pact: tickets, Epoch: epoch, Registers: registers, Lineage: older, End: end,
	}).Commands[0]
}

func (s *sim) info() state.PactInfo {
	info, err := s.m.Pact(tickets)
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

func (s *sim) standing() map[crdt.Key]crdt.Register {
	out := map[crdt.Key]crdt.Register{}
	for _, e := range feedAll(s.t, s.m, crdt.Position{}, 100) {
		out[e.Register.Op.Key] = e.Register
	}
	return out
}

// lose puts a hub of the next epoch in the place of this one: what a prefix of
// its log holds, or nothing.
func (s *sim) lose() {
	kept := s.entries[:rapid.IntRange(0, len(s.entries)).Draw(s.t, "backup")]
	l := &log{m: state.New()}
	for _, e := range kept {
		l.apply(e.Commands...)
	}
	s.epoch++
	var res state.Result
	if _, parent := l.m.Hub(); parent == 0 {
		res = l.apply(&command.Found{Hub: hubID, Epoch: s.epoch}, &command.OfferPact{
			Sites: []crdt.Site{"acme", "globex", "initech"}, Document: agreement(1).Encode(),
		})
	} else {
		res = l.apply(&command.Fork{Parent: parent, Child: s.epoch})
	}
	for _, c := range res.Commands {
		if c.Reason != "" {
			s.t.Fatalf("begin epoch %s: %s", s.epoch, c.Reason)
		}
	}
	if s.disk != nil {
		l.toDisk(s.t)
	}
	*s.log = *l
	s.answers = map[crdt.OpID]state.OpResult{}
}

// rejoin does what an agent does before anything else in a new epoch; false if
// that is done.
func (s *sim) rejoin(a *agent) bool {
	switch {
	case a.cursor.Epoch != s.epoch:
		s.greet(a)
	case a.offers != nil:
		s.bring(a)
	default:
		return false
	}
	return true
}

// later does one thing of an agent that may not know the newest epoch yet.
func (s *sim) later(a *agent) {
	if s.disk != nil && rapid.IntRange(0, 3).Draw(s.t, "checkpoint") == 0 {
		s.disk.checkpoint(s.t, s.m)
	}
	if !s.rejoin(a) {
		switch rapid.IntRange(0, 4).Draw(s.t, "step") {
		case 0, 1:
			if a.cursor.Offset == s.info().Head { // met
				s.edit(a)
			}
		case 2:
			s.read(a)
		default:
			s.send(a)
		}
	}
}

func (s *sim) greet(a *agent) {
	info := s.info()
	if a.whole > 0 {
		a.held = append(a.held, crdt.Position{Epoch: a.cursor.Epoch, Offset: a.whole})
	}
	a.whole = 0
	a.offers = &offering{older: a.told}
	a.told = info.Lineage
	all := rapid.IntRange(0, 3).Draw(s.t, "offers all") == 0
	for _, k := range sorted(a.inbox) {
		r := a.inbox[k]
		now := crdt.Position{Epoch: s.epoch, Offset: info.Head}
		if all || !info.Lineage.Covers(now, r.Birth) && !info.Lineage.Covers(now, r.place) {
			a.offers.registers = append(a.offers.registers, command.Offered{Op: r.Op, Birth: r.Birth, Place: r.place})
		}
	}
	a.cursor = crdt.Position{Epoch: s.epoch}
	a.acked = a.passed
	a.author.Incarnation++
	a.next = 1
}

// bring sends a part of an agent's offer; sometimes the answer is lost.
func (s *sim) bring(a *agent) {
	rest := a.offers.registers
	n := rapid.IntRange(0, len(rest)).Draw(s.t, "part")
	var end *command.OfferEnd
	if n == len(rest) {
		end = &command.OfferEnd{Held: a.held}
		if a.passed > 0 {
			end.After = a.outbox[a.passed-1].ID()
		}
	}
	res := s.offer(a.author.Site, a.offers.older, end, rest[:n]...)
	for i, r := range res.Ops {
		if r.Outcome != state.OutcomeApplied {
			s.t.Fatalf("offered register %d of %d: %s %s", i, n, r.Outcome, r.Reason)
		}
	}
	if rapid.IntRange(0, 4).Draw(s.t, "answer is lost") == 0 {
		return
	}
	a.offers.older = nil
	if a.offers.registers = rest[n:]; end != nil {
		a.offers = nil
	}
}

// bringing reports whether anybody has not completed its offer.
func (s *sim) bringing() bool {
	return slices.ContainsFunc(s.agents, func(a *agent) bool { return a.cursor.Epoch != s.epoch || a.offers != nil })
}

// settleDown lets everybody bring, publish and read what there is.
func (s *sim) settleDown() {
	for s.bringing() {
		s.rejoin(s.agents[rapid.IntRange(0, len(s.agents)-1).Draw(s.t, "agent")])
	}
	for _, a := range s.agents {
		for a.acked < len(a.outbox) {
			s.publishRun(a, a.acked, len(a.outbox))
		}
	}
	for _, a := range s.agents {
		s.readAll(a)
	}
}

func (s *sim) readAll(a *agent) {
	for a.cursor.Offset < s.info().Head {
		s.read(a)
	}
}

// abreast checks that every agent that reads on holds the hub's registers.
func (s *sim) abreast() {
	standing := s.standing()
	for _, a := range s.agents {
		s.readAll(a)
		if len(a.inbox) != len(standing) {
			s.t.Fatalf("%s holds %d registers, the hub %d", a.author.Site, len(a.inbox), len(standing))
		}
		for k, r := range a.inbox {
			if want := standing[k]; want.Digest != r.Digest {
				s.t.Fatalf("%s holds %s of %s, the hub %s", a.author.Site, r.Op.ID(), k, want.Op.ID())
			}
		}
	}
}
