package crdt_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/crdt/value"
)

func version(t *rapid.T, label string) crdt.Register {
	return crdt.NewRegister(crdttest.WideOps().Draw(t, label), crdt.Position{})
}

func TestLostComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loser, winner, resolver := version(t, "loser"), version(t, "winner"), version(t, "resolver")
		open := crdt.NewLost(&loser, &winner)
		for _, l := range []crdt.Lost{open, open.Resolved(&resolver)} {
			op := l.Op()
			if _, err := crdt.ParseField(string(op.Key.Field)); err != nil {
				t.Fatal(err)
			}
			stored, err := crdt.DecodeOp(op.AppendCanonical(nil))
			if err != nil {
				t.Fatal(err)
			}
			back, err := crdt.DecodeLost(&stored)
			if err != nil {
				t.Fatal(err)
			}
			if back.State != l.State || back.Winner != l.Winner || back.Resolver != l.Resolver || back.Loser.Digest() != loser.Digest {
				t.Fatalf("%+v came back as %+v", l, back)
			}
			if op.Base.Pred != loser.Op.Base.Pred || op.Seq != 0 || op.Author != loser.Op.Author {
				t.Fatalf("%+v does not derive from its loser", op)
			}
		}
	})
}

// Resolved wins every join, whoever won and whatever resolved it.
func TestResolvedWinsEveryJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loser := version(t, "loser")
		a, b, c := version(t, "a"), version(t, "b"), version(t, "c")
		open, other := crdt.NewLost(&loser, &a), crdt.NewLost(&loser, &b)
		resolved := other.Resolved(&c)
		left := crdt.NewRegister(open.Op(), crdt.Position{Epoch: 1, Offset: 9})
		right := crdt.NewRegister(resolved.Op(), crdt.Position{})
		if left.Op.Key != right.Op.Key {
			t.Fatal("one loser has two records")
		}
		if crdt.Join(&left, &right) != &right || crdt.Join(&right, &left) != &right {
			t.Fatal("an open record won")
		}
	})
}

func TestDecodeLostRefusesWhatDoesNotDerive(t *testing.T) {
	loser := crdt.NewRegister(crdttest.Op(5, "acme", 1, "lost"), crdt.Position{})
	winner := crdt.NewRegister(crdttest.Op(6, "globex", 1, "won"), crdt.Position{})
	l := crdt.NewLost(&loser, &winner)
	good := l.Op()
	if _, err := crdt.DecodeLost(&good); err != nil {
		t.Fatal(err)
	}
	nested := crdt.NewLost(&crdt.Register{Op: good, Digest: good.Digest()}, &winner)
	cases := map[string]func(*crdt.Op){
		"plain field":     func(o *crdt.Op) { o.Key.Field = "title" },
		"another record":  func(o *crdt.Op) { o.Key.Record[3]++ },
		"another digest":  func(o *crdt.Op) { o.Key.Field = crdt.LostField("title", crdt.Digest{}) },
		"another field":   func(o *crdt.Op) { o.Key.Field = crdt.LostField("status", loser.Digest) },
		"greater stamp":   func(o *crdt.Op) { o.Stamp++ },
		"another author":  func(o *crdt.Op) { o.Author.Site = "globex" },
		"a seq":           func(o *crdt.Op) { o.Seq = 1 },
		"another base":    func(o *crdt.Op) { o.Base.Birth.Offset = 1 },
		"null":            func(o *crdt.Op) { o.Value = crdt.Plain(value.Null()) },
		"nested":          func(o *crdt.Op) { *o = nested.Op() },
		"trailing byte":   func(o *crdt.Op) { o.Value = append(bytes.Clone(o.Value), 0) },
		"unknown state":   func(o *crdt.Op) { o.Value = bytes.Replace(o.Value, []byte("open"), []byte("shut"), 1) },
		"resolved by who": func(o *crdt.Op) { o.Value = bytes.Replace(o.Value, []byte("\x04open"), []byte("\x08resolved"), 1) },
	}
	for name, spoil := range cases {
		op := good
		spoil(&op)
		if got, err := crdt.DecodeLost(&op); !errors.Is(err, crdt.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// The greatest op that may lose still fits into its record.
func TestRecordOfTheGreatestOpFits(t *testing.T) {
	for _, v := range crdttest.Vectors() {
		if v.Op.Seq == 0 {
			continue
		}
		v.Op.Value = crdt.Plain(value.Bytes(make([]byte, crdt.ValueBytesMax-6)))
		if err := v.Op.Validate(); err != nil || len(v.Op.Value) != crdt.ValueBytesMax {
			t.Fatalf("%s: %d bytes, %v", v.Name, len(v.Op.Value), err)
		}
		r := crdt.NewRegister(v.Op, crdt.Position{})
		l := crdt.NewLost(&r, &r).Resolved(&r)
		made := l.Op()
		stored, err := crdt.DecodeOp(made.AppendCanonical(nil))
		if err != nil {
			t.Fatalf("%s: a value of %d bytes: %v", v.Name, len(made.Value), err)
		}
		if _, err := crdt.DecodeLost(&stored); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func FuzzDecodeLost(f *testing.F) {
	for _, v := range crdttest.Vectors() {
		if v.Op.Key.Field.IsLost() {
			f.Add(v.Op.AppendCanonical(nil))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		op, err := crdt.DecodeOp(b)
		if err != nil {
			return
		}
		l, err := crdt.DecodeLost(&op)
		if err != nil {
			return
		}
		if made := l.Op(); !bytes.Equal(made.AppendCanonical(nil), b) {
			t.Fatalf("%x has two encodings", b)
		}
	})
}
