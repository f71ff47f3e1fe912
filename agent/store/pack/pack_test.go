package pack_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

func TestKeysOfDifferentPartsDiffer(t *testing.T) {
	parts := rapid.SliceOfN(rapid.String(), 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		if bytes.Equal(pack.Key('x', a...), pack.Key('x', b...)) != slices.Equal(a, b) {
			t.Fatal("two lists of parts share a key")
		}
		back, err := pack.Parts(pack.Key('x', a...), len(a))
		if err != nil || !slices.Equal(back, a) {
			t.Fatalf("parts %q read as %q (%v)", a, back, err)
		}
		if !bytes.HasPrefix(pack.Key('x', append(slices.Clone(a), b...)...), pack.Key('x', a...)) {
			t.Fatal("a longer key does not begin with the shorter")
		}
	})
}

func TestOrderedSortsAsNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		if (a < b) != (pack.Ordered(a) < pack.Ordered(b)) {
			t.Fatal("order differs")
		}
	})
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	id := crdt.OpID{Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}, Seq: 2}
	w := pack.NewWriter(3)
	w.Uint(7)
	w.Int(-7)
	w.Bool(true)
	w.String("s")
	w.Record(crdt.RecordID{1})
	w.Base(crdt.Base{Pred: id, Birth: crdt.Position{Epoch: 4, Offset: 5}})
	w.Values(map[string]value.Value{"b": value.Text("x"), "a": value.Null()})
	r := pack.NewReader(w.Bytes(), 3)
	n, i, b, s, record, base, m := r.Uint(), r.Int(), r.Bool(), r.String(), r.Record(), r.Base(), r.Values()
	if err := r.Close("row"); err != nil {
		t.Fatal(err)
	}
	if n != 7 || i != -7 || !b || s != "s" || record != (crdt.RecordID{1}) || base.Pred != id || base.Birth.Offset != 5 ||
		len(m) != 2 || !m["b"].Equal(value.Text("x")) {
		t.Errorf("read %v %v %v %q %v %+v %v", n, i, b, s, record, base, m)
	}
}

func TestVersions(t *testing.T) {
	for _, tc := range []struct {
		bytes []byte
		want  error
	}{
		{nil, pack.ErrCorrupt}, {[]byte{0}, pack.ErrCorrupt}, {[]byte{2}, pack.ErrNewer}, {[]byte{1, 9}, pack.ErrCorrupt}, {[]byte{1}, nil},
	} {
		if err := pack.NewReader(tc.bytes, 1).Close("row"); !errors.Is(err, tc.want) {
			t.Errorf("%v: %v, want %v", tc.bytes, err, tc.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := pack.NewReader(b, 1)
		_, _, _, _, _, _ = r.Values(), r.OpID(), r.Op(), r.Position(), r.Count(), r.Bool()
		if err := r.Close("row"); err != nil && !errors.Is(err, pack.ErrCorrupt) && !errors.Is(err, pack.ErrNewer) {
			t.Fatal(err)
		}
	})
}
