package state

import (
	"hash/maphash"
	"math/bits"

	"github.com/entente-sync/entente/crdt"
)

// row is what the conflict rule, the digests and the feed need to know of one
// register's newest version. The version itself stands in a page.
type row struct {
	digest crdt.Digest
	stamp  crdt.Stamp
	seq    crdt.Seq
	offset crdt.Offset
	birth  crdt.Position
	author uint32 // number of pactState.authors; the upper bit is a flag
	page   uint32 // number of the page that holds the version
}

const (
	// rowPred: the version was made on an op that had not been answered when the
	// version was put, so that op may yet come, and must then be known as old. An op
	// that was answered never meets the rule again.
	rowPred      = 1 << 31
	authorNumber = rowPred - 1
)

// record is the registers of one record. Those of a record with one register
// need no block.
type record struct {
	id    crdt.RecordID
	typ   uint32 // of pactState.types
	field uint32 // of its only register
	refs  uint32 // its only register's row, or the block of refs
	count uint32 // of registers; the upper bits are flags
}

// ref is one register of a record.
type ref struct {
	field uint32 // of pactState.fields
	row   uint32
}

const (
	recordDeleted   = 1 << 31 // the current ~life is a delete
	recordConflicts = 1 << 30 // pactState.conflicts has some
	recordCount     = recordConflicts - 1
)

func (r *record) len() int      { return int(r.count & recordCount) }
func (r *record) deleted() bool { return r.count&recordDeleted != 0 }

func (r *record) setDeleted(deleted bool) {
	r.count &^= recordDeleted
	if deleted {
		r.count |= recordDeleted
	}
}

// index of records, and the registers of each.
type records struct {
	rows    slab[record]
	found   index
	classes [2 * 28]class
}

// class is blocks of refs of one length, which are handed out again.
type class struct {
	chunks [][]ref
	free   []uint32
	used   uint32
}

func hashRecord(typ uint32, id crdt.RecordID) uint64 {
	return maphash.Bytes(seed, id[:]) ^ uint64(typ)*0x9e3779b97f4a7c15
}

// find returns a record's number, 0 if there is none.
func (r *records) find(h uint64, typ uint32, id crdt.RecordID) uint32 {
	p := r.found.find(h)
	for n := p.next(); n != 0; n = p.next() {
		if rec := r.rows.at(n); rec.id == id && rec.typ == typ {
			return n
		}
	}
	return 0
}

// add makes a record, which is not there.
func (r *records) add(h uint64, typ uint32, id crdt.RecordID) uint32 {
	n, rec := r.rows.add()
	rec.id, rec.typ = id, typ
	r.found.add(h, n, func(n uint32) uint64 {
		rec := r.rows.at(n)
		return hashRecord(rec.typ, rec.id)
	})
	return n
}

// registers returns the registers of a record, sorted by field, until the next
// one is added to any record.
func (r *records) registers(rec *record) []ref {
	switch n := rec.len(); n {
	case 0:
		return nil
	case 1:
		return []ref{{rec.field, rec.refs}}
	default:
		return r.block(classOf(n), rec.refs)[:n]
	}
}

// get returns the row of a register, 0 if there is none.
func (r *records) get(rec *record, field uint32) uint32 {
	n := rec.len()
	if n <= 1 {
		if n == 1 && rec.field == field {
			return rec.refs
		}
		return 0
	}
	block := r.block(classOf(n), rec.refs)[:n]
	if i := position(block, field); i < n && block[i].field == field {
		return block[i].row
	}
	return 0
}

// put adds a register, which is not there.
func (r *records) put(rec *record, field, row uint32) {
	n := rec.len()
	rec.count++
	if n == 0 {
		rec.field, rec.refs = field, row
		return
	}
	block := r.grow(rec, n)
	i := position(block[:n], field)
	copy(block[i+1:], block[i:n])
	block[i] = ref{field, row}
}

// grow returns the block of a record that had n registers and gets one more.
func (r *records) grow(rec *record, n int) []ref {
	next := classOf(n + 1)
	if n == 1 {
		id, block := r.take(next)
		block[0] = ref{rec.field, rec.refs}
		rec.refs, rec.field = id, 0
		return block
	}
	if was := classOf(n); was != next {
		old := rec.refs
		id, block := r.take(next)
		copy(block, r.block(was, old)[:n])
		r.classes[was].free = append(r.classes[was].free, old)
		rec.refs = id
		return block
	}
	return r.block(next, rec.refs)
}

// position returns where field stands or belongs.
func position(block []ref, field uint32) int {
	lo, hi := 0, len(block)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if block[mid].field < field {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// Classes have lengths 2, 3, 4, 6, 8, 12, 16 and so on.
func classLen(c int) int { return (2 + c&1) << (c >> 1) }

// classOf returns the smallest class with room for n, which is 2 or more.
func classOf(n int) int {
	c := 2 * (bits.Len(uint(n)) - 2)
	for classLen(c) < n {
		c++
	}
	return c
}

func blocksPerChunk(c int) uint32 { return uint32(max(1, 512/classLen(c))) }

func (r *records) block(c int, id uint32) []ref {
	size, per := classLen(c), blocksPerChunk(c)
	at := int(id%per) * size
	return r.classes[c].chunks[id/per][at : at+size]
}

func (r *records) take(c int) (uint32, []ref) {
	k := &r.classes[c]
	if n := len(k.free); n > 0 {
		id := k.free[n-1]
		k.free = k.free[:n-1]
		return id, r.block(c, id)
	}
	per := blocksPerChunk(c)
	if int(k.used/per) == len(k.chunks) {
		k.chunks = append(k.chunks, make([]ref, int(per)*classLen(c)))
	}
	id := k.used
	k.used++
	return id, r.block(c, id)
}
