package binding

import (
	"strings"

	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// lint enforces the laws that need the whole binding.
func (l *loader) lint() {
	writers := map[string]*rule{}
	for _, name := range l.b.names {
		r := l.b.fields[name]
		if r.table != nil {
			l.total(r)
			l.unambiguous(r)
		}
		l.roundTrip(r)
		if r.direction == Send {
			continue
		}
		for _, local := range r.locals {
			if other, twice := writers[local]; twice {
				l.doc.Fail("binding.local_field", r.path, "let one of them travel one way: direction: send",
					"local field %q is also written by %s", local, other.field.Name)
			}
			writers[local] = r
		}
	}
}

// total is law 4: each value of the pact is mapped, or unmapped is stated.
func (l *loader) total(r *rule) {
	if _, stated := l.doc.Get(r.path + "/unmapped"); stated || r.direction == Send {
		return
	}
	var missing []string
	switch r.field.Type {
	case pact.TypeEnum:
		for _, v := range r.field.Values {
			if _, ok := r.table.write(value.Text(v)); !ok {
				missing = append(missing, v)
			}
		}
	case pact.TypeBool:
		for _, v := range []bool{false, true} {
			if _, ok := r.table.write(value.Bool(v)); !ok {
				missing = append(missing, value.Bool(v).String())
			}
		}
	default:
		missing = append(missing, "every other "+string(r.field.Type))
	}
	if len(missing) > 0 {
		l.doc.Fail("binding.partial_table", r.path+"/map", "add the rows, or state unmapped: hold or unmapped: keep",
			"no row for %s", strings.Join(missing, ", "))
	}
}

// unambiguous: no tuple is read by two rows, and what a write-only row writes is
// read by another.
func (l *loader) unambiguous(r *rule) {
	for _, line := range r.table.rows {
		for _, tuple := range line.tuples {
			v, ok := r.table.read(tuple)
			switch {
			case line.writeOnly && !ok:
				l.doc.Fail("binding.write_only", line.path, "write it as a plain row", "nothing reads %s", labels(tuple))
			case !line.writeOnly && !v.Equal(line.value):
				l.doc.Fail("binding.ambiguous", line.path, "mark one of the rows {write: ...}",
					"%s already reads as %s", labels(tuple), labels([]value.Value{v}))
			}
		}
	}
}

// roundTrip is law 1: read(write(v)) == v, for every row of a table and for
// samples of an expression.
func (l *loader) roundTrip(r *rule) {
	if r.read == nil || r.write == nil {
		return // tables by law 4 and unambiguous; plain conversions by construction
	}
	for _, v := range samples(r.field) {
		if r.check.Check(v) != nil {
			continue
		}
		out, p := r.encode(v)
		if p != nil {
			l.doc.Fail("binding.round_trip", r.path+"/write", "", "write fails on the sample %s: %s", labels([]value.Value{v}), p.Message)
			return
		}
		got, p := r.decode(out)
		if p != nil {
			l.doc.Fail("binding.round_trip", r.path+"/read", "", "read fails on what write makes of the sample %s: %s", labels([]value.Value{v}), p.Message)
			return
		}
		if !got.Equal(v) {
			l.doc.Fail("binding.round_trip", r.path+"/read", "let read undo write for every value that the pact allows",
				"read(write(v)) is %s for the sample v = %s", labels([]value.Value{got}), labels([]value.Value{v}))
			return
		}
	}
}
