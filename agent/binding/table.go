package binding

import (
	"slices"

	"github.com/entente-sync/entente/crdt/value"
)

// table is a finite relation between values of the pact and tuples of local
// values: many tuples may read as one value, each value writes one tuple.
type table struct {
	rows   []row
	reads  map[string]value.Value   // tuple key → value
	writes map[string][]value.Value // value key → tuple
}

// row is one line of the file: a value of the pact and its tuples.
type row struct {
	value  value.Value
	tuples [][]value.Value // the first is written; all are read, unless writeOnly
	// writeOnly: what is written reads as another row's value.
	writeOnly bool
	path      string
}

// newTable indexes rows. Of two rows that read the same tuple the first wins;
// the linter reports the other.
func newTable(rows []row) *table {
	t := &table{rows: rows, reads: map[string]value.Value{}, writes: map[string][]value.Value{}}
	for _, r := range rows {
		t.writes[string(r.value.Canonical())] = r.tuples[0]
		if r.writeOnly {
			continue
		}
		for _, tuple := range r.tuples {
			if key := string(appendTuple(nil, tuple)); !t.has(key) {
				t.reads[key] = r.value
			}
		}
	}
	return t
}

func (t *table) has(key string) bool { _, ok := t.reads[key]; return ok }

// read returns the value that the tuple stands for.
func (t *table) read(tuple []value.Value) (value.Value, bool) {
	var room [128]byte
	v, ok := t.reads[string(appendTuple(room[:0], tuple))]
	return v, ok
}

// write returns the tuple of v; it belongs to the table.
func (t *table) write(v value.Value) ([]value.Value, bool) {
	var room [128]byte
	tuple, ok := t.writes[string(v.Append(room[:0]))]
	return slices.Clip(tuple), ok
}

// appendTuple appends a key under which tuples are equal if their values are
// the same to this package.
func appendTuple(b []byte, tuple []value.Value) []byte {
	for _, v := range tuple {
		v = canonical(v)
		if n, ok := whole(v); ok {
			v = n
		}
		b = v.Append(b)
	}
	return b
}

// mentions reports whether a row that is read has the label in column i.
func (t *table) mentions(i int, label string) bool {
	return slices.ContainsFunc(t.rows, func(r row) bool {
		return !r.writeOnly && slices.ContainsFunc(r.tuples, func(tuple []value.Value) bool {
			return labelText(tuple[i]) == label
		})
	})
}
