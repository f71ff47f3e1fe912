package state

// index finds small numbers by hash: the directory of an extendible hash table
// points to segments of fixed size, each split when it is full, so that growing
// never moves more than one segment. It takes about 8 bytes a number and holds no
// pointer to what it finds: the caller compares, and recomputes the hash of what
// a split moves. Nothing is ever removed from it.
type index struct {
	segments []*segment // by the upper bits of the hash; several slots may share one
	bits     uint8      // len(segments) == 1<<bits
	count    int
}

type segment struct {
	tags [segmentSlots]uint8 // 0 is free
	ids  [segmentSlots]uint32
	used int
	bits uint8 // of the hash, that all in it share
}

const (
	segmentSlots = 1024
	segmentFull  = segmentSlots * 13 / 16
)

// probe walks over what may have one hash.
type probe struct {
	s   *segment
	pos uint32
	tag uint8
}

func tagOf(h uint64) uint8 { return uint8(h>>10) | 0x80 }

// find begins the walk for a hash.
func (x *index) find(h uint64) probe {
	if len(x.segments) == 0 {
		return probe{}
	}
	return probe{s: x.segments[h>>(64-x.bits)], pos: uint32(h % segmentSlots), tag: tagOf(h)}
}

// near reads what find will read first, and returns something of it.
func (x *index) near(h uint64) uint32 {
	if len(x.segments) == 0 {
		return 0
	}
	s, at := x.segments[h>>(64-x.bits)], h%segmentSlots
	return uint32(s.tags[at]) + s.ids[at]
}

// next returns the next number that may have the hash; 0 ends the walk.
func (p *probe) next() uint32 {
	if p.s == nil {
		return 0
	}
	for {
		i := p.pos % segmentSlots
		t := p.s.tags[i]
		if t == 0 {
			return 0
		}
		p.pos = i + 1
		if t == p.tag {
			return p.s.ids[i]
		}
	}
}

// add puts id in, which is not there. hash returns the hash of an id that is.
func (x *index) add(h uint64, id uint32, hash func(id uint32) uint64) {
	if len(x.segments) == 0 {
		x.segments = []*segment{{}}
	}
	x.count++
	for {
		s := x.segments[h>>(64-x.bits)]
		if s.used < segmentFull {
			s.put(h, id)
			return
		}
		x.split(h, s, hash)
	}
}

func (s *segment) put(h uint64, id uint32) {
	i := uint32(h % segmentSlots)
	for s.tags[i] != 0 {
		i = (i + 1) % segmentSlots
	}
	s.tags[i], s.ids[i] = tagOf(h), id
	s.used++
}

// split replaces s, where hash h belongs, by two segments that share one bit more.
func (x *index) split(h uint64, s *segment, hash func(id uint32) uint64) {
	if s.bits == x.bits {
		wider := make([]*segment, 2*len(x.segments))
		for i, t := range x.segments {
			wider[2*i], wider[2*i+1] = t, t
		}
		x.segments, x.bits = wider, x.bits+1
	}
	halves := [2]*segment{{bits: s.bits + 1}, {bits: s.bits + 1}}
	for i, t := range s.tags {
		if t != 0 {
			moved := hash(s.ids[i])
			halves[moved>>(63-s.bits)&1].put(moved, s.ids[i])
		}
	}
	// The slots of s are those whose upper bits are its own.
	width := 1 << (x.bits - s.bits)
	first := int(h>>(64-x.bits)) &^ (width - 1)
	for i := range width {
		x.segments[first+i] = halves[2*i/width]
	}
}

// reserve makes room for about n numbers in an empty index.
func (x *index) reserve(n int) {
	if x.count > 0 {
		return
	}
	x.bits = 0
	for n > segmentSlots*5/8<<x.bits {
		x.bits++
	}
	x.segments = make([]*segment, 1<<x.bits)
	for i := range x.segments {
		x.segments[i] = &segment{bits: x.bits}
	}
}
