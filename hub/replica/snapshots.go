package replica

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/durable"
)

// ErrSnapshotCorrupt reports a snapshot file or its description whose checksum
// does not match.
var ErrSnapshotCorrupt = errors.New("snapshot is damaged")

// ErrStateLost reports a state that is older than its checkpoint's description:
// a lost or replaced file. The node is replaced: see advise.
var ErrStateLost = errors.New("stored state is older than it was")

const (
	fileCheckpoint = "checkpoint.meta"
	fileReceived   = "received.meta"
	fileData       = "received.data"
	fileSpool      = "spool.data"

	idCheckpoint = "checkpoint"
	idReceived   = "received"
)

// snapshots implements raft.SnapshotStore without writing the state twice: a
// snapshot of this node is its checkpoint, described here by index, term and
// membership. Only when a peer needs one is the state streamed into a file, whose
// length raft must know beforehand. A snapshot received from a peer is a file
// until the state machine has taken it over, and becomes the checkpoint then.
//
// The state behind a description may be newer than its index, never older:
// Apply skips entries that it knows.
type snapshots struct {
	dir    string
	stored *store.Store
	fits   func(bytes int64) error // on the volume; set before raft starts

	mu         sync.Mutex
	checkpoint *description // nil: none yet
	received   *description // nil: none, or taken over
}

var _ raft.SnapshotStore = (*snapshots)(nil)

// description is what is kept beside a snapshot.
type description struct {
	raft.SnapshotMeta
	// StateIndex is the newest entry in the checkpoint: at most Index, since
	// entries of raft's own do not touch the state. Zero while it was received only.
	StateIndex uint64
}

func openSnapshots(dir string, stored *store.Store) (*snapshots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &snapshots{dir: dir, stored: stored, fits: func(int64) error { return nil }}
	var err error
	if s.checkpoint, err = readMeta(filepath.Join(dir, fileCheckpoint)); err != nil {
		return nil, err
	}
	s.received, err = readMeta(filepath.Join(dir, fileReceived))
	return s, err
}

// newest returns the newest description, or nil. Caller holds mu.
func (s *snapshots) newest() *description {
	if s.received != nil && (s.checkpoint == nil || s.received.Index > s.checkpoint.Index) {
		return s.received
	}
	return s.checkpoint
}

// index returns how far the newest snapshot reaches, 0 if there is none.
func (s *snapshots) index() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if meta := s.newest(); meta != nil {
		return meta.Index
	}
	return 0
}

// List returns the newest snapshot only: older ones have nothing to offer.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	meta := s.newest()
	if meta == nil {
		return nil, nil
	}
	out := meta.SnapshotMeta
	return []*raft.SnapshotMeta{&out}, nil
}

// Open returns the snapshot's bytes, and their number in its description.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	meta := s.newest()
	s.mu.Unlock()
	if meta == nil || meta.ID != id {
		return nil, nil, fmt.Errorf("snapshot %q has been replaced by a newer one", id)
	}
	out := meta.SnapshotMeta
	if id == idReceived {
		file, err := os.Open(filepath.Join(s.dir, fileData))
		return &out, bufferedFile(file), err
	}
	file, size, err := s.spool()
	if err != nil {
		return nil, nil, err
	}
	out.Size = size
	return &out, bufferedFile(file), nil
}

// spool writes the newest checkpoint into a file that exists only while it is open.
func (s *snapshots) spool() (*os.File, int64, error) {
	file, err := os.CreateTemp(s.dir, fileSpool)
	if err != nil {
		return nil, 0, err
	}
	os.Remove(file.Name())
	out := bufio.NewWriterSize(file, 1<<20)
	err = s.stored.Stream(out)
	if err == nil {
		err = out.Flush()
	}
	var size int64
	if err == nil {
		size, err = file.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("stream the checkpoint for a peer: %w", err)
	}
	return file, size, nil
}

// Create begins a snapshot: of this node (the state machine then calls
// ofCheckpoint on the sink), or the copy of a peer's.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration,
	membersIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("snapshot version %d is not supported", version)
	}
	return &sink{store: s, meta: description{SnapshotMeta: raft.SnapshotMeta{
		Version: version, ID: idReceived, Index: index, Term: term,
		Configuration: members, ConfigurationIndex: membersIndex,
	}}}, nil
}

// takenOver turns the received snapshot into the checkpoint: the state, at
// stateIndex, is in the store now, durably. Without one it does nothing.
func (s *snapshots) takenOver(stateIndex uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == nil {
		return nil
	}
	if s.newest() == s.received {
		meta := *s.received
		meta.ID, meta.StateIndex = idCheckpoint, stateIndex
		if err := writeMeta(filepath.Join(s.dir, fileCheckpoint), &meta); err != nil {
			return err
		}
		s.checkpoint = &meta
	}
	return s.drop()
}

// discard forgets a received snapshot that nobody can use.
func (s *snapshots) discard() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == nil {
		return nil
	}
	return s.drop()
}

// drop removes the received snapshot. Caller holds mu.
func (s *snapshots) drop() error {
	if err := os.Remove(filepath.Join(s.dir, fileReceived)); err != nil {
		return err
	}
	s.received = nil
	return os.Remove(filepath.Join(s.dir, fileData))
}

// finish takes over a snapshot that was received before a crash. One that this
// node has passed since is the past: it is dropped. Open alone calls it.
func (s *snapshots) finish() error {
	switch {
	case s.received == nil:
		return nil
	case s.newest() != s.received:
		return s.drop()
	}
	if err := s.fitsReceived(); err != nil {
		return err
	}
	_, data, err := s.Open(idReceived)
	if err != nil {
		return err
	}
	defer data.Close()
	image, err := readSnapshot(data)
	if err != nil {
		return err
	}
	if err := replace(s.stored, image); err != nil {
		return err
	}
	return s.takenOver(image.Meta.Index)
}

// fitsReceived reports whether there is room to take over what was received:
// the new database stands beside the old one for a while.
func (s *snapshots) fitsReceived() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == nil {
		return nil
	}
	return s.fits(2 * s.received.Size)
}

// check compares the stored state with what was said of it. Raft goes on behind
// its snapshot without asking, so an older state would have a hole.
func (s *snapshots) check(stateIndex uint64) error {
	if s.checkpoint != nil && stateIndex < s.checkpoint.StateIndex {
		return fmt.Errorf("%w: it is at entry %d, the checkpoint was at %d", ErrStateLost, stateIndex, s.checkpoint.StateIndex)
	}
	return nil
}

// sink implements raft.SnapshotSink.
type sink struct {
	store *snapshots
	meta  description
	file  *os.File // of a received snapshot; created at the first byte
}

// ofCheckpoint makes the sink describe this node's checkpoint, which is durable.
func (k *sink) ofCheckpoint(stateIndex uint64) {
	k.meta.ID, k.meta.StateIndex = idCheckpoint, stateIndex
}

func (k *sink) ID() string { return k.meta.ID }

func (k *sink) Write(p []byte) (int, error) {
	if err := k.store.fits(int64(len(p))); err != nil {
		return 0, err
	}
	if k.file == nil {
		file, err := os.OpenFile(k.partial(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		k.file = file
	}
	n, err := k.file.Write(p)
	k.meta.Size += int64(n)
	return n, err
}

func (k *sink) partial() string { return filepath.Join(k.store.dir, fileData+".partial") }

// Close makes the snapshot durable: data, then its name, then its description.
func (k *sink) Close() error {
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	if k.meta.ID == idCheckpoint {
		if newest := k.store.newest(); newest != nil && newest.Index > k.meta.Index {
			return fmt.Errorf("checkpoint at %d was overtaken by a snapshot at %d", k.meta.Index, newest.Index)
		}
		if err := writeMeta(filepath.Join(k.store.dir, fileCheckpoint), &k.meta); err != nil {
			return err
		}
		k.store.checkpoint = &k.meta
		return nil
	}
	if k.file == nil {
		return fmt.Errorf("%w: it is empty", ErrSnapshotCorrupt)
	}
	if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
		return err
	}
	// The old description must not point to the new data.
	if err := removeIfThere(filepath.Join(k.store.dir, fileReceived)); err != nil {
		return err
	}
	k.store.received = nil
	if err := durable.Replace(k.partial(), filepath.Join(k.store.dir, fileData)); err != nil {
		return err
	}
	if err := writeMeta(filepath.Join(k.store.dir, fileReceived), &k.meta); err != nil {
		return err
	}
	k.store.received = &k.meta
	return nil
}

// Cancel drops what was written.
func (k *sink) Cancel() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), os.Remove(k.partial()))
}

type bufferedReadCloser struct {
	*bufio.Reader
	io.Closer
}

func bufferedFile(file *os.File) io.ReadCloser {
	return bufferedReadCloser{bufio.NewReaderSize(file, 1<<20), file}
}

// metaVersion is the first line of a description, its CRC32C the second.
const metaVersion = "entente-snapshot-1"

// writeMeta replaces the file atomically and durably.
func writeMeta(path string, meta *description) error {
	body, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\n%08x\n%s", metaVersion, metaSum(body), body)
	return durable.WriteFile(path, out.Bytes())
}

// readMeta returns nil if there is no such file.
func readMeta(path string) (*description, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	version, rest, _ := bytes.Cut(raw, []byte("\n"))
	sum, body, _ := bytes.Cut(rest, []byte("\n"))
	if string(version) != metaVersion {
		return nil, fmt.Errorf("%s: format %.40q is not known to this software (it knows %s)", path, version, metaVersion)
	}
	if string(sum) != fmt.Sprintf("%08x", metaSum(body)) {
		return nil, fmt.Errorf("%w: %s", ErrSnapshotCorrupt, path)
	}
	var meta description
	if err := json.Unmarshal(body, &meta); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSnapshotCorrupt, path, err)
	}
	return &meta, nil
}

func metaSum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
