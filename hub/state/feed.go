package state

import (
	"math"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// feed is every version in the order of offsets, in pages.
type feed struct {
	pages []*page  // by number; nil: the number is free. Number 0 names none
	order []placed // pages, ascending; those that are gone are swept later
	holes int      // of order
	free  []uint32 // numbers that are not in order
	tail  uint32   // page that is appended to, 0 if there is none
	busy  bool     // a page was filled: the next one will be

	// What the next Changes shall take: pages that were appended to, those that
	// shall lose their dead versions, and names of those that are no more.
	fresh   []uint32
	thin    []uint32
	emptied []crdt.Offset
}

// placed is one page in the feed's order.
type placed struct {
	first  crdt.Offset
	number uint32
}

// sweepMin keeps small feeds from being swept again and again.
const sweepMin = 64

// push appends a version, whose offset is above every other, and returns the
// number of its page, and what it appended, which nothing changes any more.
func (f *feed) push(e *entry) (uint32, []byte) {
	g := f.appendable(e.offset)
	g.reach(e.offset)
	n := f.tail
	if !g.fresh {
		g.fresh = true
		f.fresh = append(f.fresh, n)
	}
	before := len(g.data)
	g.data = appendEntry(g.data, e)
	pushed := slices.Clip(g.data[before:])
	if len(g.data) >= pageFull {
		f.seal()
		f.busy = true
	}
	return n, pushed
}

// appendable returns the page that a version at offset goes into.
func (f *feed) appendable(offset crdt.Offset) *page {
	if f.tail != 0 {
		g := f.pages[f.tail]
		if offset-g.first <= math.MaxUint32 {
			return g
		}
		f.seal()
	}
	g := &page{first: offset}
	if f.busy {
		g.data = make([]byte, 0, pageBytes)
	}
	f.tail = f.place(g)
	return g
}

// place puts a page behind every other and returns its number.
func (f *feed) place(g *page) uint32 {
	n := f.number()
	f.pages[n] = g
	f.order = append(f.order, placed{g.first, n})
	return n
}

func (f *feed) number() uint32 {
	if n := len(f.free); n > 0 {
		number := f.free[n-1]
		f.free = f.free[:n-1]
		return number
	}
	if len(f.pages) == 0 {
		f.pages = append(f.pages, nil)
	}
	f.pages = append(f.pages, nil)
	return uint32(len(f.pages) - 1)
}

// seal ends the tail.
func (f *feed) seal() {
	if f.tail == 0 {
		return
	}
	g := f.pages[f.tail]
	g.sealed = true
	n := f.tail
	f.tail = 0
	f.tidy(n, g)
}

// drop notes that the version at offset, which is in page number n, was
// overwritten.
func (f *feed) drop(n uint32, offset crdt.Offset) {
	g := f.pages[n]
	g.kill(offset)
	if g.sealed {
		f.tidy(n, g)
	}
}

// tidy gives back a sealed page that is empty, and one that is half dead loses
// its dead: here, as long as no Changes have it, and else by way of the next.
func (f *feed) tidy(n uint32, g *page) {
	switch {
	case g.live == 0:
		if g.taken {
			f.emptied = append(f.emptied, g.first)
		}
		f.pages[n] = nil
		f.holes++
		f.sweep()
	case 2*g.live > g.count, g.thin:
	case g.taken:
		g.thin = true
		f.thin = append(f.thin, n)
	default:
		if t, err := thin(g.data, g.first, g.dead, g.live); err == nil { // these bytes were made here
			g.adopt(&t)
		}
	}
}

// sweep drops the pages that are gone from the order when they are more than half.
func (f *feed) sweep() {
	if f.holes <= sweepMin || f.holes <= len(f.order)/2 {
		return
	}
	f.order = slices.DeleteFunc(f.order, func(o placed) bool {
		if f.pages[o.number] != nil {
			return false
		}
		f.free = append(f.free, o.number)
		return true
	})
	f.holes = 0
	f.fresh = slices.DeleteFunc(f.fresh, func(n uint32) bool { return f.pages[n] == nil })
	f.thin = slices.DeleteFunc(f.thin, func(n uint32) bool { return f.pages[n] == nil })
}
