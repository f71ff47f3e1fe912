package state

import (
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// conflict is what the rule needs to know of an open conflict record.
type conflict struct {
	row   uint32 // of the conflict record
	field uint32 // that the loser is on
	loser crdt.OpID
	pred  crdt.OpID
}

// find returns the number of a record, 0 if there is none.
func (p *pactState) find(typ crdt.Type, id crdt.RecordID) uint32 {
	t := p.types.id(string(typ))
	if t == 0 {
		return 0
	}
	return p.records.find(hashRecord(t, id), t, id)
}

// record finds or makes the record that a key is of.
func (p *pactState) record(key *crdt.Key) uint32 {
	t := p.types.intern(string(key.Type))
	h := hashRecord(t, key.Record)
	if rec := p.records.find(h, t, key.Record); rec != 0 {
		return rec
	}
	return p.records.add(h, t, key.Record)
}

// at returns the row of a register, 0 if there is none: no such record, field, or
// register. Both are numbers, 0 if there is none.
func (p *pactState) at(rec, field uint32) uint32 {
	if rec == 0 || field == 0 {
		return 0
	}
	return p.records.get(p.records.rows.at(rec), field)
}

// header returns the register in a row without its value and what came along
// with it, with its base only if that may still matter to the rule. Row 0 is a
// register never written.
func (p *pactState) header(at uint32, field crdt.Field) (r crdt.Register) {
	if at == 0 {
		return r
	}
	row := p.rows.at(at)
	r.Op.Key.Field = field
	r.Op.Stamp, r.Op.Author, r.Op.Seq = row.stamp, p.authors[row.author&authorNumber].name, row.seq
	r.Digest, r.Birth = row.digest, row.birth
	return r
}

// id names the op in a row.
func (p *pactState) id(row *row) crdt.OpID {
	return crdt.OpID{Author: p.authors[row.author&authorNumber].name, Seq: row.seq}
}

// open notes an open conflict record.
func (p *pactState) open(rec uint32, c conflict) {
	p.conflicts[rec] = append(p.conflicts[rec], c)
	p.records.rows.at(rec).count |= recordConflicts
}

// opened returns the open conflict records of a record.
func (p *pactState) opened(rec uint32) []conflict {
	if p.records.rows.at(rec).count&recordConflicts == 0 {
		return nil
	}
	return p.conflicts[rec]
}

// shut forgets the conflict record in a row, which is open no more.
func (p *pactState) shut(rec, at uint32) {
	left := slices.DeleteFunc(p.opened(rec), func(c conflict) bool { return c.row == at })
	if len(left) > 0 {
		p.conflicts[rec] = left
		return
	}
	delete(p.conflicts, rec)
	p.records.rows.at(rec).count &^= recordConflicts
}

// preds names what the losers of a register's open conflict records were made on.
func (p *pactState) preds(rec, field uint32) []crdt.OpID {
	var out []crdt.OpID
	for _, c := range p.opened(rec) {
		if c.field == field {
			out = append(out, c.pred)
		}
	}
	return out
}

// trace returns where the effect of an applied op on a field stands: the op, its
// conflict record, or else the newest version that came after it. It is false
// where the field was never written, or the name stands on other content.
func (p *pactState) trace(rec uint32, f crdt.Field, id crdt.OpID, digest crdt.Digest) (crdt.Offset, bool) {
	field := p.fields.id(string(f))
	at := p.at(rec, field)
	if at == 0 {
		return 0, false
	}
	cur := p.rows.at(at)
	if p.id(cur) == id {
		return cur.offset, cur.digest == digest
	}
	if lost := p.at(rec, p.fields.id(string(crdt.LostField(f, digest)))); lost != 0 {
		return p.rows.at(lost).offset, true
	}
	offset := cur.offset
	for _, c := range p.opened(rec) {
		switch {
		case c.field != field:
		case c.loser == id:
			return 0, false
		case c.pred == id:
			offset = max(offset, p.rows.at(c.row).offset)
		}
	}
	return offset, true
}
