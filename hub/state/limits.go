package state

import (
	"github.com/entente-sync/entente/crdt"
)

// RegistersMax bounds the registers of a pact that sets no limit itself. It is
// part of what an entry means: every replica must have the same.
const RegistersMax = 1 << 24

// offeredRoom is how many registers offers may bring beyond registersMax. A pact
// that was full is rebuilt in any order, while its members go on writing: what one
// hub had decided is told by others as two versions of one register, and the lesser
// one would be lost if there were no room to record it. It is part of what an entry
// means.
const offeredRoom = 1 << 16

// registersMax is how many registers published ops may make, conflict records
// included. They pass it by at most the conflict records of one op, and offers by
// offeredRoom and those of one register.
func (p *pactState) registersMax() uint64 {
	if n := p.agreed.Limits.Registers; n > 0 {
		return uint64(n)
	}
	return RegistersMax
}

// room says why op may not make the record or register that it is on, "" if it
// may or if they are there; registersMax is how many may be. It comes before the op makes either.
func (p *pactState) room(op *crdt.Op, registersMax uint64) Reason {
	recordsMax := p.agreed.Limits.Records
	full := p.registers.Count() >= registersMax
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

// roomOffered says why an offered register may not be taken, "" if it may. Where
// offeredRoom is used up only what makes no register is taken: what stands here
// already, and conflict records that are here. Another version may open a record;
// whether history has decided between the two is not asked.
func (p *pactState) roomOffered(o *offered) Reason {
	limit := p.registersMax() + offeredRoom
	if reason := p.room(&o.Op, limit); reason != "" || p.registers.Count() < limit || o.lost != nil {
		return reason
	}
	at := p.at(p.find(o.Op.Key.Type, o.Op.Key.Record), p.fields.id(string(o.Op.Key.Field)))
	if p.rows.at(at).digest != o.Op.Digest() { // it is there: room says so
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

// Bounds of what nothing removes: authors, that is incarnations of agents. An
// incarnation arises when an agent starts after it did not end as it should, so
// that authorsMax of one site in one pact are a crash an hour for seven years.
// heardMax is for all of a pact whom offers tell of and who have published nothing
// since: apart from authorsMax, or a member could use up another's share. They are
// part of what an entry means, as is seqMax: beyond it no offer is heard, and no
// agent that makes a million ops a second gets there in 2,000 years.
const (
	authorsMax = 1 << 16
	heardMax   = 1 << 18
	seqMax     = crdt.Seq(1) << 56
)

// mayAnswer reports whether an op of an author may be answered, a being what is
// known of him.
func (p *pactState) mayAnswer(a *author, name crdt.Author) bool {
	return a != nil && a.seen > 0 || p.own[name.Site] < authorsMax
}

// answered counts an author as his site's own. It comes before his seen changes.
func (p *pactState) answered(a *author) {
	if a.seen == 0 {
		p.heard--
		p.own[a.name.Site]++
	}
}
