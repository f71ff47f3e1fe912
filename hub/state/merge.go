package state

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// version is one version of a register with the bytes that stand for it.
type version struct {
	crdt.Register
	canonical []byte // of Op; Digest is their SHA-256
}

// derived makes the version that the hub itself writes.
func derived(op crdt.Op) *version {
	canonical := op.AppendCanonical(nil)
	return &version{crdt.Register{Op: op, Digest: sha256.Sum256(canonical)}, canonical}
}

// merge applies the conflict rule to a checked op, which leads to on. What has to be recorded gets
// its offset before the winner, so the op's last effect is the newest offset.
func (m *Machine) merge(p *pactState, op *crdt.Op, canonical []byte, on spot) (crdt.Offset, Reason) {
	var life *crdt.Life
	if op.Key.Field == crdt.FieldLife {
		l, err := crdt.DecodeLife(op.Value)
		if err != nil {
			return 0, ReasonMalformed
		}
		life = &l
	}
	v := &m.scratch
	v.Op, v.Digest, v.Birth, v.canonical = *op, sha256.Sum256(canonical), crdt.Position{}, canonical
	rec, field, at := on.rec, on.field, on.at
	if at == 0 { // an op of the same batch may have made it
		rec, field = p.record(&op.Key), p.fields.intern(string(op.Key.Field))
		at = p.at(rec, field)
	}
	cur := m.judged(p, at, op.Key.Field)
	verdict := crdt.Judge(&cur, &v.Register, p.lineage, p.preds(rec, field))
	if verdict == crdt.VerdictMalformed {
		return 0, ReasonStampBase
	}
	if p.crowded(rec, v, life, verdict) {
		return 0, ReasonRegisters
	}
	head := p.head
	m.resolve(p, rec, field, &cur, v, verdict)
	switch verdict {
	case crdt.VerdictLost:
		m.lose(p, rec, &v.Register, &cur)
	case crdt.VerdictWon:
		whole := m.whole(p, at)
		m.lose(p, rec, &whole, &v.Register)
	}
	if verdict.Current() {
		m.bury(p, rec, v, life)
		m.put(p, rec, field, at, v)
	}
	if p.head != head {
		return p.head, ""
	}
	offset, _ := p.trace(rec, op.Key.Field, op.ID(), v.Digest)
	return offset, ""
}

// judged returns the register in a row as far as the rule looks at it.
func (m *Machine) judged(p *pactState, at uint32, field crdt.Field) crdt.Register {
	if at != 0 && p.rows.at(at).author&rowPred != 0 {
		return m.whole(p, at)
	}
	return p.header(at, field)
}

// bury records what is edited in a deleted record: the edits that a delete had
// not seen, or an edit that arrives after one. life is what v says on ~life, nil
// on any other field.
func (m *Machine) bury(p *pactState, rec uint32, v *version, life *crdt.Life) {
	record := p.records.rows.at(rec)
	switch {
	case life != nil:
		record.setDeleted(life.Deleted)
		if life.Deleted {
			for _, at := range p.unseen(record, life) {
				whole := m.whole(p, at)
				m.lose(p, rec, &whole, &v.Register)
			}
		}
	case record.deleted() && !v.Op.Key.Field.Reserved():
		delete := p.header(p.at(rec, p.fields.id(string(crdt.FieldLife))), crdt.FieldLife)
		m.lose(p, rec, &v.Register, &delete)
	}
}

// unseen returns the rows that a delete buries unseen, in order of their fields.
func (p *pactState) unseen(record *record, life *crdt.Life) []uint32 {
	rows := map[crdt.Field]uint32{}
	headers := func(yield func(*crdt.Register) bool) {
		for _, ref := range p.records.registers(record) {
			field := crdt.Field(p.fields.text(ref.field))
			r := p.header(ref.row, field)
			rows[field] = ref.row
			if !yield(&r) {
				return
			}
		}
	}
	var out []uint32
	for _, r := range life.Unseen(headers, p.lineage) {
		out = append(out, rows[r.Op.Key.Field])
	}
	return out
}

// lose opens the conflict record of loser, which is whole. One that exists is
// left as it is: it was opened for this very version.
func (m *Machine) lose(p *pactState, rec uint32, loser, winner *crdt.Register) {
	name := crdt.LostField(loser.Op.Key.Field, loser.Digest)
	field := p.fields.intern(string(name))
	if p.at(rec, field) != 0 {
		return
	}
	lost := crdt.NewLost(loser, winner)
	at := m.put(p, rec, field, 0, derived(lost.Op()))
	p.open(rec, conflict{
		row: at, field: p.fields.intern(string(loser.Op.Key.Field)), loser: loser.Op.ID(), pred: loser.Op.Base.Pred,
	})
}

// resolve closes the record of the loser that v was made on: somebody who had
// that version before his eyes has written since. A version that stays current
// keeps its record, lest it be lost unrecorded later.
func (m *Machine) resolve(p *pactState, rec, field uint32, cur *crdt.Register, v *version, verdict crdt.Verdict) {
	pred := v.Op.Base.Pred
	if pred.IsZero() || !cur.IsZero() && !verdict.Current() && cur.Op.ID() == pred {
		return
	}
	open := p.opened(rec)
	i := slices.IndexFunc(open, func(c conflict) bool { return c.field == field && c.loser == pred })
	if i < 0 {
		return
	}
	at := open[i].row
	record := m.whole(p, at)
	lost, err := crdt.DecodeLost(&record.Op)
	if err != nil {
		return // unreachable: only lose and Restore, which decodes, put one here
	}
	p.shut(rec, at)
	lost = lost.Resolved(&v.Register)
	m.put(p, rec, p.fields.id(string(record.Op.Key.Field)), at, derived(lost.Op()))
}

// put makes v the newest version of its register, which is in row at (0: it is
// new), at the next offset, and returns the row. It is born there, unless it was born somewhere
// before.
func (m *Machine) put(p *pactState, rec, field, at uint32, v *version) uint32 {
	p.head++
	if v.Birth.IsZero() {
		v.Birth = crdt.Position{Epoch: m.epoch, Offset: p.head}
	}
	page, pushed := p.feed.push(&entry{op: v.canonical, offset: p.head, birth: v.Birth})
	at = p.place(rec, field, at)
	if p.history != nil {
		m.grown += p.history.keep(at, kept{message: pushed, at: m.clock, offset: p.head, replaced: p.rows.at(at).offset})
	}
	p.fill(at, &v.Register, p.head, page)
	p.registers.Add(v.Digest)
	return at
}

// place returns the row of a register without the version that stood there: at, or
// a new one if that is 0.
func (p *pactState) place(rec, field, at uint32) uint32 {
	if at == 0 {
		at, _ = p.rows.add()
		p.records.put(p.records.rows.at(rec), field, at)
		return at
	}
	old := p.rows.at(at)
	p.feed.drop(old.page, old.offset)
	p.registers.Remove(old.digest)
	return at
}

// fill writes a row. The author is known: of a conflict record it is the loser's.
func (p *pactState) fill(at uint32, r *crdt.Register, offset crdt.Offset, page uint32) {
	row := p.rows.at(at)
	row.digest, row.stamp, row.seq, row.offset, row.birth = r.Digest, r.Op.Stamp, r.Op.Seq, offset, r.Birth
	row.author, row.page = p.author(r.Op.Author).number, page
	if pred := r.Op.Base.Pred; !pred.IsZero() && !p.knows(pred) {
		row.author |= rowPred
	}
}

// whole returns the register in a row with all that belongs to it. What Apply
// may ask for is in memory: Prepare has seen to that.
func (m *Machine) whole(p *pactState, at uint32) crdt.Register {
	row := p.rows.at(at)
	op, err := m.opOf(p, row)
	var r crdt.Register
	if err == nil {
		err = m.known.DecodeOp(&r.Op, op)
	}
	if err != nil { // a fault of this package: these bytes were made here, or read by Prepare
		panic(unread{fmt.Errorf("version %d of pact %s: %w", row.offset, p.agreed.Name, err)})
	}
	r.Digest, r.Birth = row.digest, row.birth
	return r
}

var errCold = errors.New("its page is on disk, and it was not read")

// opOf returns the canonical op in a row.
func (m *Machine) opOf(p *pactState, row *row) ([]byte, error) {
	if data := p.feed.pages[row.page].data; data != nil {
		e, err := findEntry(data, row.offset)
		return e.op, err
	}
	op, ok := m.warm[versionName{p.agreed.Name, row.offset}]
	if !ok {
		return nil, errCold
	}
	return op, nil
}
