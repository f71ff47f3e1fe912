package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// change is one change of names that is not durable yet: a name goes, a name
// comes, or both at once.
type change struct {
	removed, added place
	id             uint64 // that added names
}

// place is a name in a directory; the zero place is none.
type place struct {
	dir  uint64
	name string
}

func (c *change) touches(dir uint64) bool { return c.removed.dir == dir || c.added.dir == dir }

// syncDir makes the changes of one directory durable, and those before them that
// they build on.
func (f *FS) syncDir(dir uint64) {
	needed := map[place]bool{}
	keep := make([]bool, len(f.journal))
	for i := len(f.journal) - 1; i >= 0; i-- {
		c := &f.journal[i]
		if c.touches(dir) || needed[c.removed] || needed[c.added] {
			keep[i] = true
			for _, p := range []place{c.removed, c.added} {
				if p.dir != 0 {
					needed[p] = true
				}
			}
		}
	}
	var rest []change
	for i := range f.journal {
		if keep[i] {
			f.apply(&f.journal[i])
		} else {
			rest = append(rest, f.journal[i])
		}
	}
	f.journal = rest
}

// apply makes one change of names durable.
func (f *FS) apply(c *change) {
	if d := f.inodes[c.removed.dir]; d != nil {
		delete(d.syncedEntries, c.removed.name)
	}
	if d := f.inodes[c.added.dir]; d != nil {
		d.syncedEntries[c.added.name] = c.id
	}
}

// Tear says what becomes of what was not synced.
type Tear int

// Ways to lose power.
const (
	TearNone   Tear = iota // all of it is gone
	TearRandom             // any sectors, and any number of the first changes of names, were written after all
)

// PowerOff forgets what was not synced. The disk must not be mounted: the kernel
// may hold bytes that it has not written yet.
func (f *FS) PowerOff(tear Tear, draw *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if tear == TearRandom {
		n := draw.IntN(len(f.journal) + 1)
		for i := range f.journal[:n] {
			f.apply(&f.journal[i])
		}
		for _, id := range slices.Sorted(maps.Keys(f.inodes)) {
			f.inodes[id].tear(draw)
		}
	}
	f.journal = nil
	for _, n := range f.inodes {
		n.revert()
	}
	f.collect()
}

// tear lets some sectors of what was not synced reach the disk.
func (n *inode) tear(draw *rand.Rand) {
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		if draw.IntN(2) == 0 {
			continue
		}
		var torn, written page
		if old := n.synced[i]; old != nil {
			torn = *old
		}
		if p := n.pages[i]; p != nil {
			written = *p
		}
		for at := 0; at < pageBytes; at += sectorBytes {
			if draw.IntN(4) > 0 {
				copy(torn[at:at+sectorBytes], written[at:])
			}
		}
		n.synced[i] = &torn
		n.syncedSize = max(n.syncedSize, min(n.size, (i+1)*pageBytes))
	}
	if n.size < n.syncedSize && draw.IntN(2) == 0 {
		n.syncedSize = n.size // the cut was written
		for i := range n.synced {
			if i*pageBytes >= n.size {
				delete(n.synced, i)
			}
		}
	}
}

// collect forgets inodes that nothing names any more.
func (f *FS) collect() {
	named := map[uint64]bool{rootID: true}
	for _, n := range f.inodes {
		for _, entries := range []map[string]uint64{n.entries, n.syncedEntries} {
			for _, id := range entries {
				named[id] = true
			}
		}
	}
	for i := range f.journal {
		named[f.journal[i].id] = true
	}
	for id, n := range f.inodes {
		if !named[id] && n.lookups == 0 {
			delete(f.inodes, id)
		}
	}
}
