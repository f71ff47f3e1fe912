package state

import (
	"crypto/sha256"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// fieldBytesMax leaves room for the name of a field's conflict records, which
// crdt.LostField makes.
const fieldBytesMax = crdt.FieldBytesMax - len("~lost/") - len("/") - 32

func (m *Machine) publish(c *command.Publish, e *command.Entry, res *Result) CommandResult {
	out := CommandResult{Ops: make([]OpResult, len(c.Ops))}
	p, reason := m.admit(c.Pact, c.Epoch, c.Site)
	if reason != "" {
		return out.later(reason)
	}
	head, before := p.head, c.After
	on := m.spots(p, c.Ops)
	i := 0
	for op, canonical := range c.All() {
		out.Ops[i] = m.op(p, c, op, canonical, on[i], before, e)
		before = op.ID()
		i++
	}
	if p.head != head {
		m.advance(p.agreed.Name, res)
	}
	return out
}

// later answers everything with retry.
func (r CommandResult) later(reason Reason) CommandResult {
	for i := range r.Ops {
		r.Ops[i] = OpResult{Outcome: OutcomeRetry, Reason: reason}
	}
	r.Reason = reason
	return r
}

// admit finds the pact of a batch, or says why none of the batch is taken.
func (m *Machine) admit(name crdt.Pact, epoch crdt.Epoch, site crdt.Site) (*pactState, Reason) {
	p, ok := m.pacts[name]
	switch {
	case m.hub.IsZero():
		return nil, ReasonUnfounded
	case epoch != m.epoch:
		return nil, ReasonEpoch
	case !ok:
		return nil, ReasonPactUnknown
	case !p.agreed.IsMember(site):
		return nil, ReasonNotMember
	}
	return p, ""
}

// op answers one op, which leads to on and whose predecessor in the agent's outbox
// is before.
func (m *Machine) op(
	p *pactState, c *command.Publish, op *crdt.Op, canonical []byte, on spot, before crdt.OpID, e *command.Entry,
) OpResult {
	if op.Author.Site != c.Site || op.Author.Agent != c.Agent {
		return OpResult{Outcome: OutcomeRefused, Reason: ReasonForged}
	}
	a := p.author(op.Author)
	var seen crdt.Seq
	switch {
	case a != nil:
		seen = a.seen
	case op.Author.Validate() != nil:
		return OpResult{Outcome: OutcomeRefused, Reason: ReasonMalformed} // and no memory of such a name
	}
	if op.Seq == 0 {
		return OpResult{Outcome: OutcomeRefused, Reason: ReasonMalformed}
	}
	switch {
	case op.Seq <= seen:
		return p.again(a, op, canonical)
	case op.Seq != seen+1, !before.IsZero() && !p.knows(before):
		return OpResult{Outcome: OutcomeGap, Reason: ReasonGap}
	case !p.mayAnswer(a, op.Author):
		return OpResult{Outcome: OutcomeRetry, Reason: ReasonAuthors}
	}
	if a == nil {
		a = p.newAuthor(op.Author)
	}
	p.answered(a)
	m.dirty.author(p, a)
	p.sumSeen++
	reason := p.check(c, a, op, e)
	var offset crdt.Offset
	if reason == "" {
		offset, reason = m.merge(p, op, canonical, on)
	}
	if reason != "" {
		p.sumRefused += a.refuse(reason)
		return OpResult{Outcome: OutcomeRefused, Reason: reason}
	}
	a.seen++
	a.applied = a.seen
	return OpResult{Outcome: OutcomeApplied, Offset: offset}
}

// knows reports whether the op of that name was answered for good.
func (p *pactState) knows(id crdt.OpID) bool {
	a := p.author(id.Author)
	return a != nil && id.Seq <= a.seen
}

// again answers a seq that is known. Nothing is kept of an applied op but its
// traces in the register, so the answer points at the newest of them; an op that
// left no trace there, or whose name stands on other content, is another op under
// a used name.
func (p *pactState) again(a *author, op *crdt.Op, canonical []byte) OpResult {
	if reason := a.refusal(op.Seq); reason != "" {
		return OpResult{Outcome: OutcomeRefused, Reason: reason}
	}
	rec := p.find(op.Key.Type, op.Key.Record)
	if rec == 0 || op.Key.Pact != p.agreed.Name {
		return OpResult{Outcome: OutcomeRefused, Reason: ReasonSeqReused}
	}
	offset, ok := p.trace(rec, op.Key.Field, op.ID(), sha256.Sum256(canonical))
	if !ok {
		return OpResult{Outcome: OutcomeRefused, Reason: ReasonSeqReused}
	}
	return OpResult{Outcome: OutcomeApplied, Offset: offset}
}

// check says why op is refused whatever its register holds. What it answers
// consumes the seq.
func (p *pactState) check(c *command.Publish, a *author, op *crdt.Op, e *command.Entry) Reason {
	if op.Key.Pact != c.Pact || len(op.Key.Field) > fieldBytesMax || !wellFormed(op) {
		return ReasonMalformed
	}
	if reason := p.agreed.CheckOp(c.Site, op); reason != "" {
		return Reason(reason)
	}
	switch {
	case future(op.Stamp, e):
		return ReasonStampFuture
	case op.Seq <= a.heard && p.standsOn(op):
		return ReasonSeqReused
	}
	if birth := op.Base.Birth; birth.Epoch == c.Epoch && birth.Offset > p.head {
		return ReasonStampBase // nobody can have seen that
	}
	return p.room(op, p.registersMax())
}

// future reports whether a stamp is further ahead of the leader than is allowed.
func future(stamp crdt.Stamp, e *command.Entry) bool {
	ahead := stamp.Millis() - e.TimeMillis
	return stamp.Millis() > e.TimeMillis && (ahead < 0 || uint64(ahead) > e.DriftMaxMillis)
}

// standsOn reports whether the name of op stands on other content.
func (p *pactState) standsOn(op *crdt.Op) bool {
	at := p.at(p.find(op.Key.Type, op.Key.Record), p.fields.id(string(op.Key.Field)))
	if at == 0 {
		return false
	}
	row := p.rows.at(at)
	return p.id(row) == op.ID() && row.digest != op.Digest()
}

func wellFormed(op *crdt.Op) bool {
	pred := op.Base.Pred
	switch {
	case op.Validate() != nil, pred == op.ID():
		return false
	case pred.IsZero(), pred.Author == op.Author && pred.Seq != 0:
		return true
	}
	return pred.Seq != 0 && pred.Author.Validate() == nil
}
