package state_test

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// sim plays agents against a Machine: each shows versions to its users, lags
// behind the feed, publishes twice, out of order and with gaps, and takes new
// incarnations. It remembers what every op's author had truly seen.
type sim struct {
	*log
	t       *rapid.T
	epoch   crdt.Epoch
	agents  []*agent
	applied map[crdt.Digest]crdt.Op
	saw     map[crdt.Digest]map[crdt.Digest]bool // of every op made, transitively
	answers map[crdt.OpID]state.OpResult
}

type agent struct {
	author crdt.Author
	next   crdt.Seq
	outbox []crdt.Op // every op ever made, in order, refused ones included
	acked  int       // prefix of outbox that is answered
	cursor crdt.Position
	shown  map[crdt.Key]shown

	inbox  map[crdt.Key]held // everything that the feed ever told
	passed int               // prefix of outbox that left it: answered, and the feed has shown what became of it
	offers *offering         // nil: nothing to bring
	whole  crdt.Offset       // the newest head that was read to
	held   []crdt.Position   // how far older epochs were read
	told   crdt.Lineage      // at the newest greeting
}

// held is a register and where it was read.
type held struct {
	crdt.Register
	place crdt.Position
}

// shown is what a user has before his eyes in one field.
type shown struct {
	base   crdt.Base
	stamp  crdt.Stamp
	digest crdt.Digest
	reg    crdt.Register
}

func newSim(t *rapid.T, l *log) *sim {
	s := &sim{
		log: l, t: t, epoch: epochOne, applied: map[crdt.Digest]crdt.Op{},
		saw: map[crdt.Digest]map[crdt.Digest]bool{}, answers: map[crdt.OpID]state.OpResult{},
	}
	for _, site := range []crdt.Site{"acme", "globex", "initech"} {
		s.agents = append(s.agents, &agent{
			author: author(site, 1), next: 1, shown: map[crdt.Key]shown{}, inbox: map[crdt.Key]held{},
			cursor: crdt.Position{Epoch: epochOne},
		})
	}
	return s
}

// run plays steps; check runs after each.
func (s *sim) run(steps int, check func()) {
	for range steps {
		a := s.agents[rapid.IntRange(0, len(s.agents)-1).Draw(s.t, "agent")]
		switch rapid.IntRange(0, 9).Draw(s.t, "step") {
		case 0, 1, 2, 3:
			s.edit(a)
		case 4, 5:
			s.read(a)
		case 6:
			a.author.Incarnation++
			a.next = 1
		default:
			s.send(a)
		}
		check()
	}
	for _, a := range s.agents {
		for a.acked < len(a.outbox) {
			s.publishRun(a, a.acked, len(a.outbox))
		}
	}
	check()
}

func (s *sim) edit(a *agent) {
	fields := []crdt.Field{"title", "notes", "title", "notes", crdt.FieldLife, "status"}
	k := key(byte(rapid.IntRange(1, 2).Draw(s.t, "record")), rapid.SampledFrom(fields).Draw(s.t, "field"))
	op := edit(a.author, a.next, k, int64(rapid.IntRange(0, 20).Draw(s.t, "time")), rapid.StringN(0, 3, 8).Draw(s.t, "value"))
	before := a.shown[k]
	op.Base = before.base
	if op.Stamp <= before.stamp {
		op.Stamp, _ = before.stamp.Next()
	}
	if rapid.IntRange(0, 19).Draw(s.t, "future") == 0 {
		op.Stamp = crdt.StampOf(now+int64(driftMax)+1, 0)
	}
	seen := map[crdt.Digest]bool{}
	if k.Field == crdt.FieldLife {
		op.Value = s.life(a, k, seen)
	}
	if !before.reg.IsZero() {
		s.see(seen, before.digest)
	}
	digest := op.Digest()
	s.saw[digest] = seen
	a.next++
	a.outbox = append(a.outbox, op)
	inherited := crdt.Base{Pred: op.ID(), Birth: op.Base.Birth}
	a.shown[k] = shown{base: inherited, stamp: op.Stamp, digest: digest, reg: crdt.NewRegister(op, crdt.Position{})}
}

// life is live, or a delete of what a shows of the record.
func (s *sim) life(a *agent, k crdt.Key, seen map[crdt.Digest]bool) []byte {
	l := crdt.Life{Deleted: rapid.Bool().Draw(s.t, "deleted")}
	if !l.Deleted {
		return l.Envelope()
	}
	l.Seen = map[crdt.Field]crdt.Base{}
	for _, f := range []crdt.Field{"title", "notes", "status"} {
		if v, ok := a.shown[k.Sibling(f)]; ok {
			l.Seen[f] = v.base
			s.see(seen, v.digest)
		}
	}
	return l.Envelope()
}

func (s *sim) see(into map[crdt.Digest]bool, d crdt.Digest) {
	into[d] = true
	for older := range s.saw[d] {
		into[older] = true
	}
}

// read moves the cursor on; a field shows the greater of the feed's version and
// the agent's own, whose birth is known from then on.
func (s *sim) read(a *agent) {
	slice, err := s.m.Feed(tickets, a.cursor, rapid.IntRange(1, 6).Draw(s.t, "page"), 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	a.cursor, a.told = slice.Cursor, slice.Lineage
	entries, err := slice.Decode()
	check(s.t, err)
	for _, e := range entries {
		reg := e.Register
		known := a.inbox[reg.Op.Key]
		if known.IsZero() || reg.Compare(&known.Register) >= 0 {
			a.inbox[reg.Op.Key] = held{reg, crdt.Position{Epoch: s.epoch, Offset: e.Offset}}
		}
		if reg.Op.Key.Field.IsLost() {
			continue
		}
		mine := a.shown[reg.Op.Key]
		if mine.reg.IsZero() || reg.Compare(&mine.reg) >= 0 {
			a.shown[reg.Op.Key] = shown{
				base: crdt.Base{Pred: reg.Op.ID(), Birth: reg.Birth}, stamp: reg.Op.Stamp, digest: reg.Digest, reg: reg,
			}
		}
	}
	// Only a feed read to its head shows all of what became of an op: before that,
	// what replaced it may lie ahead.
	if a.cursor.Offset == slice.Head {
		a.whole = a.cursor.Offset
		for a.passed < a.acked && s.answers[a.outbox[a.passed].ID()].Offset <= a.whole {
			a.passed++
		}
	}
}

// send publishes a run of the outbox: often the next one, sometimes an old one
// again, sometimes one behind a gap.
func (s *sim) send(a *agent) {
	if len(a.outbox) == 0 {
		return
	}
	from := a.acked
	if first := s.first(a); first < len(a.outbox) && rapid.IntRange(0, 3).Draw(s.t, "anywhere") == 0 {
		from = rapid.IntRange(first, len(a.outbox)-1).Draw(s.t, "from")
	}
	if from == len(a.outbox) {
		return
	}
	s.publishRun(a, from, rapid.IntRange(from+1, len(a.outbox)).Draw(s.t, "to"))
}

// first is the oldest op that may still be on its way: what left the outbox in
// another epoch is refused by the epoch of its batch.
func (s *sim) first(a *agent) int {
	if s.epoch == epochOne {
		return 0
	}
	return a.passed
}

func (s *sim) publishRun(a *agent, from, to int) {
	var after crdt.OpID
	if from > 0 {
		after = a.outbox[from-1].ID()
	}
	results := s.publish(s.epoch, after, a.outbox[from:to]...)
	for i, r := range results {
		op := a.outbox[from+i]
		gap := from+i > a.acked
		switch {
		case gap && s.epoch != epochOne && r.Outcome != state.OutcomeGap: // the backup knew it
			continue
		case gap != (r.Outcome == state.OutcomeGap):
			s.t.Fatalf("op %s: outcome %s %q, %d of %d acknowledged", op.ID(), r.Outcome, r.Reason, a.acked, from+i)
		case gap:
			continue
		}
		s.answer(op, r)
		if from+i == a.acked {
			a.acked++
			s.settle(a, op, r)
		}
	}
}

// answer checks that an op gets the same answer however often it is sent.
func (s *sim) answer(op crdt.Op, r state.OpResult) {
	if before, ok := s.answers[op.ID()]; ok && (before.Outcome != r.Outcome || before.Reason != r.Reason) {
		s.t.Fatalf("op %s: answered %v, then %v", op.ID(), before, r)
	}
	info, err := s.m.Pact(tickets)
	if applied := r.Outcome == state.OutcomeApplied; err != nil || applied != (r.Offset > 0) || r.Offset > info.Head {
		s.t.Fatalf("op %s: offset %d of an answer %s, head %d", op.ID(), r.Offset, r.Outcome, info.Head)
	}
	s.answers[op.ID()] = r
}

func (s *sim) settle(a *agent, op crdt.Op, r state.OpResult) {
	if r.Outcome == state.OutcomeApplied {
		s.applied[op.Digest()] = op
		return
	}
	// The system falls back to what the hub has, unless it was edited again.
	if v := a.shown[op.Key]; v.reg.Op.ID() == op.ID() {
		delete(a.shown, op.Key)
		if cur := s.get(op.Key); cur != nil && cur.Offset <= a.cursor.Offset {
			reg := cur.Register
			a.shown[op.Key] = shown{
				base: crdt.Base{Pred: reg.Op.ID(), Birth: reg.Birth}, stamp: reg.Op.Stamp, digest: reg.Digest, reg: reg,
			}
		}
	}
}

// lost names every applied op that is neither current, nor seen by the author of
// what replaced it, nor in a conflict record; and every current edit that lies
// unrecorded under a delete whose author had not seen it.
func (s *sim) lost() []crdt.OpID {
	kept := map[crdt.Digest]bool{}
	recorded := map[crdt.Digest]bool{}
	for _, e := range feedAll(s.t, s.m, crdt.Position{}, 100) {
		if !e.Register.Op.Key.Field.IsLost() {
			s.see(kept, e.Register.Digest)
			continue
		}
		l, err := crdt.DecodeLost(&e.Register.Op)
		if err != nil {
			s.t.Fatal(err)
		}
		s.see(kept, l.Loser.Digest())
		recorded[l.Loser.Digest()] = true
	}
	var out []crdt.OpID
	for d, op := range s.applied {
		life := s.get(op.Key.Sibling(crdt.FieldLife))
		cur := s.get(op.Key)
		buried := !op.Key.Field.Reserved() && life != nil && cur.Register.Digest == d &&
			deleted(&life.Register) && !s.saw[life.Register.Digest][d] && !recorded[d]
		if !kept[d] || buried {
			out = append(out, op.ID())
		}
	}
	slices.SortFunc(out, func(a, b crdt.OpID) int { return a.Author.Compare(b.Author) })
	return out
}

func deleted(r *crdt.Register) bool {
	l, err := crdt.DecodeLife(r.Op.Value)
	return err == nil && l.Deleted
}
