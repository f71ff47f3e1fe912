package wire

import (
	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

func encodeSlice(s Slice) (*syncv1.SubscribeResponse, error) {
	if n := len(s.Entries); n > SliceEntriesMax {
		return nil, Errorf(ReasonOversize, "%d entries, limit %d", n, SliceEntriesMax)
	}
	m := &syncv1.SubscribeResponse{
		Cursor: encodePosition(s.Cursor), Head: uint64(s.Head), PactVersion: s.PactVersion,
		Lineage: encodeLineage(s.Lineage),
	}
	if s.Packed != nil {
		return m, s.Packed.into(m)
	}
	m.Entries = make([]*syncv1.Entry, len(s.Entries))
	size := 0
	for i := range s.Entries {
		e := &s.Entries[i]
		size += OpBytes(&e.Register.Op)
		m.Entries[i] = &syncv1.Entry{
			Offset: uint64(e.Offset), Birth: encodePosition(e.Register.Birth), Op: encodeOp(&e.Register.Op),
		}
	}
	if size > SliceBytesMax && len(s.Entries) > 1 {
		return nil, Errorf(ReasonOversize, "a slice of %d bytes, limit %d", size, SliceBytesMax)
	}
	return m, nil
}

// decodeSlice hashes each op once: Register.Digest is computed here, not trusted.
func decodeSlice(pact crdt.Pact, m *syncv1.SubscribeResponse) (Slice, error) {
	if n := len(m.GetEntries()); n > SliceEntriesMax {
		return Slice{}, Errorf(ReasonMalformed, "%d entries, limit %d", n, SliceEntriesMax)
	}
	if n := len(m.GetLineage()); n > LineageMax {
		return Slice{}, Errorf(ReasonMalformed, "%d forks, limit %d", n, LineageMax)
	}
	s := Slice{
		Lineage: decodeLineage(m.GetLineage()),
		Cursor:  decodePosition(m.GetCursor()), Head: crdt.Offset(m.GetHead()), PactVersion: m.GetPactVersion(),
		Entries: make([]Entry, len(m.GetEntries())),
	}
	last := crdt.Offset(0)
	for i, e := range m.GetEntries() {
		op, err := decodeOp(pact, e.GetOp())
		if err != nil {
			return Slice{}, Errorf(ReasonOf(err), "entry %d at offset %d: %w", i, e.GetOffset(), err)
		}
		offset := crdt.Offset(e.GetOffset())
		if offset <= last {
			return Slice{}, Errorf(ReasonMalformed, "entry %d: offset %d after %d", i, offset, last)
		}
		last = offset
		s.Entries[i] = Entry{Offset: offset, Register: crdt.NewRegister(op, decodePosition(e.GetBirth()))}
	}
	if last > s.Cursor.Offset {
		return Slice{}, Errorf(ReasonMalformed, "entry at offset %d beyond the cursor %d", last, s.Cursor.Offset)
	}
	return s, nil
}

func decodeCredits(m *syncv1.SubscribeRequest) (int, error) {
	if n := m.GetCredits(); n == 0 || n > CreditsMax {
		return 0, Errorf(ReasonCreditExcess, "a grant of %d credits, want 1 to %d", n, CreditsMax)
	}
	return int(m.GetCredits()), nil
}
