package crdt_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

func TestJoinLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := crdttest.Registers()
		a, b, c := some.Draw(t, "a"), some.Draw(t, "b"), some.Draw(t, "c")
		if err := crdttest.Laws(crdt.Join, &a, &b, &c); err != nil {
			t.Fatal(err)
		}
	})
}

func TestJoinEqualsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions := rapid.SliceOfN(crdttest.Registers(), 1, 30).Draw(t, "versions")
		var joined crdt.Register
		for i := range versions {
			joined = *crdt.Join(&joined, &versions[i])
		}
		if want := crdttest.Twin(versions); !crdttest.SameRegister(&joined, &want) {
			t.Fatalf("join %+v, twin %+v", joined, want)
		}
	})
}

// Every sequence of up to four versions out of a universe full of ties, and so
// every permutation and repetition, in every grouping.
func TestJoinOfSmallSetsExhaustively(t *testing.T) {
	universe := []crdt.Register{{}}
	for _, stamp := range []crdt.Stamp{1, 2} {
		for _, site := range []crdt.Site{"acme", "globex"} {
			for _, text := range []string{"v", "w"} {
				for _, birth := range []crdt.Position{{}, {Epoch: 1, Offset: 2}} {
					universe = append(universe, crdt.NewRegister(crdttest.Op(stamp, site, 1, text), birth))
				}
			}
		}
	}
	joins := 0
	var grow func(versions []crdt.Register)
	grow = func(versions []crdt.Register) {
		if len(versions) > 0 {
			want := crdttest.Twin(versions)
			crdttest.Groupings(crdt.Join, versions, func(got *crdt.Register) {
				joins++
				if got.Digest != want.Digest || got.Birth != want.Birth {
					t.Fatalf("%+v: join %+v, twin %+v", versions, got, want)
				}
			})
		}
		if len(versions) == 4 {
			return
		}
		for _, r := range universe {
			grow(append(versions[:len(versions):len(versions)], r))
		}
	}
	grow(nil)
	if joins < 17*17*17*17*5 {
		t.Errorf("only %d groupings were tried", joins)
	}
}

// The laws must be able to fail.
func TestLawsFindBrokenJoins(t *testing.T) {
	broken := map[string]crdttest.JoinFunc{
		"first wins a tie of stamps": func(a, b *crdt.Register) *crdt.Register {
			if b.Op.Stamp > a.Op.Stamp {
				return b
			}
			return a
		},
		"last wins": func(_, b *crdt.Register) *crdt.Register { return b },
		"the value breaks ties by length, then the left side": func(a, b *crdt.Register) *crdt.Register {
			if len(b.Op.Value) > len(a.Op.Value) {
				return b
			}
			return a
		},
		"least": func(a, b *crdt.Register) *crdt.Register {
			if a.Compare(b) < 0 {
				return a
			}
			return b
		},
	}
	a := crdt.NewRegister(crdttest.Op(1, "acme", 1, "v"), crdt.Position{})
	b := crdt.NewRegister(crdttest.Op(1, "globex", 1, "v"), crdt.Position{})
	c := crdt.NewRegister(crdttest.Op(2, "acme", 2, "w"), crdt.Position{})
	for name, join := range broken {
		if crdttest.Laws(join, &a, &b, &c) == nil {
			t.Errorf("%s: passes as a join", name)
		}
	}
}

func TestVersionsOrderAsTheirRegisters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, s := crdttest.Registers().Draw(t, "r"), crdttest.Registers().Draw(t, "s")
		v, w := r.Version(), s.Version()
		if v.Compare(&w) != r.Compare(&s) || v.Compare(&w) != -w.Compare(&v) || v.IsZero() != r.IsZero() {
			t.Fatalf("%+v and %+v", v, w)
		}
		if !r.IsZero() && r.Op.Version() != v {
			t.Fatal("an op and its register differ in version")
		}
	})
}

func TestMultisetForgetsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions := rapid.SliceOfN(crdttest.Registers(), 1, 12).Draw(t, "versions")
		order := rapid.Permutation(versions).Draw(t, "order")
		var forth, back, bare crdt.Multiset
		for i := range versions {
			forth.Add(versions[i].Digest)
			back.Add(order[i].Digest)
		}
		if forth != back || forth.Count() != uint64(len(versions)) {
			t.Fatalf("%s and %s", &forth, &back)
		}
		if got := crdt.MultisetFrom(forth.Bytes()); got != forth {
			t.Fatal("encoding loses something")
		}
		for i := range order {
			forth.Remove(order[i].Digest)
		}
		if forth != bare {
			t.Fatalf("taking everything out leaves %s", &forth)
		}
	})
}
