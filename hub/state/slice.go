package state

import (
	"errors"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// Slice is one piece of a feed.
type Slice struct {
	Versions []Version // ascending by offset
	// Cursor is where to resume: everything up to here has been read.
	Cursor      crdt.Position
	Head        crdt.Offset
	PactVersion uint32
	Lineage     crdt.Lineage // immutable; another slice when it has changed
}

// Decode decodes what is in s.
func (s *Slice) Decode() ([]*Stored, error) {
	var names crdt.Names
	out := make([]*Stored, len(s.Versions))
	for i := range s.Versions {
		var err error
		if out[i], err = s.Versions[i].Decode(&names); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Feed reads the newest versions behind a cursor, at most entriesMax of them
// and at most bytesMax of ops (one entry may exceed it alone). Offset 0 reads
// from the start in any epoch; any other cursor must be of the current epoch and
// not beyond the head, else ErrEpoch or ErrCursor. What was overwritten is not
// read: no current version is skipped, and the cost is what is returned. It
// neither decodes nor hashes an op. Any other error says that a page could not be
// read.
func (m *Machine) Feed(name crdt.Pact, after crdt.Position, entriesMax, bytesMax int) (Slice, error) {
	for try := 0; ; try++ {
		slice, err := m.feed(name, after, entriesMax, bytesMax)
		if !errors.Is(err, ErrPageGone) || try == triesMax {
			return slice, err
		}
	}
}

func (m *Machine) feed(name crdt.Pact, after crdt.Position, entriesMax, bytesMax int) (Slice, error) {
	slice, views, r, err := m.look(name, after, entriesMax)
	if err != nil {
		return Slice{}, err
	}
	slice.Versions, slice.Cursor.Offset, err = r.read(views, after.Offset, slice.Head, entriesMax, bytesMax)
	if err != nil {
		return Slice{}, err
	}
	return slice, nil
}

// look takes what can be read of a feed from the state as it is now.
func (m *Machine) look(name crdt.Pact, after crdt.Position, entriesMax int) (Slice, []view, reader, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.pacts[name]
	switch {
	case !ok:
		return Slice{}, nil, reader{}, ErrPactUnknown
	case after.Offset != 0 && after.Epoch != m.epoch:
		return Slice{}, nil, reader{}, ErrEpoch
	case after.Offset > p.head:
		return Slice{}, nil, reader{}, ErrCursor
	}
	slice := Slice{
		Cursor: crdt.Position{Epoch: m.epoch}, Head: p.head, PactVersion: p.agreed.Version,
		Lineage: slices.Clip(p.lineage),
	}
	return slice, p.feed.views(after.Offset, max(entriesMax, 1)), m.reader(name), nil
}
