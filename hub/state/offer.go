package state

import (
	"errors"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// What members tell of older epochs costs every later decision, so that it is
// bounded: forks of a pact beyond which nothing is learned from an offer, and
// those between this epoch and one other.
const (
	learnedForksMax = 64
	stepsMax        = 8
)

// offered is one register of an offer, decoded as far as the rules need it.
type offered struct {
	*command.Offered
	said *crdt.Op   // the op that somebody wrote: of a conflict record, its loser
	lost *crdt.Lost // of a conflict record
	life *crdt.Life // of a ~life register
}

func (m *Machine) offer(c *command.Offer, e *command.Entry, res *Result) CommandResult {
	n := len(c.Registers)
	out := CommandResult{Ops: make([]OpResult, n, n+1)}
	if c.End != nil {
		out.Ops = append(out.Ops, OpResult{})
	}
	p, reason := m.admit(c.Pact, c.Epoch, c.Site)
	if reason != "" {
		return out.later(reason)
	}
	head := p.head
	m.learn(p, c.Lineage)
	for i := range c.Registers {
		out.Ops[i] = m.offerOne(p, &c.Registers[i], e)
	}
	if c.End != nil {
		out.Ops[n] = m.offerEnd(p, c)
	}
	if p.head != head {
		m.advance(p.agreed.Name, res)
	}
	return out
}

func (m *Machine) offerOne(p *pactState, r *command.Offered, e *command.Entry) OpResult {
	o := offered{Offered: r}
	if reason := m.checkOffered(p, &o, e); reason != "" {
		return OpResult{Outcome: OutcomeRefused, Reason: reason}
	}
	if p.heard >= heardMax && p.author(o.said.Author) == nil {
		return OpResult{Outcome: OutcomeRetry, Reason: ReasonAuthors}
	}
	return OpResult{Outcome: OutcomeApplied, Offset: m.join(p, &o)}
}

// checkOffered decodes o and says why it may not stand here. Nothing is consumed
// by a refusal.
func (m *Machine) checkOffered(p *pactState, o *offered, e *command.Entry) Reason {
	op := &o.Op
	if op.Key.Pact != p.agreed.Name || o.Birth.Epoch == 0 || o.Birth.Offset == 0 {
		return ReasonMalformed
	}
	if reason := o.decode(); reason != "" {
		return reason
	}
	if len(o.said.Key.Field) > fieldBytesMax || !wellFormed(o.said) || o.said.Seq > seqMax {
		return ReasonMalformed
	}
	if reason := p.agreed.CheckStanding(o.said); reason != "" {
		return Reason(reason)
	}
	if future(op.Stamp, e) {
		return ReasonStampFuture
	}
	if o.Birth.Epoch == m.epoch && !p.bornHere(o) {
		return ReasonStampBase
	}
	return p.roomOffered(o)
}

func (o *offered) decode() Reason {
	o.said = &o.Op
	switch {
	case o.Op.Key.Field.IsLost():
		lost, err := crdt.DecodeLost(&o.Op)
		if err != nil {
			return unreadable(err)
		}
		o.lost, o.said = &lost, &lost.Loser
	case o.Op.Key.Field == crdt.FieldLife:
		life, err := crdt.DecodeLife(o.Op.Value)
		if err != nil {
			return unreadable(err)
		}
		o.life = &life
	}
	return ""
}

func unreadable(err error) Reason {
	if errors.Is(err, crdt.ErrNewer) {
		return ReasonPactNewer
	}
	return ReasonMalformed
}

// bornHere reports whether o can have been born in the current epoch, of which
// nothing is lost: as what stands here, or as what that hides.
func (p *pactState) bornHere(o *offered) bool {
	at := p.at(p.find(o.Op.Key.Type, o.Op.Key.Record), p.fields.id(string(o.Op.Key.Field)))
	if o.Birth.Offset > p.head || at == 0 {
		return false
	}
	cur := p.header(at, o.Op.Key.Field)
	r := crdt.NewRegister(o.Op, o.Birth)
	return r.Compare(&cur) <= 0
}

// join takes in a checked register and returns where its effect stands. The
// greater version stays; the lesser one becomes a conflict record only if no
// history has decided between the two.
func (m *Machine) join(p *pactState, o *offered) crdt.Offset {
	op := &o.Op
	m.hear(p, o.said.ID())
	rec := p.record(&op.Key)
	field := p.fields.intern(string(op.Key.Field))
	at := p.at(rec, field)
	v := derived(*op)
	v.Birth = o.Birth
	came := sighting{&v.Register, o.Place}
	if at != 0 {
		offset := p.rows.at(at).offset
		cur := p.header(at, op.Key.Field)
		order := v.Compare(&cur)
		if o.lost == nil && order != 0 {
			cur = m.whole(p, at)
		}
		stands := m.standing(p, offset, &cur)
		if o.lost == nil && order < 0 && p.unsettled(rec, field, stands, came) {
			m.lose(p, rec, &v.Register, &cur)
			lost := p.fields.id(string(crdt.LostField(op.Key.Field, v.Digest)))
			return p.rows.at(p.at(rec, lost)).offset
		}
		if order <= 0 {
			return offset
		}
		if o.lost == nil && p.unsettled(rec, field, came, stands) {
			m.lose(p, rec, &cur, &v.Register)
		}
	}
	if o.lost == nil {
		m.buryOffered(p, rec, came, o.life)
	}
	at = m.put(p, rec, field, at, v)
	if o.lost != nil {
		p.recorded(rec, at, o.lost)
	}
	return p.head
}

// sighting is a register and where it stood in some feed besides its birth.
type sighting struct {
	*crdt.Register
	place crdt.Position
}

func (m *Machine) standing(p *pactState, offset crdt.Offset, r *crdt.Register) sighting {
	return sighting{r, p.lineage.Home(crdt.Position{Epoch: m.epoch, Offset: offset})}
}

// met reports whether one history had both of two versions: what it made of
// them is decided, and its records come as registers.
func (p *pactState) met(a, b sighting) bool {
	for _, x := range [...]crdt.Position{a.Birth, a.place} {
		for _, y := range [...]crdt.Position{b.Birth, b.place} {
			if p.lineage.Covers(x, y) || p.lineage.Covers(y, x) {
				return true
			}
		}
	}
	return false
}

// hear remembers that an op of that name exists.
func (m *Machine) hear(p *pactState, id crdt.OpID) *author {
	a := p.author(id.Author)
	if a == nil {
		a = p.newAuthor(id.Author)
		m.dirty.author(p, a)
	}
	if id.Seq > a.heard {
		p.sumSeen += uint64(id.Seq - a.heard)
		a.heard = id.Seq
		m.dirty.author(p, a)
	}
	return a
}

// unsettled reports whether loser, which winner is greater than, would vanish
// although nobody saw it: not the author of winner, no hub that had both, not the
// author of an edit that is recorded.
func (p *pactState) unsettled(rec, field uint32, winner, loser sighting) bool {
	return !crdt.Saw(&winner.Op, loser.Register, p.lineage) && !p.met(winner, loser) &&
		!slices.Contains(p.preds(rec, field), loser.Op.ID())
}

// buryOffered records what is edited in a deleted record, where delete and edit
// meet for the first time.
func (m *Machine) buryOffered(p *pactState, rec uint32, came sighting, life *crdt.Life) {
	record := p.records.rows.at(rec)
	if life != nil {
		record.setDeleted(life.Deleted)
		for _, at := range p.unseen(record, life) { // none while live
			whole := m.whole(p, at)
			if !p.met(m.standing(p, p.rows.at(at).offset, &whole), came) {
				m.lose(p, rec, &whole, came.Register)
			}
		}
		return
	}
	if !record.deleted() || came.Op.Key.Field.Reserved() {
		return
	}
	at := p.at(rec, p.fields.id(string(crdt.FieldLife)))
	delete := m.whole(p, at)
	stands := m.standing(p, p.rows.at(at).offset, &delete)
	if l, err := crdt.DecodeLife(stands.Op.Value); err == nil && !p.met(came, stands) && !l.Saw(came.Register, p.lineage) {
		m.lose(p, rec, came.Register, stands.Register)
	}
}

// recorded takes over what a conflict record says that came whole, into a row.
func (p *pactState) recorded(rec, at uint32, lost *crdt.Lost) {
	p.shut(rec, at)
	if lost.State == crdt.LostOpen {
		p.open(rec, conflict{
			row: at, field: p.fields.intern(string(lost.Loser.Key.Field)), loser: lost.Loser.ID(), pred: lost.Loser.Base.Pred,
		})
	}
}

// offerEnd completes an agent's offer: its outbox goes on behind After, and what
// it had read of older epochs is now in this state.
func (m *Machine) offerEnd(p *pactState, c *command.Offer) OpResult {
	if after := c.End.After; !after.IsZero() {
		if after.Author.Site != c.Site || after.Author.Agent != c.Agent {
			return OpResult{Outcome: OutcomeRefused, Reason: ReasonForged}
		}
		if after.Seq == 0 || after.Seq > seqMax || after.Author.Validate() != nil {
			return OpResult{Outcome: OutcomeRefused, Reason: ReasonMalformed}
		}
		if !p.mayAnswer(p.author(after.Author), after.Author) {
			return OpResult{Outcome: OutcomeRetry, Reason: ReasonAuthors}
		}
		a := m.hear(p, after)
		if after.Seq > a.seen {
			p.answered(a)
			p.sumSeen += uint64(after.Seq - a.seen)
			a.seen = after.Seq
			m.dirty.author(p, a)
		}
	}
	m.knows(p, c.End.Held)
	return OpResult{Outcome: OutcomeApplied, Offset: p.head}
}

// learn takes in the ancestry of older epochs.
func (m *Machine) learn(p *pactState, told crdt.Lineage) {
	var older crdt.Lineage
	for _, f := range told {
		ancestor := f.Child != 0 && f.Parent != 0 && f.Child != f.Parent && f.Child != m.epoch && f.Parent != m.epoch
		if ancestor && !slices.Contains(p.lineage, f) && !slices.Contains(older, f) &&
			len(p.lineage)+len(older) < learnedForksMax {
			older = append(older, f)
		}
	}
	if len(older) > 0 {
		p.lineage = slices.Concat(older, p.lineage)
		m.dirty.pact(p.agreed.Name)
	}
}

// knows takes in how far older epochs are known from now on.
func (m *Machine) knows(p *pactState, held []crdt.Position) {
	from := p.head + 1
	for _, at := range held {
		if at.Epoch == 0 || at.Offset == 0 || at.Epoch == m.epoch ||
			p.lineage.Covers(crdt.Position{Epoch: m.epoch, Offset: from}, at) {
			continue
		}
		p.reach(crdt.Fork{Child: m.epoch, Parent: at.Epoch, At: at.Offset, From: from})
		m.dirty.pact(p.agreed.Name)
	}
}

// reach adds a fork; where there are too many it stands for the newest one of its
// kind, which forgets what was seen between the two. Readers share the lineage, so
// that it is replaced.
func (p *pactState) reach(f crdt.Fork) {
	steps, last := 0, -1
	for i, g := range p.lineage {
		if g.Child == f.Child && g.Parent == f.Parent && g.From > 0 {
			steps, last = steps+1, i
		}
	}
	switch {
	case steps < stepsMax && len(p.lineage) < learnedForksMax:
		p.lineage = append(slices.Clip(p.lineage), f)
	case last >= 0:
		p.lineage = slices.Clone(p.lineage)
		p.lineage[last] = f
	}
}
