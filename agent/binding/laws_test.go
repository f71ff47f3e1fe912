package binding_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

func drawText(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.StringMatching(`[a-zA-Z ]{1,8}`), rapid.StringMatching("[ab\r\n]{1,6}"), rapid.String()).Draw(t, label)
}

// drawPactValue is any value that the pact allows for f.
func drawPactValue(t *rapid.T, f *pact.Field) value.Value {
	if !f.Required && rapid.IntRange(0, 5).Draw(t, "null") == 0 {
		return value.Null()
	}
	switch f.Type {
	case pact.TypeEnum:
		return value.Text(rapid.SampledFrom(f.Values).Draw(t, "enum"))
	case pact.TypePerson:
		return value.Text(rapid.StringMatching(`[a-z]{1,5}@[a-z]{1,5}\.example`).Draw(t, "person"))
	case pact.TypeBool:
		return value.Bool(rapid.Bool().Draw(t, "bool"))
	case pact.TypeDate:
		return value.Date(time.Unix(rapid.Int64Range(-1e9, 4e9).Draw(t, "day"), 0).UTC())
	case pact.TypeDateTime:
		return value.Millis(rapid.Int64Range(0, 4e12).Draw(t, "ms"))
	case pact.TypeNumber:
		return value.Int(rapid.Int64().Draw(t, "int"))
	case pact.TypeDecimal:
		v, _ := value.ParseDecimal(rapid.StringMatching(`-?[0-9]{1,9}(\.[0-9]{1,9})?`).Draw(t, "decimal"))
		return v
	}
	if f.Pattern != "" {
		return value.Text(fmt.Sprint(rapid.Int64Range(0, 1e15).Draw(t, "points")) + " pts")
	}
	return value.Text("x" + drawText(t, "text"))
}

// drawLocal is what the sample's system may show, sensible or not.
func drawLocal(t *rapid.T) locals {
	local := shown()
	some := []value.Value{
		value.Null(), value.Text(""), value.Text("Done"), value.Text("Blocked"), value.Text("Weird"),
		value.Text("Yes"), value.Int(1), value.Int(2), value.Int(7), value.Bool(true), value.Millis(9), value.Text("a@b"),
	}
	for _, name := range slices.Sorted(maps.Keys(local)) {
		switch rapid.IntRange(0, 4).Draw(t, name) {
		case 0:
			local[name] = rapid.SampledFrom(some).Draw(t, "value")
		case 1:
			local[name] = value.Text(drawText(t, "text"))
		case 2:
			delete(local, name)
		}
	}
	return local
}

func TestLaws(t *testing.T) {
	b, p := sample(t), samplePact(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(b.Fields()).Draw(t, "field")
		f, _ := p.Field(name)
		local := drawLocal(t)
		before := maps.Clone(local)

		// get-put: what is shown is not written again.
		if v, problem := b.Get(name, local); problem == nil {
			if err := pact.CheckValue(f, v); err != nil {
				t.Fatalf("read a value that the pact does not allow: %v", err)
			}
			if writes, problem := b.Put(name, v, local); problem != nil || len(writes) != 0 {
				t.Fatalf("%s: shown, yet written: %v %v", name, writes, problem)
			}
		}
		// put-get: what was written reads as what arrived.
		v := drawPactValue(t, f)
		writes, problem := b.Put(name, v, local)
		if problem != nil {
			t.Fatalf("%s: an allowed value cannot be written: %v", name, problem)
		}
		if b.Equivalent(name, v, local) != (len(writes) == 0) {
			t.Fatal("Equivalent and Put disagree")
		}
		after := maps.Clone(local)
		maps.Copy(after, writes)
		want := v
		switch {
		case name == "status" && v.AsText() == "closed":
			want = value.Text("resolved") // a write-only row reads as its twin
		case name == "urgent" && v.IsNull():
			want = value.Bool(false) // a row reads empty as false
		}
		if got, problem := b.Get(name, after); problem != nil || !got.Equal(normal(want)) && !got.Equal(v) {
			t.Fatalf("%s: wrote %s, reads %s (%v)", name, v, got, problem)
		}
		if again, problem := b.Put(name, v, after); problem != nil || len(again) != 0 {
			t.Fatalf("%s: written twice: %v %v", name, again, problem)
		}
		// locality: only declared fields change, and the input stays as it was.
		for local := range writes {
			if !slices.Contains(b.Locals(name), local) && (name != "status" || local != "resolution") {
				t.Fatalf("%s wrote %s", name, local)
			}
		}
		if !maps.EqualFunc(before, local, value.Value.Equal) {
			t.Fatal("Put or Get changed its input")
		}
	})
}

// normal states the canonical form on its own: LF line ends.
func normal(v value.Value) value.Value {
	if v.Kind() != value.KindText {
		return v
	}
	return value.Text(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(v.AsText()))
}

// TestCanonicalIsIdempotent: what was read once and shown again reads the same.
func TestCanonicalIsIdempotent(t *testing.T) {
	b := sample(t)
	rapid.Check(t, func(t *rapid.T) {
		text := drawText(t, "text")
		once, _ := b.Get("description", locals{"description": value.Text(text)})
		twice, _ := b.Get("description", locals{"description": once})
		if !once.Equal(twice) {
			t.Fatalf("%q: %s, then %s", text, once, twice)
		}
	})
}

// TestLinterAgreesWithNaiveTables draws tables and judges each by trying every
// value and label.
func TestLinterAgreesWithNaiveTables(t *testing.T) {
	p := samplePact(t)
	status, _ := p.Field("status")
	labels := []string{"A", "B", "C", "D"}
	rapid.Check(t, func(t *rapid.T) {
		rows, writeOnly := map[string][]string{}, map[string]bool{}
		var src strings.Builder
		src.WriteString("apiVersion: entente/v1\nkind: Binding\nmetadata: {name: b}\npact: ops-incidents\nsystem: {name: s}\nfields:\n  status:\n    field: s\n    map:\n      new: [A]\n")
		rows["new"] = []string{"A"}
		for _, v := range status.Values[1:] {
			cells := rapid.SliceOfNDistinct(rapid.SampledFrom(labels), 0, 2, rapid.ID).Draw(t, v)
			switch {
			case len(cells) == 0:
				continue
			case rapid.IntRange(0, 3).Draw(t, "write only") == 0:
				cells, writeOnly[v] = cells[:1], true
				fmt.Fprintf(&src, "      %s: {write: %s}\n", v, cells[0])
			default:
				fmt.Fprintf(&src, "      %s: [%s]\n", v, strings.Join(cells, ", "))
			}
			rows[v] = cells
		}
		stated := rapid.Bool().Draw(t, "unmapped")
		if stated {
			src.WriteString("    unmapped: hold\n")
		}
		readers := map[string]int{}
		for v, cells := range rows {
			if !writeOnly[v] {
				for _, c := range cells {
					readers[c]++
				}
			}
		}
		good := stated || len(rows) == len(status.Values)
		for v, cells := range rows {
			for _, c := range cells {
				good = good && readers[c] == 1
			}
			_ = v
		}
		b, findings := binding.Load("t.yaml", []byte(src.String()), p)
		if (len(findings) == 0) != good {
			t.Fatalf("%s\nlinter: %v, naive: %v", src.String(), findings, good)
		}
		if b == nil {
			return
		}
		for v, cells := range rows {
			w, problem := b.Put("status", value.Text(v), nil)
			if problem != nil || !w["s"].Equal(value.Text(cells[0])) {
				t.Fatalf("%s writes %v %v", v, w, problem)
			}
			for _, c := range cells {
				got, problem := b.Get("status", locals{"s": value.Text(c)})
				if problem != nil || !writeOnly[v] && got.AsText() != v {
					t.Fatalf("%s reads %s %v", c, got, problem)
				}
			}
		}
	})
}

// TestEveryKindMeetsEveryExpression: conversion is total both ways.
func TestEveryKindMeetsEveryExpression(t *testing.T) {
	b := load(t, "fields: {description: {field: a, read: 'string(it.value)', write: it}, title: {field: b, read: it.value, write: it}}")
	decimal, _ := value.ParseDecimal("12345678901234567890123.5")
	for _, v := range []value.Value{
		value.Null(), value.Bool(true), value.Int(-1), decimal, value.Text("x"), value.Bytes([]byte{0xff}),
		value.Millis(-1 << 60), value.Date(time.Unix(0, 0)), value.List(value.Null(), value.Map(locals{"k": value.Int(1)})), value.Map(nil),
	} {
		for _, f := range []crdt.Field{"title", "description"} {
			if got, p := b.Get(f, locals{"a": v, "b": v}); p != nil && p.Code == "" {
				t.Errorf("%s: %s %v", v, got, p)
			}
		}
	}
}

// TestExpressionsNeverRound: what a double cannot hold is held, not rounded.
func TestExpressionsNeverRound(t *testing.T) {
	b := load(t, "fields: {hours: {field: a, read: it.value, write: it}}")
	long, _ := value.ParseDecimal("0.1234567890123456789")
	short, _ := value.ParseDecimal("0.1234567")
	if _, p := b.Get("hours", locals{"a": long}); p == nil || p.Code != binding.CodeExpression {
		t.Errorf("long: %+v", p)
	}
	if _, p := b.Put("hours", long, locals{"a": short}); p == nil || p.Code != binding.CodeExpression {
		t.Errorf("long: %+v", p)
	}
	if got, p := b.Get("hours", locals{"a": short}); p != nil || !got.Equal(short) {
		t.Errorf("short: %s %+v", got, p)
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	b := sample(t)
	done := make(chan bool)
	for range 4 {
		go func() {
			defer func() { done <- true }()
			for range 50 {
				for _, f := range b.Fields() {
					if v, p := b.Get(f, shown()); p == nil && b.Receives(f) {
						if _, p := b.Put(f, v, nil); p != nil {
							t.Errorf("%s: %s", f, p)
						}
					}
				}
				if _, p := b.Enters(shown()); p != nil {
					t.Error(p)
				}
				b.RunTests()
			}
		}()
	}
	for range 4 {
		<-done
	}
}

const tables = `fields:
  title: a
  description: b
  status: {field: c, map: {new: New, in_progress: Open, on_hold: Hold, resolved: Done, closed: Shut}}
  priority: {fields: [d, e], map: {p1: [[1, 1]], p2: [[1, 2]], p3: [[2, 2]], p4: [[2, 3]]}}
  assignee: {field: f, match_by: email}
  urgent: {field: g, map: {true: Y, false: N}}
  due: h
  hours: i
  votes: j
  seen: k
`

const expressions = `match: it.c != "Gone"
fields:
  title: {field: a, read: it.value, write: it}
  description: {field: b, read: it.value, write: it}
  status: {field: c, read: '{"New": "new", "Open": "in_progress", "Hold": "on_hold", "Done": "resolved", "Shut": "closed"}[it.value]', write: '{"new": "New", "in_progress": "Open", "on_hold": "Hold", "resolved": "Done", "closed": "Shut"}[it]'}
  priority: {fields: [d, e], map: {p1: [[1, 1]], p2: [[1, 2]], p3: [[2, 2]], p4: [[2, 3]]}}
  assignee: {field: f, match_by: email}
  urgent: {field: g, read: it.value == "Y", write: 'it ? "Y" : "N"'}
  due: {field: h, read: it.value, write: it}
  hours: {field: i, read: it.value, write: it}
  votes: {field: j, read: it.value, write: it}
  seen: {field: k, read: it.value, write: it}
`

func benchmark(b *testing.B, fields string) {
	bound := load(b, fields)
	now := time.Unix(1_700_000_000, 0).UTC()
	hours, _ := value.ParseDecimal("1.5")
	record := func(title, status string, impact int64) locals {
		return locals{
			"a": value.Text(title), "b": value.Text(strings.Repeat("text ", 40)), "c": value.Text(status),
			"d": value.Int(impact), "e": value.Int(2), "f": value.Text("ann@example.com"), "g": value.Text("Y"),
			"h": value.Date(now), "i": hours, "j": value.Int(3), "k": value.Time(now),
		}
	}
	from, to := record("one", "New", 1), record("two", "Done", 2)
	b.ReportAllocs()
	for b.Loop() {
		for _, f := range bound.Fields() {
			v, p := bound.Get(f, from)
			if p != nil {
				b.Fatal(p)
			}
			if _, p := bound.Put(f, v, to); p != nil {
				b.Fatal(p)
			}
		}
	}
}

// One operation is Get and Put of each of ten fields of a record.
func BenchmarkRecordTables(b *testing.B)      { benchmark(b, tables) }
func BenchmarkRecordExpressions(b *testing.B) { benchmark(b, expressions) }

func BenchmarkLoad(b *testing.B) {
	src, err := os.ReadFile("testdata/acme.yaml")
	if err != nil {
		b.Fatal(err)
	}
	p := samplePact(b)
	for b.Loop() {
		if _, findings := binding.Load("acme.yaml", src, p); len(findings) > 0 {
			b.Fatal(findings)
		}
	}
}
