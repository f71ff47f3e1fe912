package replica

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

// ErrDiverged reports that this replica's digest differs from the majority's (in
// a hub that still has older nodes: the leader's) at the same applied index.
var ErrDiverged = errors.New("this node's state is not that of the hub's other nodes")

// machine is the thin adapter between raft and the pure state. Raft's contract,
// and how it is met:
//
//   - Apply, Snapshot and Restore come from one goroutine. So do this type's
//     calls of Machine.Prepare, Apply, TakeDirty and Load.
//   - Apply never fails: an entry that cannot be applied here cannot be skipped
//     either, so the replica stops itself before anything of it is answered or
//     stored.
//   - Snapshot takes pointers; Persist writes beside Apply.
//   - An error of Apply would arrive as the response: the one response type is
//     state.Result.
//   - Raft replays entries that the state already holds: Machine skips them by
//     their index, which is committed with the state.
type machine struct {
	state     *state.Machine
	store     *store.Store
	snapshots *snapshots
	latch     *latch
	advanced  func([]crdt.Pact)
	counted   func(index uint64, c *command.Tally, result state.CommandResult)
	decoder   command.Decoder // Apply's alone

	index   atomic.Uint64 // newest raft index seen
	cuts    atomic.Bool   // the log is cut below the next checkpoint, so it must be verified
	applied atomic.Int64  // bytes of commands applied, and of history, since the last image was taken

	mu      sync.Mutex
	pending []*state.Changes // taken and not yet durable, oldest first; guarded by mu
}

var _ raft.BatchingFSM = (*machine)(nil)

// Apply implements raft.FSM.
func (m *machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch implements raft.BatchingFSM. Batches hold membership changes too,
// which change nothing here. Subscribers are woken once for the whole batch.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	out := make([]any, len(entries))
	var advanced []crdt.Pact
	for i, entry := range entries {
		result := m.apply(entry)
		out[i] = result
		advanced = append(advanced, result.Advanced...)
		m.index.Store(entry.Index)
	}
	if len(advanced) > 0 {
		m.advanced(advanced)
	}
	return out
}

func (m *machine) apply(entry *raft.Log) state.Result {
	if entry.Type != raft.LogCommand || m.latch.err() != nil {
		return state.Result{Skipped: true}
	}
	decoded, err := m.decoder.Decode(entry.Data)
	if err != nil {
		m.latch.trip(fmt.Errorf("entry %d: %w", entry.Index, err))
		return state.Result{Skipped: true}
	}
	done, err := m.state.Prepare(decoded)
	if err != nil {
		m.latch.trip(fmt.Errorf("entry %d: %w", entry.Index, err))
		return state.Result{Skipped: true}
	}
	result := m.state.Apply(entry.Index, decoded)
	done()
	if result.Err != nil {
		m.latch.trip(fmt.Errorf("entry %d: %w", entry.Index, result.Err))
		return state.Result{Skipped: true}
	}
	m.applied.Add(int64(len(entry.Data) + result.HistoryBytes))
	for i, c := range result.Commands {
		if tally, ok := decoded.Commands[i].(*command.Tally); ok {
			m.counted(entry.Index, tally, c)
		}
		if len(c.Diverged) > 0 {
			m.latch.trip(fmt.Errorf("%w: entry %d, pacts %s", ErrDiverged, entry.Index, c.Diverged))
		}
	}
	return result
}

// Snapshot implements raft.FSM: it swaps the set of what changed.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.latch.err(); err != nil {
		return nil, err
	}
	image := m.state.TakeDirty()
	m.applied.Store(0)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = append(m.pending, image)
	return &checkpoint{machine: m, index: image.Meta.Index}, nil
}

// Restore implements raft.FSM: the state becomes the one in r, on disk at once
// and then in memory, or stays as it was.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	if err := m.snapshots.fitsReceived(); err != nil {
		return err // nothing was touched
	}
	image, err := readSnapshot(r)
	if err != nil {
		// The peer's fault: the state was not touched, and the next start must not meet this again.
		return errors.Join(err, m.snapshots.discard())
	}
	if err := replace(m.store, image); err != nil {
		return m.latch.trip(err)
	}
	m.mu.Lock()
	m.pending = nil // of the state that was replaced
	m.mu.Unlock()
	if err := errors.Join(m.load(), m.snapshots.takenOver(image.Meta.Index)); err != nil {
		return m.latch.trip(fmt.Errorf("take over a peer's snapshot: %w", err))
	}
	m.index.Store(image.Meta.Index)
	m.advanced(m.state.Pacts())
	return nil
}

// load makes the state that of the store, which has its pages from then on.
func (m *machine) load() error { return m.store.LoadInto(m.state, pages{m.store, m.latch}) }

// pages is the store as a source of pages. One that cannot be read is gone for
// everybody here, so the replica stops itself.
type pages struct {
	*store.Store
	latch *latch
}

func (p pages) Page(name state.PageName, index uint64) ([]byte, error) {
	data, err := p.Store.Page(name, index)
	if err != nil && !errors.Is(err, state.ErrPageGone) && !errors.Is(err, store.ErrClosed) {
		p.latch.trip(err)
	}
	return data, err
}

func (p pages) Kept(key *crdt.Key, from crdt.Offset, index uint64, visit func([]byte) (bool, error)) error {
	return p.watched(p.Store.Kept(key, from, index, visit))
}

func (p pages) AllKept(index uint64, visit func([]byte) error) error {
	return p.watched(p.Store.AllKept(index, visit))
}

// watched trips the latch over damage.
func (p pages) watched(err error) error {
	if errors.Is(err, store.ErrDamaged) {
		p.latch.trip(err)
	}
	return err
}

// readSnapshot reads a snapshot and compares all of it with its digests.
func readSnapshot(r io.Reader) (*state.Image, error) {
	image, err := store.ReadSnapshot(r)
	if err == nil {
		err = state.New().Restore(image)
	}
	if err != nil {
		return nil, fmt.Errorf("read a peer's snapshot: %w", err)
	}
	return image, nil
}

// replace puts a snapshot's state in the place of the stored one, and reads it
// back: raft removes the log behind it. The store begins a new directory and
// switches to it at once.
func replace(to *store.Store, image *state.Image) error {
	err := to.Restore(image)
	if err == nil {
		err = to.Verify()
	}
	if err != nil {
		return fmt.Errorf("take over a peer's snapshot: %w", err)
	}
	return nil
}

// persist makes every image up to index durable, oldest first. An image that
// cannot be written is lost to the state's bookkeeping, so the replica stops.
func (m *machine) persist(index uint64) error {
	for {
		m.mu.Lock()
		if len(m.pending) == 0 || m.pending[0].Meta.Index > index {
			m.mu.Unlock()
			break
		}
		image := m.pending[0]
		m.mu.Unlock()
		if err := m.store.Checkpoint(image); err != nil {
			return m.latch.poison(fmt.Errorf("write checkpoint at entry %d: %w", image.Meta.Index, err))
		}
		m.state.Persisted(image)
		m.mu.Lock()
		if len(m.pending) > 0 && m.pending[0] == image {
			m.pending = m.pending[1:]
		}
		m.mu.Unlock()
	}
	if m.store.Index() < index {
		return fmt.Errorf("checkpoint at entry %d was overtaken by a peer's snapshot", index)
	}
	if !m.cuts.Load() {
		return nil
	}
	if err := m.store.Verify(); err != nil {
		return m.latch.trip(fmt.Errorf("verify checkpoint at entry %d: %w", index, err))
	}
	return nil
}

// checkpoint implements raft.FSMSnapshot. Released without Persist, its image
// stays pending and goes into the next one.
type checkpoint struct {
	machine *machine
	index   uint64 // of the state, not above raft's
}

func (c *checkpoint) Persist(to raft.SnapshotSink) error {
	if err := c.machine.persist(c.index); err != nil {
		return err
	}
	own, ok := to.(*sink)
	if !ok {
		return fmt.Errorf("unexpected snapshot sink %T", to)
	}
	own.ofCheckpoint(c.index)
	return nil
}

func (c *checkpoint) Release() {}
