package state

import (
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// feed is every register's newest version in the order of offsets. A version
// that is overwritten leaves a hole; holes are swept when they outnumber what
// is alive, so that a removal costs a binary search and, amortised, one move.
type feed struct {
	slots []slot // ascending by offset
	holes int
}

type slot struct {
	offset crdt.Offset
	stored *Stored // nil in a hole
}

// sweepMin keeps small feeds from being swept again and again.
const sweepMin = 64

// push appends s, whose offset is above every other.
func (f *feed) push(s *Stored) { f.slots = append(f.slots, slot{s.Offset, s}) }

// drop makes a hole at offset, which is in the feed.
func (f *feed) drop(offset crdt.Offset) {
	i := f.search(offset)
	f.slots[i].stored = nil
	f.holes++
	if f.holes > sweepMin && f.holes > len(f.slots)/2 {
		f.slots = slices.DeleteFunc(f.slots, func(s slot) bool { return s.stored == nil })
		f.holes = 0
	}
}

// search returns the index of the first slot at or above offset.
func (f *feed) search(offset crdt.Offset) int {
	lo, hi := 0, len(f.slots)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if f.slots[mid].offset < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (f *feed) len() int { return len(f.slots) - f.holes }

// read returns what stands behind after, and where the reader then is.
func (f *feed) read(after, head crdt.Offset, entriesMax, bytesMax int) ([]*Stored, crdt.Offset) {
	i := f.search(after + 1)
	entries := make([]*Stored, 0, min(max(entriesMax, 1), len(f.slots)-i))
	bytes := 0
	for ; i < len(f.slots); i++ {
		s := f.slots[i].stored
		if s == nil {
			continue
		}
		bytes += len(s.Register.Op.Value)
		if n := len(entries); n > 0 && (n >= entriesMax || bytes > bytesMax) {
			return entries, entries[n-1].Offset
		}
		entries = append(entries, s)
	}
	return entries, head
}

// all returns every version in order, in a slice of its own.
func (f *feed) all() []*Stored {
	out := make([]*Stored, 0, f.len())
	for _, s := range f.slots {
		if s.stored != nil {
			out = append(out, s.stored)
		}
	}
	return out
}
