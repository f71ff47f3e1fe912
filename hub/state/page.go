package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// A page is a run of versions in the order of their offsets: message RegisterPage
// of storage.proto, which is nothing but StoredRegister messages one behind the
// other. Pages are what a checkpoint writes and what a feed reads. A version that
// is overwritten stays in its page, dead, until the page is rewritten.
const (
	pageBytes     = 16 << 10 // a page has no more, unless its last version is large
	pageEntryTag  = 1<<3 | 2 // of RegisterPage.registers
	tagOp         = 1<<3 | 2 // of StoredRegister
	tagOffset     = 2 << 3   // a varint, as is the last
	tagBirthEpoch = 3<<3 | 1
	tagBirthAt    = 4 << 3
)

// pageFull is how many bytes end a page; tests make it smaller.
var pageFull = pageBytes - 512

// entry is one version in a page.
type entry struct {
	message []byte // StoredRegister; aliases the page
	op      []byte // canonical bytes; aliases the page
	offset  crdt.Offset
	birth   crdt.Position
}

// appendEntry appends e to a page.
func appendEntry(b []byte, e *entry) []byte {
	size := 1 + uvarintLen(uint64(len(e.op))) + len(e.op) + 1 + uvarintLen(uint64(e.offset))
	if e.birth.Epoch != 0 {
		size += 1 + 8
	}
	if e.birth.Offset != 0 {
		size += 1 + uvarintLen(uint64(e.birth.Offset))
	}
	b = binary.AppendUvarint(append(b, pageEntryTag), uint64(size))
	b = binary.AppendUvarint(append(b, tagOp), uint64(len(e.op)))
	b = append(b, e.op...)
	b = binary.AppendUvarint(append(b, tagOffset), uint64(e.offset))
	if e.birth.Epoch != 0 {
		b = binary.LittleEndian.AppendUint64(append(b, tagBirthEpoch), uint64(e.birth.Epoch))
	}
	if e.birth.Offset != 0 {
		b = binary.AppendUvarint(append(b, tagBirthAt), uint64(e.birth.Offset))
	}
	return b
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// nextEntry reads the first entry of a page, and returns the rest of it.
func nextEntry(page []byte) (e entry, rest []byte, err error) {
	message, rest, ok := delimited(page, pageEntryTag)
	if !ok {
		return e, nil, errPage
	}
	e.message = message
	var at []byte
	if e.op, at, ok = delimited(message, tagOp); !ok {
		return e, nil, errPage
	}
	if e.offset, at, ok = number[crdt.Offset](at, tagOffset); !ok || e.offset == 0 {
		return e, nil, errPage
	}
	if len(at) >= 9 && at[0] == tagBirthEpoch {
		e.birth.Epoch = crdt.Epoch(binary.LittleEndian.Uint64(at[1:]))
		at = at[9:]
	}
	if len(at) > 0 {
		if e.birth.Offset, at, ok = number[crdt.Offset](at, tagBirthAt); !ok {
			return e, nil, errPage
		}
	}
	if len(at) > 0 {
		return e, nil, errPage
	}
	return e, rest, nil
}

var errPage = fmt.Errorf("%w: a page is malformed", ErrDamaged)

func delimited(b []byte, tag byte) (inner, rest []byte, ok bool) {
	size, b, ok := number[uint64](b, tag)
	if !ok || size > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:size:size], b[size:], true
}

func number[T ~uint64](b []byte, tag byte) (v T, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != tag {
		return 0, nil, false
	}
	if b[1] < 0x80 {
		return T(b[1]), b[2:], true
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 {
		return 0, nil, false
	}
	return T(n), b[1+size:], true
}

// page is what is known of one page without reading it.
type page struct {
	first       crdt.Offset // names it, whether it still holds that version or not
	count, live int         // of its versions
	data        []byte      // nil: the store has it
	dead        []uint64    // a bit for each version, in order; short or nil while they are 0
	deltas      []uint32    // of each version's offset to first; nil while they are 0, 1, 2...

	sealed bool // nothing is appended any more
	fresh  bool // in feed.fresh: something was appended since Changes took it
	taken  bool // Changes took it once: what it lists may be dropped by way of Changes only
	stored bool // sealed, and the source has all of it
	thin   bool // in feed.thin
}

// ordinal returns which of the page's versions has that offset; it is there.
func (g *page) ordinal(offset crdt.Offset) int {
	delta := uint32(offset - g.first)
	if g.deltas == nil {
		return int(delta)
	}
	i, _ := slices.BinarySearch(g.deltas, delta)
	return i
}

// near reads what kill will read, and returns something of it.
func (g *page) near() uint32 {
	near := uint32(g.live)
	if len(g.dead) > 0 {
		near += uint32(g.dead[0])
	}
	if n := len(g.deltas); n > 0 {
		near += g.deltas[n/2]
	}
	return near
}

// reach counts one more version, at offset, behind every other; false if that is
// too far from the first.
func (g *page) reach(offset crdt.Offset) bool {
	delta := offset - g.first
	if delta > math.MaxUint32 {
		return false
	}
	if g.deltas != nil || delta != crdt.Offset(g.count) {
		for len(g.deltas) < g.count {
			g.deltas = append(g.deltas, uint32(len(g.deltas)))
		}
		g.deltas = append(g.deltas, uint32(delta))
	}
	g.count++
	g.live++
	return true
}

// kill notes that the version at offset was overwritten.
func (g *page) kill(offset crdt.Offset) {
	i := g.ordinal(offset)
	for len(g.dead) <= i/64 {
		g.dead = append(g.dead, 0)
	}
	g.dead[i/64] |= 1 << (i % 64)
	g.live--
}

func isDead(dead []uint64, i int) bool { return i/64 < len(dead) && dead[i/64]>>(i%64)&1 != 0 }

// findEntry returns the version at offset, which is in the page.
func findEntry(data []byte, offset crdt.Offset) (entry, error) {
	for len(data) > 0 {
		e, rest, err := nextEntry(data)
		if err != nil {
			return entry{}, err
		}
		if e.offset == offset {
			return e, nil
		}
		data = rest
	}
	return entry{}, fmt.Errorf("%w: a version is missing in its page", ErrDamaged)
}

// thinned is a page without its dead versions.
type thinned struct {
	data   []byte
	deltas []uint32
	live   []int // of each version left, its ordinal before
}

// thin drops the versions of data, a page that begins at first, that are dead.
// left is about how many stay.
func thin(data []byte, first crdt.Offset, dead []uint64, left int) (thinned, error) {
	t := thinned{deltas: make([]uint32, 0, left), live: make([]int, 0, left)}
	runs := make([][]byte, 0, min(left, 64)) // of data, that stay
	size, begin, count := 0, 0, 0
	cut := func(end int) {
		if begin < end {
			runs = append(runs, data[begin:end])
			size += end - begin
		}
	}
	for rest := data; len(rest) > 0; count++ {
		at := len(data) - len(rest)
		e, behind, err := nextEntry(rest)
		if err != nil {
			return t, err
		}
		if isDead(dead, count) {
			cut(at)
			begin = len(data) - len(behind)
		} else {
			t.deltas = append(t.deltas, uint32(e.offset-first))
			t.live = append(t.live, count)
		}
		rest = behind
	}
	cut(len(data))
	if size > 0 {
		t.data = make([]byte, 0, size)
	}
	for _, run := range runs {
		t.data = append(t.data, run...)
	}
	return t, nil
}

// adopt makes the page what t is. Versions that died since t was made stay dead.
func (g *page) adopt(t *thinned) {
	was := g.dead
	g.deltas, g.count, g.dead = slices.Clip(t.deltas), len(t.live), nil
	g.live = g.count
	for i, old := range t.live {
		if isDead(was, old) {
			g.kill(g.first + crdt.Offset(t.deltas[i]))
		}
	}
	if g.data != nil {
		g.data = t.data
	}
}
