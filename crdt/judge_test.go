package crdt_test

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

// on returns op made on the shown version, as an agent states it: pred, and
// birth where known, else what the shown version was itself made on.
func on(shown crdt.Register, op crdt.Op) crdt.Op {
	op.Base = crdt.Base{Pred: shown.Op.ID(), Birth: shown.Birth}
	if op.Base.Birth.IsZero() {
		op.Base.Birth = shown.Op.Base.Birth
	}
	return op
}

func pending(op crdt.Op) crdt.Register { return crdt.NewRegister(op, crdt.Position{}) }

// apply puts op into the log and demands a verdict.
func apply(t *testing.T, l *crdttest.Log, op crdt.Op, want crdt.Verdict) crdt.Register {
	t.Helper()
	if got := l.Apply(op); got.Verdict != want {
		t.Fatalf("%s: %s, want %s", op.ID(), got.Verdict, want)
	}
	if want.Current() && l.Current.Op.ID() != op.ID() {
		t.Fatalf("%s: judged %s, but %s stands", op.ID(), want, l.Current.Op.ID())
	}
	return l.Current
}

func recorded(t *testing.T, l *crdttest.Log, want ...crdt.Op) {
	t.Helper()
	for _, op := range want {
		if _, ok := l.Open[op.ID()]; !ok {
			t.Errorf("%s has no open record", op.ID())
		}
	}
	if len(l.Open) != len(want) {
		t.Errorf("%d open records, want %d", len(l.Open), len(want))
	}
}

// DESIGN section 3: s=10, an unseen a=8, b=12 that had seen only s. A base stamp
// compared with ≥ would say that b had seen a.
func TestGreaterBaseStampHasNotSeen(t *testing.T) {
	s, a := crdttest.Op(10, "acme", 1, "s"), crdttest.Op(8, "globex", 1, "a")
	b := on(pending(s), crdttest.Op(12, "acme", 2, "b"))
	t.Run("a arrives first", func(t *testing.T) {
		l := crdttest.NewLog()
		apply(t, l, a, crdt.VerdictFirst)
		apply(t, l, s, crdt.VerdictWon)
		apply(t, l, b, crdt.VerdictReplace)
		recorded(t, l, a)
	})
	t.Run("a arrives between", func(t *testing.T) {
		l := crdttest.NewLog()
		apply(t, l, s, crdt.VerdictFirst)
		apply(t, l, a, crdt.VerdictLost)
		apply(t, l, b, crdt.VerdictReplace)
		recorded(t, l, a)
	})
	t.Run("a arrives last", func(t *testing.T) {
		l := crdttest.NewLog()
		apply(t, l, s, crdt.VerdictFirst)
		apply(t, l, b, crdt.VerdictReplace)
		apply(t, l, a, crdt.VerdictLost)
		recorded(t, l, a)
	})
	t.Run("b meets a alone", func(t *testing.T) {
		l := crdttest.NewLog()
		apply(t, l, a, crdt.VerdictFirst)
		apply(t, l, b, crdt.VerdictWon)
		recorded(t, l, a)
	})
}

// DESIGN section 3: the offset of a losing op as base hides edits.
func TestOffsetOfLosingOpIsNoBirth(t *testing.T) {
	l := crdttest.NewLog()
	apply(t, l, crdttest.Op(5, "acme", 1, "old"), crdt.VerdictFirst)
	apply(t, l, crdttest.Op(20, "acme", 2, "theirs"), crdt.VerdictWon)
	mine := crdttest.Op(8, "globex", 1, "mine")
	lost := l.Apply(mine)
	if lost.Verdict != crdt.VerdictLost {
		t.Fatal(lost.Verdict)
	}
	// The user edits on, still looking at "mine"; "theirs" was never shown.
	next := on(pending(mine), crdttest.Op(30, "globex", 2, "mine, again"))
	wrong := next
	wrong.Base.Birth = lost.At
	if r := pending(wrong); !crdt.Saw(&r.Op, &l.Current, l.Lineage) {
		t.Error("the example lost its point: the loser's offset covers nothing")
	}
	theirs := l.Current.Op
	apply(t, l, next, crdt.VerdictWon)
	recorded(t, l, crdttest.Op(5, "acme", 1, "old"), theirs)
	if l.Closed[mine.ID()] != next.ID() {
		t.Error("the edit on a recorded loser did not close its record")
	}
}

// DESIGN section 3, rule 1: one agent serves two systems, whose users have not
// seen each other's edits.
func TestAuthorshipProvesNothing(t *testing.T) {
	l := crdttest.NewLog()
	shown := apply(t, l, crdttest.Op(10, "globex", 1, "shown in both"), crdt.VerdictFirst)
	inOne := on(shown, crdttest.Op(20, "acme", 1, "edit in one system"))
	inOther := on(shown, crdttest.Op(21, "acme", 2, "edit in the other"))
	apply(t, l, inOne, crdt.VerdictReplace)
	apply(t, l, inOther, crdt.VerdictWon)
	recorded(t, l, inOne)
}

// Nor does a later op of the same author: what was made on its fifth may never
// have met its third.
func TestLaterOpOfTheSameAuthorIsNotSeen(t *testing.T) {
	cur := crdt.NewRegister(crdttest.Op(10, "acme", 3, "what stands"), crdt.Position{Epoch: 1, Offset: 9})
	fifth := crdttest.Op(11, "acme", 5, "what was on the screen")
	op := crdttest.Op(12, "globex", 1, "made on that")
	op.Base = crdt.Base{Pred: fifth.ID()}
	if crdt.Saw(&op, &cur, nil) {
		t.Error("an op counts as seen by one that names a later op of its author")
	}
}

// Rule 1: seen by pred, though no birth is known.
func TestPredIsSeen(t *testing.T) {
	l := crdttest.NewLog()
	first := crdttest.Op(10, "acme", 1, "a")
	second := on(pending(first), crdttest.Op(11, "acme", 2, "b"))
	third := on(pending(second), crdttest.Op(12, "acme", 3, "c"))
	apply(t, l, first, crdt.VerdictFirst)
	apply(t, l, second, crdt.VerdictReplace)
	apply(t, l, third, crdt.VerdictReplace)
	recorded(t, l)
}

// Rule 1: an edit on an own op of unknown position inherits that op's base.
func TestEditOnOwnPendingOpInheritsItsBase(t *testing.T) {
	l := crdttest.NewLog()
	shown := apply(t, l, crdttest.Op(10, "globex", 1, "shown"), crdt.VerdictFirst)
	refused := on(shown, crdttest.Op(20, "acme", 1, "refused by the pact"))
	next := on(pending(refused), crdttest.Op(21, "acme", 2, "made on it"))
	if next.Base.Birth != shown.Birth {
		t.Fatalf("base %+v", next.Base)
	}
	apply(t, l, next, crdt.VerdictReplace) // "shown" was seen through the refused op
	recorded(t, l)
}

// Rule 1: births compare within an epoch, and with an ancestor up to the fork.
func TestLineageCovers(t *testing.T) {
	at := func(e crdt.Epoch, o crdt.Offset) crdt.Position { return crdt.Position{Epoch: e, Offset: o} }
	lineage := crdt.Lineage{{Child: 2, Parent: 1, At: 50}, {Child: 3, Parent: 2, At: 70}, {Child: 4, Parent: 1, At: 20}}
	cases := []struct {
		name        string
		base, birth crdt.Position
		want        bool
	}{
		{"same place", at(3, 5), at(3, 5), true},
		{"later in the epoch", at(3, 6), at(3, 5), true},
		{"earlier in the epoch", at(3, 4), at(3, 5), false},
		{"parent, at the fork", at(3, 1), at(2, 70), true},
		{"parent, after the fork", at(3, 99), at(2, 71), false},
		{"grandparent, at its fork", at(3, 1), at(1, 50), true},
		{"grandparent, after its fork", at(3, 1), at(1, 51), false},
		{"base in the parent, birth in the child", at(1, 99), at(2, 1), false},
		{"sibling", at(4, 99), at(2, 1), false},
		{"sibling's share of the parent", at(4, 1), at(1, 21), false},
		{"unknown epoch", at(9, 99), at(1, 1), false},
		{"unknown base", crdt.Position{}, at(1, 1), false},
		{"unknown birth", at(1, 1), crdt.Position{}, false},
		{"both unknown", crdt.Position{}, crdt.Position{}, false},
	}
	for _, c := range cases {
		if got := lineage.Covers(c.base, c.birth); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	offered := crdt.Lineage{
		{Child: 2, Parent: 1, At: 50},
		{Child: 2, Parent: 1, At: 80, From: 10},
		{Child: 2, Parent: 9, At: 7, From: 20},
		{Child: 3, Parent: 2, At: 15},
	}
	for _, c := range []struct {
		base, birth crdt.Position
		want        bool
	}{
		{at(2, 9), at(1, 50), true},
		{at(2, 9), at(1, 51), false},
		{at(2, 10), at(1, 80), true},
		{at(2, 10), at(1, 81), false},
		{at(2, 19), at(9, 7), false},
		{at(2, 20), at(9, 7), true},
		{at(3, 1), at(1, 80), true}, // the fork came after the offer
		{at(3, 99), at(9, 1), false},
	} {
		if got := offered.Covers(c.base, c.birth); got != c.want {
			t.Errorf("%s covers %s: %v", c.base, c.birth, got)
		}
	}
	for from, want := range map[crdt.Position]crdt.Position{
		at(3, 15): at(1, 15), at(3, 16): at(3, 16), at(2, 50): at(1, 50), at(2, 51): at(2, 51), at(7, 1): at(7, 1),
	} {
		if got := offered.Home(from); got != want {
			t.Errorf("the home of %s is %s, want %s", from, got, want)
		}
	}
	if got := append(offered, crdt.Fork{Child: 3, Parent: 2, At: 60}).Home(at(3, 40)); got != at(1, 40) {
		t.Errorf("a copy of a copy: %s", got)
	}
	loop := crdt.Lineage{{Child: 1, Parent: 2, At: 5}, {Child: 2, Parent: 1, At: 5}}
	loop.Home(at(1, 1)) // ends
	if loop.Covers(at(1, 1), at(3, 1)) {
		t.Error("a lineage that loops covers a stranger")
	}
}

// Rule 1: if the current version names o as pred, o is old: no record.
func TestOldOpWhoseSuccessorStands(t *testing.T) {
	first := crdttest.Op(10, "acme", 1, "a")
	second := on(pending(first), crdttest.Op(11, "acme", 2, "b"))
	l := crdttest.NewLog()
	apply(t, l, second, crdt.VerdictFirst)
	apply(t, l, first, crdt.VerdictOld)
	recorded(t, l)
}

// Rule 1: the same where the successor lost, and its record is open.
func TestOldOpWhoseSuccessorIsARecordedLoser(t *testing.T) {
	first := crdttest.Op(10, "acme", 1, "a")
	second := on(pending(first), crdttest.Op(11, "acme", 2, "b"))
	l := crdttest.NewLog()
	apply(t, l, crdttest.Op(30, "globex", 1, "winner"), crdt.VerdictFirst)
	apply(t, l, second, crdt.VerdictLost)
	apply(t, l, first, crdt.VerdictOld)
	recorded(t, l, second)
}

// Rule 1: an op whose pred is a recorded loser closes that record.
func TestPredNamingARecordedLoserClosesItsRecord(t *testing.T) {
	lost := crdttest.Op(10, "acme", 1, "lost")
	l := crdttest.NewLog()
	apply(t, l, crdttest.Op(30, "globex", 1, "winner"), crdt.VerdictFirst)
	apply(t, l, lost, crdt.VerdictLost)
	next := on(pending(lost), crdttest.Op(20, "acme", 2, "lost again"))
	apply(t, l, next, crdt.VerdictLost)
	recorded(t, l, next) // which stands for the first one too
	if l.Closed[lost.ID()] != next.ID() {
		t.Error("the first record is still open")
	}
}

// Rule 2: a known op gets the same answer again.
func TestRepeatedOpGetsTheSameAnswer(t *testing.T) {
	l := crdttest.NewLog()
	first, second := crdttest.Op(10, "acme", 1, "a"), crdttest.Op(20, "globex", 1, "b")
	apply(t, l, first, crdt.VerdictFirst)
	apply(t, l, second, crdt.VerdictWon)
	head := l.Head
	if again := l.Apply(first); again.Verdict != crdt.VerdictFirst || l.Head != head {
		t.Errorf("%s at head %d, was %d", again.Verdict, l.Head, head)
	}
	if r := l.Current; crdt.Judge(&l.Current, &r, nil, nil) != crdt.VerdictSame {
		t.Error("the current version is not itself")
	}
}

func TestSeenVersionNeedsAGreaterStamp(t *testing.T) {
	for _, stamp := range []crdt.Stamp{9, 10} {
		l := crdttest.NewLog()
		shown := apply(t, l, crdttest.Op(10, "acme", 1, "a"), crdt.VerdictFirst)
		l.Apply(on(shown, crdttest.Op(stamp, "globex", 1, "b")))
		if l.Current.Op.ID() != shown.Op.ID() || l.Head != 1 || len(l.Open) != 0 {
			t.Errorf("stamp %d: a malformed op changed the state", stamp)
		}
		r := pending(on(shown, crdttest.Op(stamp, "globex", 1, "b")))
		if v := crdt.Judge(&shown, &r, nil, nil); v != crdt.VerdictMalformed {
			t.Errorf("stamp %d: %s", stamp, v)
		}
	}
}

// The whole tie-break, one rung at a time; all are concurrent.
func TestConcurrentOpsAreOrderedByStampAuthorDigest(t *testing.T) {
	with := func(op crdt.Op, change func(*crdt.Op)) crdt.Register {
		change(&op)
		return pending(op)
	}
	op := crdttest.Op(10, "acme", 1, "a")
	low := pending(op)
	rungs := map[string]crdt.Register{
		"stamp":       with(op, func(o *crdt.Op) { o.Stamp = 11; o.Author.Site = "aaa" }),
		"counter":     with(op, func(o *crdt.Op) { o.Stamp++ }),
		"site":        with(op, func(o *crdt.Op) { o.Author.Site = "globex"; o.Author.Agent = "a" }),
		"agent":       with(op, func(o *crdt.Op) { o.Author.Agent = "two" }),
		"incarnation": with(op, func(o *crdt.Op) { o.Author.Incarnation = 2 }),
	}
	for name, high := range rungs {
		if crdt.Judge(&low, &high, nil, nil) != crdt.VerdictWon || crdt.Judge(&high, &low, nil, nil) != crdt.VerdictLost {
			t.Errorf("%s does not decide", name)
		}
	}
	twin := with(op, func(o *crdt.Op) { o.Seq = 2 })
	won, lost := crdt.Judge(&low, &twin, nil, nil), crdt.Judge(&twin, &low, nil, nil)
	if won == lost || won != crdt.VerdictWon && won != crdt.VerdictLost {
		t.Errorf("digest does not decide: %s and %s", won, lost)
	}
}

func TestVerdictNames(t *testing.T) {
	for v := range crdt.VerdictMalformed + 1 {
		if v.String() == "unknown" {
			t.Errorf("verdict %d has no name", v)
		}
	}
	if (crdt.VerdictMalformed + 1).String() != "unknown" {
		t.Error("a verdict that does not exist has a name")
	}
}
