package replica

import (
	"errors"
	"testing"
)

// memory is a meta store that counts writes and can lose the next ones.
type memory struct {
	values map[string][]byte
	writes int
	lose   bool
}

func (m *memory) GetStable(key []byte) ([]byte, error) { return m.values[string(key)], nil }

func (m *memory) SetStable(key, value []byte) error {
	m.writes++
	if !m.lose {
		m.values[string(key)] = append([]byte(nil), value...)
	}
	return nil
}

func newStable(m *memory) *stableStore {
	return newStableStore(m, newLatch(func(error) {}), newStallWatch())
}

func vote(t *testing.T, s *stableStore) (uint64, string) {
	t.Helper()
	term, err := s.GetUint64([]byte(nameVoteTerm))
	if err != nil {
		t.Fatal(err)
	}
	candidate, err := s.Get([]byte(nameVoteCandidate))
	if err != nil {
		t.Fatal(err)
	}
	return term, string(candidate)
}

func setVote(t *testing.T, s *stableStore, term uint64, candidate string) {
	t.Helper()
	err := errors.Join(s.SetUint64([]byte(nameVoteTerm), term), s.Set([]byte(nameVoteCandidate), []byte(candidate)))
	if err != nil {
		t.Fatal(err)
	}
}

// Wherever a crash falls, term and candidate are of one vote.
func TestVoteIsWhole(t *testing.T) {
	m := &memory{values: map[string][]byte{}}
	s := newStable(m)
	if term, candidate := vote(t, s); term != 0 || candidate != "" {
		t.Fatalf("a new store knows a vote: %d %q", term, candidate)
	}
	setVote(t, s, 5, "n1")
	if m.writes != 1 {
		t.Fatalf("a vote took %d writes, want 1", m.writes)
	}
	if err := s.SetUint64([]byte(nameVoteTerm), 6); err != nil {
		t.Fatal(err)
	}
	if term, candidate := vote(t, newStable(m)); term != 5 || candidate != "n1" { // crash here
		t.Fatalf("after a crash in the middle: term %d for %q, want 5 for n1", term, candidate)
	}
	m.lose = true
	if err := s.Set([]byte(nameVoteCandidate), []byte("n2")); err != nil {
		t.Fatal(err)
	}
	if term, candidate := vote(t, newStable(m)); term != 5 || candidate != "n1" { // or here
		t.Fatalf("after a crash before the write: term %d for %q, want 5 for n1", term, candidate)
	}
	m.lose = false
	setVote(t, s, 6, "n2")
	if term, candidate := vote(t, newStable(m)); term != 6 || candidate != "n2" {
		t.Fatalf("term %d for %q, want 6 for n2", term, candidate)
	}
}

func TestDamagedVote(t *testing.T) {
	m := &memory{values: map[string][]byte{}}
	s := newStable(m)
	setVote(t, s, 5, "n1")
	whole := m.values[nameVote]
	for i := range whole {
		for bit := range 8 {
			damaged := append([]byte(nil), whole...)
			damaged[i] ^= 1 << bit
			m.values[nameVote] = damaged
			if _, err := s.GetUint64([]byte(nameVoteTerm)); err == nil {
				t.Fatalf("bit %d of byte %d flipped: not noticed", bit, i)
			}
		}
	}
	m.values[nameVote] = whole[:3]
	if _, err := s.Get([]byte(nameVoteCandidate)); !errors.Is(err, ErrStableCorrupt) {
		t.Fatalf("a torn vote: %v", err)
	}
}

// A replica that stopped for another reason than its disk keeps raft's term until
// raft is shut down, since the library panics when it cannot; after a failed write
// nothing is written.
func TestTermOfAStoppedReplica(t *testing.T) {
	m := &memory{values: map[string][]byte{}}
	s := newStable(m)
	if err := s.latch.trip(ErrDiverged); !errors.Is(err, ErrDiverged) {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte(nameCurrentTerm), 7); err != nil {
		t.Errorf("a diverged replica cannot keep its term: %v", err)
	}
	failed := errors.New("disk")
	if err := s.latch.poison(failed); !errors.Is(err, ErrDiverged) {
		t.Errorf("the first cause is not the cause: %v", err)
	}
	if err := s.SetUint64([]byte(nameCurrentTerm), 8); !errors.Is(err, failed) {
		t.Errorf("written after a failed write: %v", err)
	}
}
