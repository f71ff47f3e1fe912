package state

import (
	"bytes"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt"
)

// merge applies the conflict rule to a checked op. What has to be recorded gets
// its offset before the winner, so the op's last effect is the newest offset.
func (m *Machine) merge(p *pactState, a *author, op *crdt.Op, digest crdt.Digest) (crdt.Offset, Reason) {
	rec := p.record(op)
	cur := rec.get(op.Key.Field)
	s := p.keep(a, cur, op, digest)
	var current *crdt.Register
	if cur != nil {
		current = &cur.Register
	} else {
		current = &crdt.Register{}
	}
	verdict := crdt.Judge(current, &s.Register, p.lineage, rec.preds(op.Key.Field))
	var life *crdt.Life
	if op.Key.Field == crdt.FieldLife {
		l, err := crdt.DecodeLife(op.Value)
		if err != nil {
			return 0, ReasonMalformed
		}
		life = &l
	}
	if verdict == crdt.VerdictMalformed {
		return 0, ReasonStampBase
	}
	if p.crowded(rec, s, life, verdict) {
		return 0, ReasonRegisters
	}
	head := p.head
	m.resolve(p, rec, cur, s, verdict)
	switch {
	case verdict == crdt.VerdictLost:
		m.lose(p, rec, &s.Register, current)
	case verdict == crdt.VerdictWon:
		m.lose(p, rec, current, &s.Register)
	}
	if verdict.Current() {
		m.bury(p, rec, s, life)
		m.put(p, rec, s)
	}
	if p.head != head {
		return p.head, ""
	}
	offset, _ := rec.trace(op.Key.Field, op.ID(), s.Register.Digest)
	return offset, ""
}

// bury records what is edited in a deleted record: the edits that a delete had
// not seen, or an edit that arrives after one. life is what s says on ~life, nil
// on any other field.
func (m *Machine) bury(p *pactState, rec *record, s *Stored, life *crdt.Life) {
	switch {
	case life != nil:
		rec.deleted = life.Deleted
		if !life.Deleted {
			return
		}
		for _, r := range life.Unseen(rec.registers(), p.lineage) {
			m.lose(p, rec, r, &s.Register)
		}
	case rec.deleted && !s.Register.Op.Key.Field.Reserved():
		m.lose(p, rec, &s.Register, &rec.get(crdt.FieldLife).Register)
	}
}

// lose opens the conflict record of loser. One that exists is left as it is:
// it was opened for this very version.
func (m *Machine) lose(p *pactState, rec *record, loser, winner *crdt.Register) {
	name := crdt.LostField(loser.Op.Key.Field, loser.Digest)
	if rec.get(name) != nil {
		return
	}
	lost := crdt.NewLost(loser, winner)
	m.put(p, rec, &Stored{Register: crdt.NewRegister(lost.Op(), crdt.Position{})})
	rec.open(conflict{name: name, field: loser.Op.Key.Field, loser: loser.Op.ID(), pred: loser.Op.Base.Pred})
}

// resolve closes the record of the loser that s was made on: somebody who had
// that version before his eyes has written since. A version that stays current
// keeps its record, lest it be lost unrecorded later.
func (m *Machine) resolve(p *pactState, rec *record, cur, s *Stored, verdict crdt.Verdict) {
	pred, field := s.Register.Op.Base.Pred, s.Register.Op.Key.Field
	if pred.IsZero() || cur != nil && !verdict.Current() && cur.Register.Op.ID() == pred {
		return
	}
	i := slices.IndexFunc(rec.conflicts, func(c conflict) bool { return c.field == field && c.loser == pred })
	if i < 0 {
		return
	}
	lost, err := crdt.DecodeLost(&rec.get(rec.conflicts[i].name).Register.Op)
	if err != nil {
		return // unreachable: only lose and Restore, which decodes, put one here
	}
	rec.conflicts = slices.Delete(rec.conflicts, i, i+1)
	lost = lost.Resolved(&s.Register)
	m.put(p, rec, &Stored{Register: crdt.NewRegister(lost.Op(), crdt.Position{})})
}

// put makes s the newest version of its register, at the next offset. It is born
// there, unless it was born somewhere before.
func (m *Machine) put(p *pactState, rec *record, s *Stored) {
	p.head++
	s.Offset = p.head
	if s.Register.Birth.IsZero() {
		s.Register.Birth = crdt.Position{Epoch: m.epoch, Offset: p.head}
	}
	if old := rec.put(s); old != nil {
		p.feed.drop(old.Offset)
		p.registers.Remove(old.Register.Digest)
	}
	p.feed.push(s)
	p.registers.Add(s.Register.Digest)
	m.dirty.registers = append(m.dirty.registers, s)
}

// record finds or makes the record that op is on.
func (p *pactState) record(op *crdt.Op) *record {
	key := recordKey{op.Key.Type, op.Key.Record}
	rec, ok := p.records[key]
	if !ok {
		key.typ = p.typ(key.typ)
		rec = &record{}
		p.records[key] = rec
	}
	return rec
}

// keep copies op out of its entry. Names that are known already are shared, so
// that a register costs its field, its value and little else.
func (p *pactState) keep(a *author, cur *Stored, op *crdt.Op, digest crdt.Digest) *Stored {
	s := &Stored{Register: crdt.Register{Op: *op, Digest: digest}}
	kept := &s.Register.Op
	kept.Key.Pact = p.agreed.Name
	kept.Key.Type = p.typ(op.Key.Type)
	if cur != nil {
		kept.Key.Field = cur.Register.Op.Key.Field
	} else if f, ok := p.agreed.Field(op.Key.Field); ok {
		kept.Key.Field = f.Name
	}
	kept.Author = a.name
	if pred := p.author(op.Base.Pred.Author); pred != nil {
		kept.Base.Pred.Author = pred.name
	}
	kept.Value = bytes.Clone(op.Value)
	return s
}

// typ returns the one copy of a record type's name.
func (p *pactState) typ(t crdt.Type) crdt.Type {
	if t == p.agreed.Record {
		return p.agreed.Record
	}
	if known, ok := p.types[t]; ok {
		return known
	}
	t = crdt.Type(strings.Clone(string(t)))
	p.types[t] = t
	return t
}
