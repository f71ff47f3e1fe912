package disk

import (
	"maps"
	"time"
)

// pageBytes is the unit in which content is kept, sectorBytes the one in which a
// disk keeps its word.
const (
	pageBytes   = 4096
	sectorBytes = 512
)

type page [pageBytes]byte

// inode is a file or a directory, as processes see it and as stable storage
// holds it. Pages are shared between the two until one is written again.
type inode struct {
	id      uint64
	isDir   bool
	mode    uint32
	changed time.Time

	size, syncedSize int64
	pages, synced    map[int64]*page
	dirty            map[int64]bool // pages that differ from synced
	lookups          uint64         // the kernel's references

	entries, syncedEntries map[string]uint64
}

func newInode(id uint64, isDir bool, mode uint32) *inode {
	n := &inode{id: id, isDir: isDir, mode: mode, changed: time.Now()}
	if isDir {
		n.entries, n.syncedEntries = map[string]uint64{}, map[string]uint64{}
	} else {
		n.pages, n.synced, n.dirty = map[int64]*page{}, map[int64]*page{}, map[int64]bool{}
	}
	return n
}

// read fills b from off and returns how much of it lies within the file.
func (n *inode) read(off int64, b []byte) int {
	if off >= n.size {
		return 0
	}
	b = b[:min(int64(len(b)), n.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		within := at % pageBytes
		part := b[done:min(len(b), done+int(pageBytes-within))]
		if p := n.pages[at/pageBytes]; p != nil {
			copy(part, p[within:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(b)
}

// missing counts the pages that writing there would take from the disk.
func (n *inode) missing(off, size int64) (count int64) {
	for i := off / pageBytes; i*pageBytes < off+size; i++ {
		if n.pages[i] == nil {
			count++
		}
	}
	return count
}

// write changes the file's content as processes see it.
func (n *inode) write(off int64, b []byte) {
	for done := 0; done < len(b); {
		at := off + int64(done)
		done += copy(n.touch(at / pageBytes)[at%pageBytes:], b[done:])
	}
	n.size = max(n.size, off+int64(len(b)))
	n.changed = time.Now()
}

// touch returns a page for writing, and notes that it is not durable.
func (n *inode) touch(i int64) *page {
	p := n.pages[i]
	if p == nil || p == n.synced[i] {
		fresh := new(page)
		if p != nil {
			*fresh = *p
		}
		p = fresh
		n.pages[i] = p
	}
	n.dirty[i] = true
	return p
}

// truncate cuts or extends the file.
func (n *inode) truncate(size int64) {
	if size < n.size {
		for i := range n.pages {
			if i*pageBytes >= size {
				delete(n.pages, i)
				n.dirty[i] = true
			}
		}
		if within := size % pageBytes; within != 0 && n.pages[size/pageBytes] != nil {
			clear(n.touch(size / pageBytes)[within:])
		}
	}
	n.size = size
	n.changed = time.Now()
}

// sync makes the content durable.
func (n *inode) sync() {
	for i := range n.dirty {
		if p := n.pages[i]; p != nil {
			n.synced[i] = p
		} else {
			delete(n.synced, i)
		}
	}
	clear(n.dirty)
	n.syncedSize = n.size
}

// drop is what a failed sync does: nothing became durable, and nobody remembers
// that it should.
func (n *inode) drop() { clear(n.dirty) }

// revert makes what stable storage holds the content.
func (n *inode) revert() {
	if n.isDir {
		n.entries = maps.Clone(n.syncedEntries)
		return
	}
	n.pages, n.size = maps.Clone(n.synced), n.syncedSize
	clear(n.dirty)
	n.lookups = 0
}
