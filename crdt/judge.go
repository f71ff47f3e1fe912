package crdt

// Verdict is what becomes of an op that meets the current version of its
// register, in the order in which one log applies them.
type Verdict uint8

// Verdicts.
const (
	// VerdictFirst: the register was never written; the op becomes current.
	VerdictFirst Verdict = iota + 1
	// VerdictSame: the op is the current version; nothing changes.
	VerdictSame
	// VerdictReplace: the op's author had seen the current version; the op
	// becomes current and nobody lost anything.
	VerdictReplace
	// VerdictOld: what stands here was made on this op; nothing changes.
	VerdictOld
	// VerdictWon: concurrent; the op becomes current, the one that stood here
	// becomes a conflict record.
	VerdictWon
	// VerdictLost: concurrent; the op becomes a conflict record.
	VerdictLost
	// VerdictMalformed: the op had seen the current version, yet its stamp is
	// not greater; refuse it for good.
	VerdictMalformed
)

// Current reports whether the judged op is now the newest version.
func (v Verdict) Current() bool {
	return v == VerdictFirst || v == VerdictReplace || v == VerdictWon
}

func (v Verdict) String() string {
	names := [...]string{"none", "first", "same", "replace", "old", "won", "lost", "malformed"}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// Judge applies the conflict rule to op against the current version cur.
//
// op had seen cur only if op.Base.Pred is cur, or op.Base.Birth covers cur's
// birth. Authorship proves nothing: one agent may serve two systems whose users
// have not seen each other's edits. Neither does a greater stamp.
//
// loserPreds names what each loser of an open conflict record of this register
// was made on: an op that is one of them is old, since a later edit by somebody
// who saw it is kept.
func Judge(cur, op *Register, lineage Lineage, loserPreds []OpID) Verdict {
	if cur.IsZero() {
		return VerdictFirst
	}
	order := op.Compare(cur)
	if order == 0 {
		return VerdictSame
	}
	id := op.Op.ID()
	if cur.Op.Base.Pred == id && !id.IsZero() {
		return VerdictOld
	}
	for _, pred := range loserPreds {
		if pred == id {
			return VerdictOld
		}
	}
	if Saw(&op.Op, cur, lineage) {
		if op.Op.Stamp <= cur.Op.Stamp {
			return VerdictMalformed
		}
		return VerdictReplace
	}
	if order > 0 {
		return VerdictWon
	}
	return VerdictLost
}

// Saw reports whether op was made by somebody who had seen cur.
func Saw(op *Op, cur *Register, lineage Lineage) bool { return op.Base.Saw(cur, lineage) }

// Saw reports whether somebody with b before his eyes had seen cur: b names
// it, or b's birth covers cur's.
func (b Base) Saw(cur *Register, lineage Lineage) bool {
	if !b.Pred.IsZero() && b.Pred == cur.Op.ID() {
		return true
	}
	return lineage.Covers(b.Birth, cur.Birth)
}
