package crdttest_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

func chance(t *rapid.T) func(int) int {
	return func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "chance") }
}

func TestNoEditIsLostInSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := crdttest.NewWorld(chance(t))
		if err := w.Run(80); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNoEditIsLostWhenOpsOvertakeAndAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := crdttest.NewWorld(chance(t))
		w.Rough = true
		if err := w.Run(80); err != nil {
			t.Fatal(err)
		}
	})
}

// Long runs from seeds, deeper than a search that must be able to shrink.
func TestLongHistories(t *testing.T) {
	for seed := range uint64(300) {
		w := crdttest.NewWorld(rand.New(rand.NewPCG(seed, 1)).IntN)
		w.Rough = seed%3 == 0
		if err := w.Run(400); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// Each mistake that the rule exists to avoid must be found, or the world proves
// nothing.
func TestWorldFindsEveryMistake(t *testing.T) {
	mistakes := map[string]func(w *crdttest.World){
		"the same author has always seen": func(w *crdttest.World) {
			w.Log.Judge = func(cur, op *crdt.Register, l crdt.Lineage, preds []crdt.OpID) crdt.Verdict {
				v := crdt.Judge(cur, op, l, preds)
				if v == crdt.VerdictWon && cur.Op.Author == op.Op.Author {
					return crdt.VerdictReplace
				}
				return v
			}
		},
		"a greater stamp has seen": func(w *crdttest.World) {
			w.Log.Judge = func(cur, op *crdt.Register, l crdt.Lineage, preds []crdt.OpID) crdt.Verdict {
				if v := crdt.Judge(cur, op, l, preds); v != crdt.VerdictWon {
					return v
				}
				return crdt.VerdictReplace
			}
		},
		"a lesser stamp is old": func(w *crdttest.World) {
			w.Log.Judge = func(cur, op *crdt.Register, l crdt.Lineage, preds []crdt.OpID) crdt.Verdict {
				if v := crdt.Judge(cur, op, l, preds); v != crdt.VerdictLost {
					return v
				}
				return crdt.VerdictOld
			}
		},
		"a birth covers the next offset too": func(w *crdttest.World) {
			w.Log.Judge = func(cur, op *crdt.Register, l crdt.Lineage, preds []crdt.OpID) crdt.Verdict {
				off := *op
				if !off.Op.Base.Birth.IsZero() {
					off.Op.Base.Birth.Offset += 2
				}
				return crdt.Judge(cur, &off, l, preds)
			}
		},
		"offsets compare across epochs": func(w *crdttest.World) {
			w.Log.Judge = func(cur, op *crdt.Register, l crdt.Lineage, preds []crdt.OpID) crdt.Verdict {
				c, o := *cur, *op
				c.Birth.Epoch, o.Op.Base.Birth.Epoch = min(c.Birth.Epoch, 1), min(o.Op.Base.Birth.Epoch, 1)
				return crdt.Judge(&c, &o, l, preds)
			}
		},
		"the pred is not looked at": func(w *crdttest.World) {
			w.Log.Judge = func(cur, op *crdt.Register, l crdt.Lineage, preds []crdt.OpID) crdt.Verdict {
				blind := *op
				blind.Op.Base.Pred = crdt.OpID{}
				return crdt.Judge(cur, &blind, l, preds)
			}
		},
		"a losing op's offset is a birth": func(w *crdttest.World) { w.LoserOffsets = true },
	}
	for name, make := range mistakes {
		found := false
		for seed := uint64(0); seed < 400 && !found; seed++ {
			w := crdttest.NewWorld(rand.New(rand.NewPCG(seed, 2)).IntN)
			make(w)
			found = w.Run(120) != nil
		}
		if !found {
			t.Errorf("%s: not found in 400 histories", name)
		}
	}
}
