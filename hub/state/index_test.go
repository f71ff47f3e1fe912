package state

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
)

// The index and its registers are a map of maps, however many there are.
func TestRecordsAreAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r records
		if rapid.Bool().Draw(t, "reserved") {
			r.found.reserve(rapid.IntRange(0, 5000).Draw(t, "reserve"))
		}
		type name struct {
			typ uint32
			id  crdt.RecordID
		}
		want := map[name]map[uint32]uint32{}
		spread := rapid.IntRange(1, 4000).Draw(t, "records")
		fields := rapid.IntRange(1, 40).Draw(t, "fields")
		next := uint32(1)
		seed := rapid.Uint32().Draw(t, "seed")
		for range rapid.IntRange(1, 6000).Draw(t, "registers") {
			seed = seed*1664525 + 1013904223
			n := name{typ: 1 + seed>>30, id: crdt.RecordID{1, byte(seed >> 8), byte(seed>>16) % byte(1+spread/256)}}
			field := 1 + (seed>>3)%uint32(fields)
			h := hashRecord(n.typ, n.id)
			rec := r.find(h, n.typ, n.id)
			if (rec != 0) != (want[n] != nil) {
				t.Fatalf("record %v is found: %v", n, rec != 0)
			}
			if rec == 0 {
				rec = r.add(h, n.typ, n.id)
				want[n] = map[uint32]uint32{}
			}
			at := r.get(r.rows.at(rec), field)
			if at != want[n][field] {
				t.Fatalf("register %d of %v is row %d, want %d", field, n, at, want[n][field])
			}
			if at == 0 {
				r.put(r.rows.at(rec), field, next)
				want[n][field] = next
				next++
			}
		}
		for n, registers := range want {
			rec := r.rows.at(r.find(hashRecord(n.typ, n.id), n.typ, n.id))
			all := r.registers(rec)
			if rec.len() != len(registers) || len(all) != len(registers) {
				t.Fatalf("record %v has %d registers, want %d", n, len(all), len(registers))
			}
			for i, ref := range all {
				if registers[ref.field] != ref.row || i > 0 && all[i-1].field >= ref.field {
					t.Fatalf("record %v: %v, want %v", n, all, registers)
				}
			}
		}
		if r.rows.len() != len(want) || r.found.count != len(want) {
			t.Fatalf("%d records, %d in the index, want %d", r.rows.len(), r.found.count, len(want))
		}
	})
}

func TestNamesAreASet(t *testing.T) {
	var n names
	const count = 20_000
	for range 2 {
		for i := range count {
			name := fmt.Sprintf("labels/%0*d", i%150, i)
			id := n.intern(name)
			if n.id(name) != id || string(n.text(id)) != name || id != uint32(i+1) {
				t.Fatalf("%s is number %d, %d, text %q", name, id, n.id(name), n.text(id))
			}
		}
	}
	if n.id("") != 0 || n.id("labels") != 0 {
		t.Fatal("a name that was never given is known")
	}
}

// Every class holds what classOf puts into it, and not much more.
func TestClasses(t *testing.T) {
	for n := 2; n < 100_000; n++ {
		c := classOf(n)
		if classLen(c) < n || c > 0 && classLen(c-1) >= n || 2*classLen(c) > 3*n {
			t.Fatalf("%d registers are in class %d of %d", n, c, classLen(c))
		}
	}
}

// Any bytes are a page or an error; a page that is read is written alike.
func FuzzPage(f *testing.F) {
	var page []byte
	for i := range 3 {
		page = appendEntry(page, small(crdt.Offset(i+1)))
	}
	f.Add(page)
	f.Add(page[:len(page)-1])
	f.Fuzz(func(t *testing.T, page []byte) {
		for rest := page; len(rest) > 0; {
			e, after, err := nextEntry(rest)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("untyped error: %v", err)
				}
				return
			}
			again, left, err := nextEntry(appendEntry(nil, &e))
			if err != nil || len(left) > 0 || string(again.op) != string(e.op) || again.offset != e.offset || again.birth != e.birth {
				t.Fatalf("%+v comes back as %+v, %v", e, again, err)
			}
			rest = after
		}
	})
}
