package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/hashicorp/raft"
)

// Names that raft uses for its persistent facts (raft.go, "keyLastVoteTerm").
const (
	nameCurrentTerm   = "CurrentTerm"
	nameVoteTerm      = "LastVoteTerm"
	nameVoteCandidate = "LastVoteCand"
	nameVote          = "vote" // ours: both in one value
)

var keyLogHint = []byte("log-hint")

// ErrStableCorrupt reports a damaged record of term or vote. A node that forgot
// whom it voted for may elect two leaders: it must not start.
var ErrStableCorrupt = errors.New("record of term and vote is damaged")

// metaStore is raft-wal's meta database: a key-value file whose writes are
// durable before they return, and which was created aside and renamed.
type metaStore interface {
	GetStable(key []byte) ([]byte, error)
	SetStable(key, value []byte) error
}

// stableStore keeps raft's term and vote. The library writes a vote as two
// values, term first (raft#661); here both become one value, written in one
// transaction: a crash between the two leaves the previous vote whole.
// Each value carries a version and a CRC32C.
type stableStore struct {
	meta  metaStore
	latch *latch
	watch *stallWatch

	mu          sync.Mutex
	pendingTerm uint64 // of a vote whose candidate has not come yet; 0 is none
}

var _ raft.StableStore = (*stableStore)(nil)

func newStableStore(meta metaStore, latch *latch, watch *stallWatch) *stableStore {
	return &stableStore{meta: meta, latch: latch, watch: watch}
}

func (s *stableStore) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) != nameVoteCandidate {
		return s.put(string(key), value)
	}
	term := s.pendingTerm
	if term == 0 {
		stored, _, err := s.vote()
		if err != nil {
			return err
		}
		term = stored
	}
	if err := s.put(nameVote, append(binary.LittleEndian.AppendUint64(nil, term), value...)); err != nil {
		return err
	}
	s.pendingTerm = 0
	return nil
}

func (s *stableStore) SetUint64(key []byte, value uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == nameVoteTerm {
		s.pendingTerm = value
		return nil
	}
	return s.put(string(key), binary.LittleEndian.AppendUint64(nil, value))
}

// Get returns nil for a key never set.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == nameVoteCandidate {
		_, candidate, err := s.vote()
		return candidate, err
	}
	return s.get(string(key))
}

// GetUint64 returns 0 for a key never set.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == nameVoteTerm {
		term, _, err := s.vote()
		return term, err
	}
	value, err := s.get(string(key))
	if err != nil || value == nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: %s has %d bytes", ErrStableCorrupt, key, len(value))
	}
	return binary.LittleEndian.Uint64(value), nil
}

// vote returns the last vote that was written whole.
func (s *stableStore) vote() (term uint64, candidate []byte, err error) {
	value, err := s.get(nameVote)
	if err != nil || value == nil {
		return 0, nil, err
	}
	if len(value) < 8 {
		return 0, nil, fmt.Errorf("%w: vote has %d bytes", ErrStableCorrupt, len(value))
	}
	return binary.LittleEndian.Uint64(value), value[8:], nil
}

// put frames value as version, CRC32C of key and value, value. A replica that
// stopped for another reason than its disk still keeps raft's term until raft is
// shut down: the library panics when it cannot.
func (s *stableStore) put(key string, value []byte) error {
	if err := s.latch.disk(); err != nil {
		return err
	}
	framed := make([]byte, 0, sealBytes+len(value))
	framed = append(framed, sealVersion)
	framed = binary.LittleEndian.AppendUint32(framed, stableSum(key, value))
	end := s.watch.begin("write " + key)
	err := s.meta.SetStable([]byte(key), append(framed, value...))
	end()
	if err != nil {
		return s.latch.poison(fmt.Errorf("write %s: %w", key, err))
	}
	return nil
}

func (s *stableStore) get(key string) ([]byte, error) {
	framed, err := s.meta.GetStable([]byte(key))
	if err != nil || framed == nil {
		return nil, err
	}
	if len(framed) > 0 && framed[0] > sealVersion {
		return nil, fmt.Errorf("%s was written by a newer version (format %d, this software knows %d)",
			key, framed[0], sealVersion)
	}
	if len(framed) < sealBytes || framed[0] != sealVersion ||
		binary.LittleEndian.Uint32(framed[1:]) != stableSum(key, framed[sealBytes:]) {
		return nil, fmt.Errorf("%w: %s", ErrStableCorrupt, key)
	}
	return framed[sealBytes:], nil
}

func stableSum(key string, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(key), table), table, value)
}
