package state

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// ErrPageGone is what a Source answers for a page that it had once: the page was
// rewritten or removed since the asker learned its name.
var ErrPageGone = errors.New("page is gone")

// Source reads the pages that a Machine has given away: a store. It may be called
// by many goroutines at once. Apply never calls it: see Prepare.
type Source interface {
	// Page returns the bytes of a page as they were at the checkpoint of that
	// index, or ErrPageGone. They must not change afterwards.
	Page(name PageName, index uint64) ([]byte, error)
	// Hold keeps the pages of that checkpoint readable until it is released.
	Hold(index uint64) (release func())
	// Kept calls visit with messages (HistoryVersion of storage.proto) of a register's
	// versions from an offset on, ascending, as of the checkpoint of that index, until
	// visit says that it is enough; or it answers ErrPageGone. A message is valid
	// until visit returns.
	Kept(key *crdt.Key, from crdt.Offset, index uint64, visit func(message []byte) (more bool, err error)) error
	// AllKept is Kept for every register.
	AllKept(index uint64, visit func(message []byte) error) error
}

// PageName names one page of a hub.
type PageName struct {
	Pact  crdt.Pact
	First crdt.Offset // that the page began with
}

// view is a page as it was at one moment.
type view struct {
	first crdt.Offset
	data  []byte // nil: the source has it
	dead  []uint64
	live  int
}

// views returns pages that hold the versions behind after: all of them, or more
// than n.
func (f *feed) views(after crdt.Offset, n int) []view {
	i, _ := slices.BinarySearchFunc(f.order, after+1, func(o placed, at crdt.Offset) int { return cmp.Compare(o.first, at) })
	i = max(i-1, 0) // the page that begins before may reach beyond
	var out []view
	for ; i < len(f.order) && n >= 0; i++ {
		g := f.pages[f.order[i].number]
		if g == nil {
			continue
		}
		if g.first > after {
			n -= g.live
		}
		out = append(out, view{first: g.first, data: g.data, dead: slices.Clone(g.dead), live: g.live})
	}
	return out
}

// reader reads versions outside of the lock.
type reader struct {
	source Source
	index  uint64 // of the checkpoint whose pages the views name
	pact   crdt.Pact
}

// reader returns one for a pact's views. Caller holds mu.
func (m *Machine) reader(pact crdt.Pact) reader { return reader{m.source, m.saved, pact} }

// bytes returns the bytes of a page.
func (r *reader) bytes(first crdt.Offset, data []byte) ([]byte, error) {
	if data != nil {
		return data, nil
	}
	if r.source == nil {
		return nil, fmt.Errorf("%w: page %d of pact %s has no source", ErrDamaged, first, r.pact)
	}
	return r.source.Page(PageName{r.pact, first}, r.index)
}

// each calls visit with every version of v that lives and stands behind after,
// until visit says that it is enough.
func (r *reader) each(v *view, after crdt.Offset, visit func(e *entry) (more bool, err error)) (more bool, err error) {
	data, err := r.bytes(v.first, v.data)
	if err != nil {
		return false, err
	}
	var e entry // one for all: visit makes it escape
	for i := 0; len(data) > 0; i++ {
		var rest []byte
		if e, rest, err = nextEntry(data); err != nil {
			return false, err
		}
		if e.offset > after && !isDead(v.dead, i) {
			if more, err := visit(&e); !more || err != nil {
				return false, err
			}
		}
		data = rest
	}
	return true, nil
}

// read returns what stands in views behind after, within the limits, and where
// the reader then is: at head, if that was all.
func (r *reader) read(views []view, after, head crdt.Offset, entriesMax, bytesMax int) ([]Version, crdt.Offset, error) {
	room := 0
	for i := range views {
		room += views[i].live
	}
	out := make([]Version, 0, max(min(entriesMax, room), 1))
	bytes, cursor := 0, head
	visit := func(e *entry) (bool, error) {
		bytes += len(e.op)
		if len(out) == cap(out) || len(out) > 0 && bytes > bytesMax {
			cursor = out[len(out)-1].Offset
			return false, nil
		}
		out = append(out, Version{Op: e.op, Offset: e.offset, Birth: e.birth})
		return true, nil
	}
	for i := range views {
		more, err := r.each(&views[i], after, visit)
		if err != nil {
			return nil, 0, err
		}
		if !more {
			break
		}
	}
	return out, cursor, nil
}
