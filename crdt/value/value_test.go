package value_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt/value"
)

func anyDecimal() *rapid.Generator[value.Value] {
	return rapid.Custom(func(t *rapid.T) value.Value {
		v, ok := value.ParseDecimal(rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,20})?`).Draw(t, "decimal"))
		if !ok {
			t.Fatal("a decimal was refused")
		}
		return v
	})
}

func anyValue(depth int) *rapid.Generator[value.Value] {
	leaves := []*rapid.Generator[value.Value]{
		rapid.Just(value.Null()),
		rapid.Map(rapid.Bool(), value.Bool),
		rapid.Map(rapid.Int64(), value.Int),
		anyDecimal(),
		rapid.Map(rapid.String(), value.Text),
		rapid.Map(rapid.SliceOf(rapid.Byte()), value.Bytes),
		rapid.Map(rapid.Int64(), value.Millis),
		rapid.Map(rapid.Int64Range(-1e12, 1e12), func(s int64) value.Value { return value.Date(time.Unix(s, 0).UTC()) }),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	inner := anyValue(depth - 1)
	return rapid.OneOf(append(leaves,
		rapid.Map(rapid.SliceOfN(inner, 0, 4), func(vs []value.Value) value.Value { return value.List(vs...) }),
		rapid.Map(rapid.MapOfN(rapid.Map(rapid.String(), valid), inner, 0, 4), value.Map),
	)...)
}

func valid(s string) string { return strings.ToValidUTF8(s, "?") }

func TestCanonicalBytesAreTheValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, w := anyValue(3).Draw(t, "v"), anyValue(3).Draw(t, "w")
		b := v.Canonical()
		back, err := value.Decode(b)
		if err != nil || !back.Equal(v) || !bytes.Equal(back.Canonical(), b) {
			t.Fatalf("%s came back as %s, %v", v, back, err)
		}
		if v.Equal(w) != bytes.Equal(b, w.Canonical()) {
			t.Fatalf("%s and %s: equal %v, bytes say otherwise", v, w, v.Equal(w))
		}
		if v.Equal(w) != w.Equal(v) || !v.Equal(v) {
			t.Fatal("Equal is no equivalence")
		}
	})
}

func TestDecimalIsCanonicalAndExact(t *testing.T) {
	cases := map[string]string{
		"0": "0", "-0": "0", "-0.00": "0", "00": "0", "007": "7", "1.50": "1.5", "-12.50": "-12.5",
		"0.1": "0.1", "000.100": "0.1", "10": "10", "100.0": "100",
		"99999999999999999999.99999999999999999999": "99999999999999999999.99999999999999999999",
	}
	for in, want := range cases {
		if v, ok := value.ParseDecimal(in); !ok || v.AsDecimal() != want {
			t.Errorf("%q: %q, %v; want %q", in, v.AsDecimal(), ok, want)
		}
	}
	for _, in := range []string{"", "-", ".", "1.", ".5", "+1", "1e3", "1,5", "--1", " 1", "1.2.3", "٣", strings.Repeat("9", 65)} {
		if v, ok := value.ParseDecimal(in); ok {
			t.Errorf("%q was read as %s", in, v)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if v, ok := value.Float(f); ok {
			t.Errorf("%v was read as %s", f, v)
		}
	}
	if v, ok := value.Float(0.1); !ok || v.AsDecimal() != "0.1" {
		t.Errorf("0.1: %s, %v", v, ok)
	}
}

func TestAccessorsOfAnotherKindGiveZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(2).Draw(t, "v")
		k := v.Kind()
		switch {
		case k != value.KindBool && v.AsBool(),
			k != value.KindInt && v.AsInt() != 0,
			k != value.KindText && v.AsText() != "",
			k != value.KindDecimal && v.AsDecimal() != "",
			k != value.KindBytes && v.AsBytes() != nil,
			k != value.KindTime && k != value.KindDate && !v.AsTime().IsZero(),
			k != value.KindList && k != value.KindMap && v.Len() != 0,
			k != value.KindMap && len(v.Keys()) != 0,
			v.IsNull() != (k == value.KindNull),
			v.String() == "":
			t.Fatalf("%s %s", k, v)
		}
	})
}

func TestTextIsAlwaysUTF8(t *testing.T) {
	if got := value.Text("a\xffb").AsText(); got != "a\uFFFDb" {
		t.Errorf("got %q", got)
	}
	m := value.Map(map[string]value.Value{"a\xffb": value.Null()})
	if back, err := value.Decode(m.Canonical()); err != nil || !back.Equal(m) {
		t.Errorf("a map with a broken key came back as %s, %v", back, err)
	}
}

func TestDateIsTheCalendarDayOfItsZone(t *testing.T) {
	zone := time.FixedZone("east", 14*3600)
	v := value.Date(time.Date(1969, 12, 31, 1, 0, 0, 0, zone)) // still the 30th in UTC
	if got := v.String(); got != "1969-12-31" {
		t.Errorf("got %s", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := append(bytes.Repeat([]byte{byte(value.KindList), 1}, value.DepthMax+1), 0)
	cases := map[string][]byte{
		"nothing":             {},
		"unknown kind":        {10},
		"bool beyond 1":       {1, 2},
		"overlong number":     {2, 0x80, 0},
		"cut number":          {2, 0x80},
		"cut text":            {4, 2, 'a'},
		"broken UTF-8":        {4, 1, 0xff},
		"decimal not minimal": {3, 2, '0', '1'},
		"unsorted keys":       {9, 2, 1, 'b', 0, 1, 'a', 0},
		"repeated keys":       {9, 2, 1, 'a', 0, 1, 'a', 0},
		"more than there is":  {8, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"trailing bytes":      {0, 0},
		"too deep":            deep,
		"too long":            value.Bytes(make([]byte, value.BytesMax)).Canonical(),
	}
	for name, b := range cases {
		if v, err := value.Decode(b); !errors.Is(err, value.ErrMalformed) {
			t.Errorf("%s: %s, %v", name, v, err)
		}
	}
	if _, err := value.Decode(deep[2:]); err != nil {
		t.Errorf("depth %d: %v", value.DepthMax, err)
	}
}

func FuzzDecode(f *testing.F) {
	m := value.Map(map[string]value.Value{"a": value.List(value.Int(-1), value.Bool(true)), "b": value.Text("x")})
	f.Add(m.Canonical())
	f.Add([]byte{3, 3, '1', '.', '5'})
	f.Add([]byte{2, 0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := value.Decode(b)
		if err != nil {
			if !errors.Is(err, value.ErrMalformed) {
				t.Fatalf("an error of its own kind: %v", err)
			}
			return
		}
		if !bytes.Equal(v.Canonical(), b) {
			t.Fatalf("%x was read as %x", b, v.Canonical())
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	bytes := value.Map(map[string]value.Value{"at": value.Millis(1), "body": value.Text("hello"), "internal": value.Bool(false)}).Canonical()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := value.Decode(bytes); err != nil {
			b.Fatal(err)
		}
	}
}
