package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// ErrLogCorrupt reports a log entry whose checksum does not match, or an end of
// the log that was there before. The node must not vote or lead with such a log, and
// under its own name it must not begin anew either: see advise.
var ErrLogCorrupt = errors.New("raft log is damaged")

// sealVersion begins the checksum kept with every entry. Entries of a newer
// version are refused by this software, which is not damage.
const sealVersion = 1

// walStore is what the wrapper needs of the write-ahead log.
type walStore interface {
	raft.LogStore
	raft.MonotonicLogStore
}

// logStore puts what raft-wal lacks around it:
//
//   - a checksum of our own over (index, term, type, data) on every entry,
//     verified on every read: one flipped bit in a segment is otherwise an entry
//     that is silently wrong;
//   - the poison latch: after the first failed write nothing is written again,
//     because a later fsync may falsely report success;
//   - a hint of how far the log reached, since a lost tail file otherwise looks
//     like a fresh log.
//
// It is safe for one writer and any number of readers, as raft uses it.
type logStore struct {
	wal   walStore
	hints *stableStore
	latch *latch
	watch *stallWatch
	room  func() error // why nothing that can grow may be stored, or nil
	wrote func(bytes int64)
	took  func(time.Duration) // is told of each write
	// owed: the end was cut, and raft does not bear it if what replaces that is
	// refused. Raft's main loop alone cuts the end and stores entries.
	owed bool

	mu    sync.Mutex
	sizes logSizes // for truncation by bytes; guarded by mu

	end sync.Mutex // held while the log's end is noted or cut: else a hint points beyond it
}

// openLogStore verifies the whole log: raft panics on entries that it cannot read.
func openLogStore(wal walStore, hints *stableStore, latch *latch) (*logStore, error) {
	s := &logStore{wal: wal, hints: hints, latch: latch, watch: hints.watch, room: func() error { return nil }, wrote: func(int64) {}, took: func(time.Duration) {}}
	first, err := wal.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := wal.LastIndex()
	if err != nil {
		return nil, err
	}
	hint, err := hints.GetUint64(keyLogHint)
	if err != nil {
		return nil, err
	}
	if last < hint {
		return nil, fmt.Errorf("%w: it ends at entry %d, though %d was written", ErrLogCorrupt, last, hint)
	}
	if last == 0 {
		return s, nil
	}
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := s.read(i, &entry); err != nil {
			return nil, err
		}
		s.sizes.add(i, len(entry.Data))
	}
	return s, nil
}

func (s *logStore) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }
func (s *logStore) LastIndex() (uint64, error)  { return s.wal.LastIndex() }
func (s *logStore) IsMonotonic() bool           { return s.wal.IsMonotonic() }

// GetLog stops the node when the entry is damaged.
func (s *logStore) GetLog(index uint64, entry *raft.Log) error {
	err := s.read(index, entry)
	if errors.Is(err, ErrLogCorrupt) {
		s.latch.trip(err)
	}
	return err
}

func (s *logStore) read(index uint64, entry *raft.Log) error {
	if err := s.wal.GetLog(index, entry); err != nil {
		return err // raft compares with its own ErrLogNotFound: never wrapped
	}
	seal := entry.Extensions
	entry.Extensions = nil
	if len(seal) == sealBytes && seal[0] > sealVersion {
		return fmt.Errorf("log entry %d was written by a newer version (format %d, this software knows %d)",
			index, seal[0], sealVersion)
	}
	if want := sealOf(entry); entry.Index != index || string(seal) != string(want[:]) {
		return fmt.Errorf("%w: checksum of entry %d does not match", ErrLogCorrupt, index)
	}
	return nil
}

func (s *logStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs returns after the entries are on stable storage.
func (s *logStore) StoreLogs(entries []*raft.Log) error {
	if err := s.latch.err(); err != nil {
		return err
	}
	if err := s.room(); err != nil && !s.owed && slices.ContainsFunc(entries, isCommand) {
		return err // raft tries again, or leads no longer
	}
	sealed := make([]raft.Log, len(entries))
	refs := make([]*raft.Log, len(entries))
	seals := make([]byte, 0, len(entries)*sealBytes)
	for i, entry := range entries {
		seal := sealOf(entry)
		seals = append(seals, seal[:]...)
		sealed[i] = *entry // raft goes on using its own: never written to
		sealed[i].Extensions = seals[len(seals)-sealBytes:]
		refs[i] = &sealed[i]
	}
	written, began := s.watch.begin("write log entries"), time.Now()
	err := s.wal.StoreLogs(refs)
	written()
	s.took(time.Since(began))
	if err != nil {
		return s.latch.poison(fmt.Errorf("write %d log entries: %w", len(entries), err))
	}
	s.owed = false
	s.wrote(s.addSizes(entries))
	return nil
}

func (s *logStore) addSizes(entries []*raft.Log) (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		s.sizes.add(entry.Index, len(entry.Data))
		bytes += int64(len(entry.Data))
	}
	return bytes
}

// DeleteRange lowers the hint before it cuts the log's end.
func (s *logStore) DeleteRange(first, last uint64) error {
	if err := s.latch.err(); err != nil {
		return err
	}
	s.end.Lock()
	defer s.end.Unlock()
	cutEnd, err := s.lowerHint(first, last)
	if err != nil {
		return err
	}
	cut := s.watch.begin("truncate the log")
	err = s.wal.DeleteRange(first, last)
	cut()
	if err != nil {
		return s.latch.poison(fmt.Errorf("truncate log entries %d..%d: %w", first, last, err))
	}
	if cutEnd {
		s.owed = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes.remove(first, last)
	return nil
}

// dropBelow empties a log that ends before index, where a snapshot ends: what
// follows the snapshot could not be appended behind a gap.
func (s *logStore) dropBelow(index uint64) error {
	first, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.wal.LastIndex()
	if err != nil || last == 0 || last >= index {
		return err
	}
	return s.DeleteRange(first, last)
}

// lowerHint is called before entries first..last are removed, and says whether
// the log's end is among them. Removing the head only leaves the end where it is.
func (s *logStore) lowerHint(first, last uint64) (cutEnd bool, err error) {
	begin, err := s.wal.FirstIndex()
	if err != nil {
		return false, err
	}
	end, err := s.wal.LastIndex()
	switch {
	case err != nil:
		return false, err
	case last < end:
		return false, nil
	case first <= begin:
		return true, s.setHint(0) // nothing is left
	default:
		return true, s.setHint(first - 1)
	}
}

// noteEnd records durably how far the log reaches now.
func (s *logStore) noteEnd() error {
	s.end.Lock()
	defer s.end.Unlock()
	last, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	return s.setHint(last)
}

func (s *logStore) setHint(last uint64) error { return s.hints.SetUint64(keyLogHint, last) }

// entriesWithin returns how many of the newest entries fit in bytesMax.
func (s *logStore) entriesWithin(bytesMax int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.newest(bytesMax)
}

// bytes returns the size of the log's commands.
func (s *logStore) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.total
}

const sealBytes = 5

func isCommand(entry *raft.Log) bool { return entry.Type == raft.LogCommand }

// sealOf returns the version byte and CRC32C of everything that raft relies on.
func sealOf(entry *raft.Log) [sealBytes]byte {
	var head [17]byte
	binary.LittleEndian.PutUint64(head[0:], entry.Index)
	binary.LittleEndian.PutUint64(head[8:], entry.Term)
	head[16] = byte(entry.Type)
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(head[:], table), table, entry.Data)
	out := [sealBytes]byte{sealVersion}
	binary.LittleEndian.PutUint32(out[1:], sum)
	return out
}

// logSizes remembers the size of each entry, first to last without gaps.
type logSizes struct {
	first uint64
	sizes []uint32
	total int64
}

func (l *logSizes) add(index uint64, bytes int) {
	if index != l.first+uint64(len(l.sizes)) { // the first, or a new beginning after a snapshot
		*l = logSizes{first: index}
	}
	size := uint32(min(bytes, math.MaxUint32))
	l.sizes = append(l.sizes, size)
	l.total += int64(size)
}

func (l *logSizes) remove(first, last uint64) {
	first, last = max(first, l.first), min(last, l.first+uint64(len(l.sizes))-1)
	if len(l.sizes) == 0 || first > last {
		return
	}
	for _, size := range l.sizes[first-l.first : last-l.first+1] {
		l.total -= int64(size)
	}
	if first == l.first {
		l.sizes = append([]uint32(nil), l.sizes[last-l.first+1:]...)
		l.first = last + 1
		return
	}
	l.sizes = l.sizes[:first-l.first]
}

func (l *logSizes) newest(bytesMax int64) uint64 {
	var n, bytes int64
	for i := len(l.sizes) - 1; i >= 0; i-- {
		if bytes += int64(l.sizes[i]); bytes > bytesMax {
			break
		}
		n++
	}
	return uint64(n)
}
