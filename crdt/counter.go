package crdt

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/entente-sync/entente/crdt/value"
)

// A counter is one register per author, <field>/<author>, that holds the sum of
// everything the author moved, and <field>/~start, which a stocktake writes.
// Nobody writes another author's share, so movements never conflict; only
// two stocktakes do. Amounts are integers of the field's smallest unit.

// ErrOverflow means that an amount does not fit in 64 signed bits.
var ErrOverflow = errors.New("counter overflows")

const startName = "~start"

// Start is what a stocktake found, and the shares that it had seen.
// The zero Start is nothing, found before any movement.
type Start struct {
	Found int64
	Seen  map[Author]int64
}

// Counter is a counter's registers, read. The zero Counter is 0.
type Counter struct {
	Start Start
	Moved map[Author]int64 // cumulative movement by author
}

// StartField names the stocktake register of a counter.
func StartField(counter Field) Field { return counter + "/" + startName }

// ShareField names the register of one author's movements.
func ShareField(counter Field, a Author) Field { return counter + "/" + Field(a.String()) }

// StartOf returns the counter whose stocktake register f is.
func (f Field) StartOf() (counter Field, ok bool) {
	name, ok := strings.CutSuffix(string(f), "/"+startName)
	return Field(name), ok && name != "" && !f.Reserved()
}

// ShareOf returns the counter and the author whose share f is.
func (f Field) ShareOf() (counter Field, a Author, ok bool) {
	name, rest, ok := strings.Cut(string(f), "/")
	if !ok || name == "" || f.Reserved() {
		return "", Author{}, false
	}
	a, err := ParseAuthor(rest)
	if err != nil || a.String() != rest {
		return "", Author{}, false
	}
	return Field(name), a, true
}

// Total returns Start.Found + Σ(moved − seen at the start). An author that the
// stocktake had seen and whose share has not arrived here counts as unmoved
// since. Errors: ErrOverflow.
func (c *Counter) Total() (int64, error) {
	var sum wide
	sum.add(c.Start.Found)
	for a, moved := range c.Moved {
		sum.add(moved)
		sum.subtract(c.Start.Seen[a])
	}
	return sum.narrow()
}

// Stocktake returns the Start that makes the total found, whatever has moved so
// far; movements that are unseen here count on top of it.
func (c *Counter) Stocktake(found int64) Start {
	s := Start{Found: found}
	for a, seen := range c.Start.Seen { // shares that have not arrived here
		s.see(a, seen)
	}
	for a, moved := range c.Moved {
		s.see(a, moved)
	}
	return s
}

// Move returns the new cumulative share of author after it moved by delta.
// Errors: ErrOverflow.
func (c *Counter) Move(author Author, delta int64) (int64, error) {
	var sum wide
	sum.add(c.Moved[author])
	sum.add(delta)
	return sum.narrow()
}

func (s *Start) see(a Author, cumulative int64) {
	if cumulative == 0 { // as good as unseen; left out, so that s has one encoding
		delete(s.Seen, a)
		return
	}
	if s.Seen == nil {
		s.Seen = make(map[Author]int64)
	}
	s.Seen[a] = cumulative
}

// ShareValue reads an author's share.
func ShareValue(v value.Value) (int64, error) {
	if v.Kind() != value.KindInt {
		return 0, fmt.Errorf("counter share: %w: %s", ErrMalformed, v.Kind())
	}
	return v.AsInt(), nil
}

// Value encodes s as {found: int, seen: {author: int}}.
func (s Start) Value() value.Value {
	seen := make(map[string]value.Value, len(s.Seen))
	for a, n := range s.Seen {
		if n != 0 {
			seen[a.String()] = value.Int(n)
		}
	}
	return value.Map(map[string]value.Value{"found": value.Int(s.Found), "seen": value.Map(seen)})
}

// DecodeStart reads what Start.Value wrote and refuses everything else
// with ErrMalformed.
func DecodeStart(v value.Value) (Start, error) {
	found, _ := v.Get("found")
	seen, _ := v.Get("seen")
	if v.Len() != 2 || found.Kind() != value.KindInt || seen.Kind() != value.KindMap {
		return Start{}, fmt.Errorf("stocktake: %w: want found and seen", ErrMalformed)
	}
	s := Start{Found: found.AsInt()}
	for _, name := range seen.Keys() {
		a, err := ParseAuthor(name)
		n, _ := seen.Get(name)
		if err != nil || a.String() != name || n.Kind() != value.KindInt || n.AsInt() == 0 {
			return Start{}, fmt.Errorf("stocktake: %w: share of an author", ErrMalformed)
		}
		s.see(a, n.AsInt())
	}
	return s, nil
}

// wide is a signed sum of 128 bits, so that no order of adding overflows.
type wide struct {
	low  uint64
	high int64
}

func (w *wide) add(n int64) {
	low, carry := bits.Add64(w.low, uint64(n), 0)
	w.low, w.high = low, w.high+n>>63+int64(carry)
}

func (w *wide) subtract(n int64) {
	low, borrow := bits.Sub64(w.low, uint64(n), 0)
	w.low, w.high = low, w.high-n>>63-int64(borrow)
}

func (w *wide) narrow() (int64, error) {
	n := int64(w.low)
	if w.high != n>>63 {
		return 0, ErrOverflow
	}
	return n, nil
}
