package state

import (
	"github.com/entente-sync/entente/crdt"
)

// RegistersMax bounds the registers of a pact that sets no limit itself. It is
// part of what an entry means: every replica must have the same.
const RegistersMax = 1 << 24

// registersMax is how many registers the pact may hold, conflict records
// included. It is passed by at most the conflict records of one op.
func (p *pactState) registersMax() uint64 {
	if n := p.agreed.Limits.Registers; n > 0 {
		return uint64(n)
	}
	return RegistersMax
}

// room says why op may not make the record or register that it is on, "" if it
// may or if they are there. It comes before the op makes either.
func (p *pactState) room(op *crdt.Op) Reason {
	recordsMax := p.agreed.Limits.Records
	full := p.registers.Count() >= p.registersMax()
	if !full && (recordsMax <= 0 || p.records.rows.len() < recordsMax) {
		return ""
	}
	rec := p.find(op.Key.Type, op.Key.Record)
	switch {
	case rec == 0 && recordsMax > 0 && p.records.rows.len() >= recordsMax:
		return ReasonRecords
	case full && p.at(rec, p.fields.id(string(op.Key.Field))) == 0:
		return ReasonRegisters
	}
	return ""
}

// crowded reports whether v may not be taken because it would open conflict
// records, and there is no room for them: the pact is full, and whatever lost
// would have no place to be kept.
func (p *pactState) crowded(rec uint32, v *version, life *crdt.Life, verdict crdt.Verdict) bool {
	if p.registers.Count() < p.registersMax() {
		return false
	}
	record := p.records.rows.at(rec)
	switch {
	case verdict == crdt.VerdictLost, verdict == crdt.VerdictWon:
		return true
	case !verdict.Current():
		return false
	case life != nil:
		return life.Deleted && len(p.unseen(record, life)) > 0
	}
	return record.deleted() && !v.Op.Key.Field.Reserved()
}
