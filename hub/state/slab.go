package state

// slab is an array of values without pointers that grows without moving what is
// in it, but for the first chunk, so that a small pact stays small. Indexes begin
// at 1: 0 names nothing.
type slab[T any] struct {
	chunks [][]T
	used   uint32 // indexes handed out, index 0 included
}

const (
	slabBits  = 12
	slabChunk = 1 << slabBits
)

// at returns the element of an index that add returned. The pointer is good
// until the next add.
func (s *slab[T]) at(i uint32) *T { return &s.chunks[i>>slabBits][i&(slabChunk-1)] }

// add makes room for one element, which is zero.
func (s *slab[T]) add() (uint32, *T) {
	if s.used == 0 {
		s.chunks = append(s.chunks, make([]T, 1, 4))
		s.used = 1
	}
	i := s.used
	s.used++
	c := int(i >> slabBits)
	if c == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, 0, slabChunk))
	}
	var zero T
	s.chunks[c] = append(s.chunks[c], zero)
	return i, s.at(i)
}

// len returns how many elements there are.
func (s *slab[T]) len() int { return max(int(s.used), 1) - 1 }
