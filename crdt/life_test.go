package crdt_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/crdt/value"
)

func anyLife() *rapid.Generator[crdt.Life] {
	fields := rapid.SampledFrom([]crdt.Field{"title", "status", "labels/00112233445566778899aabbccddeeff", "stock/~start"})
	return rapid.Custom(func(t *rapid.T) crdt.Life {
		if rapid.Bool().Draw(t, "live") {
			return crdt.Life{}
		}
		return crdt.Life{Deleted: true, Seen: rapid.MapOf(fields, crdttest.Bases()).Draw(t, "seen")}
	})
}

func TestLifeComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := anyLife().Draw(t, "life")
		back, err := crdt.DecodeLife(l.Envelope())
		if err != nil || !bytes.Equal(back.Envelope(), l.Envelope()) || back.Deleted != l.Deleted || len(back.Seen) != len(l.Seen) {
			t.Fatalf("%+v came back as %+v, %v", l, back, err)
		}
		for f, b := range l.Seen {
			if back.Seen[f] != b {
				t.Fatalf("%s: %+v came back as %+v", f, b, back.Seen[f])
			}
		}
	})
	if v := (crdt.Life{}).Value(); v.AsText() != "live" {
		t.Errorf("the zero Life is %s", v)
	}
}

func TestLifeRefuses(t *testing.T) {
	deleted := func(at value.Value) value.Value {
		return value.Map(map[string]value.Value{
			"state": value.Text("deleted"), "seen": value.Map(map[string]value.Value{"title": at}),
		})
	}
	cases := map[string]value.Value{
		"null":             value.Null(),
		"another word":     value.Text("dead"),
		"live as a map":    value.Map(map[string]value.Value{"state": value.Text("live"), "seen": value.Map(nil)}),
		"no seen":          value.Map(map[string]value.Value{"state": value.Text("deleted")}),
		"seen as a list":   value.Map(map[string]value.Value{"state": value.Text("deleted"), "seen": value.List()}),
		"position of one":  deleted(value.List(value.Int(1))),
		"position of text": deleted(value.List(value.Text("1"), value.Text("2"))),
		"pred without seq": deleted(value.List(value.Int(1), value.Int(2), value.Text("acme"), value.Text("one"), value.Int(1), value.Int(0))),
		"malformed author": deleted(value.List(value.Int(1), value.Int(2), value.Text("Acme"), value.Text("one"), value.Int(1), value.Int(1))),
	}
	for name, v := range cases {
		if l, err := crdt.LifeOf(v); !errors.Is(err, crdt.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	if _, err := crdt.DecodeLife([]byte{crdt.EnvelopeFormat + 1, 0, 0}); !errors.Is(err, crdt.ErrNewer) {
		t.Errorf("newer envelope: %v", err)
	}
	if _, err := crdt.DecodeLife([]byte{crdt.EnvelopeFormat, 1, 'k', 0}); !errors.Is(err, crdt.ErrSealed) {
		t.Errorf("sealed: %v", err)
	}
}

// Rule 9: a delete carries the position of each field shown; what it did not
// see becomes a conflict record.
func TestDeleteBuriesOnlyWhatItSaw(t *testing.T) {
	born := func(field crdt.Field, offset crdt.Offset) *crdt.Register {
		op := crdttest.Op(crdt.Stamp(offset), "globex", crdt.Seq(offset), "x")
		op.Key.Field = field
		r := crdt.NewRegister(op, crdt.Position{Epoch: 1, Offset: offset})
		return &r
	}
	own := crdttest.Op(70, "acme", 9, "own, not yet acknowledged")
	own.Key.Field = "due"
	ownRegister := crdt.NewRegister(own, crdt.Position{Epoch: 1, Offset: 7})
	record := []*crdt.Register{
		born("title", 3), born("status", 4), born("priority", 5), born("labels/00112233445566778899aabbccddeeff", 6),
		&ownRegister, born(crdt.FieldLife, 1), born(crdt.LinkField("acme", "redmine"), 2),
		{},
	}
	at := func(o crdt.Offset) crdt.Base { return crdt.Base{Birth: crdt.Position{Epoch: 1, Offset: o}} }
	del := crdt.Life{Deleted: true, Seen: map[crdt.Field]crdt.Base{
		"title": at(3), "status": at(2), "due": {Pred: own.ID()}, // priority and the label were not shown
	}}
	var got []crdt.Field
	for _, r := range del.Unseen(slices.Values(record), nil) {
		got = append(got, r.Op.Key.Field)
	}
	if want := []crdt.Field{"labels/00112233445566778899aabbccddeeff", "priority", "status"}; !slices.Equal(got, want) {
		t.Errorf("unseen %v, want %v", got, want)
	}
	if live := (crdt.Life{}); live.Unseen(slices.Values(record), nil) != nil {
		t.Error("a live record buries something")
	}
	if len(del.Unseen(slices.Values(record), crdt.Lineage{{Child: 2, Parent: 1, At: 9}})) != 3 {
		t.Error("a lineage without part in it changes the answer")
	}
}

func FuzzDecodeLife(f *testing.F) {
	f.Add(crdt.Life{}.Envelope())
	for _, v := range crdttest.Vectors() {
		if v.Op.Key.Field == crdt.FieldLife {
			f.Add(v.Op.Value)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := crdt.DecodeLife(b)
		if err == nil && !bytes.Equal(l.Envelope(), b) {
			t.Fatalf("%x has two encodings", b)
		}
	})
}
