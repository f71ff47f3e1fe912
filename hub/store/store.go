// Package store keeps checkpoints of the hub's state on disk, beside the log
// that is the durability until then, and streams snapshots.
package store

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/durable"
)

// Format is the newest version of the directory's layout and of its rows. Version 1
// had a row for each register; it is read, and the next checkpoint makes it version
// 2. Version 3 has history; a store without any is written as version 2.
const Format = 3

// Errors, to be matched with errors.Is.
var (
	// ErrDamaged: the disk or the database lost or changed bytes. Stop, and
	// rebuild this node from the others.
	ErrDamaged = state.ErrDamaged
	// ErrNewer: a newer program wrote this. Stop, and upgrade this one.
	ErrNewer = errors.New("hub store is newer than this program")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("hub store is closed")
)

// Options of a Store.
type Options struct {
	MemTableBytes int64 // 0 means 32 MiB
}

// valueBytesMax keeps every value beside its key: a pact's document is the
// largest, and the value log is never collected.
const valueBytesMax = 1 << 20

// Store is the newest complete checkpoint in a directory of its own. All methods
// may be called concurrently; but for Index, Page and Hold they run one after
// another.
type Store struct {
	dir  string
	opts Options

	index atomic.Uint64 // of the newest complete checkpoint; 0 before the first

	mu        sync.Mutex // guards everything below; held while reading or writing
	number    uint64     // of the database in force
	db        *badger.DB // nil after Close
	ts        uint64     // timestamp of the newest complete checkpoint
	old       bool       // which is one of format 1
	newest    uint64     // timestamp of any row; 0 before look
	leftovers map[string]struct{}
	pages     *pages  // nil before look or LoadInto
	kept      pageSum // the history of the newest checkpoint
	fresh     pageSum // what joined it since verified
	verified  uint64  // timestamp up to which the history was read back, or was there at the start
	pruned    []byte  // key, without its kind, where pruning goes on
	poison    error   // the first failed write: nothing is written after it

	reading sync.RWMutex // held, inside mu, while db changes

	holding sync.Mutex // guards what follows
	stamps  map[uint64]uint64
	held    map[uint64]int // readers of the checkpoint of an index
}

// Open opens or makes the store in dir, which belongs to one process at a time.
// It removes what a crash left of a restore. The caller must Close it.
func Open(dir string, opts Options) (*Store, error) {
	if opts.MemTableBytes == 0 {
		opts.MemTableBytes = 32 << 20
	}
	s := &Store{dir: dir, opts: opts, stamps: map[uint64]uint64{}, held: map[uint64]int{}}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("hub store: %w", err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	cur, err := readCurrent(s.dir)
	if err != nil {
		return err
	}
	if cur.number == 0 {
		cur.number = 1
		if err := os.MkdirAll(stateDir(s.dir, cur.number), 0o700); err != nil {
			return err
		}
		if err := writeCurrent(s.dir, cur); err != nil {
			return err
		}
	}
	if err := removeOthers(s.dir, cur.number); err != nil {
		return err
	}
	db, err := openDB(stateDir(s.dir, cur.number), s.opts)
	if err != nil {
		return err
	}
	meta, err := newestMeta(db)
	if err == nil && meta.Index < cur.index {
		err = fmt.Errorf("%w: the checkpoint of index %d is gone, the newest is of %d", ErrDamaged, cur.index, meta.Index)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.number, s.db, s.old = cur.number, db, meta.old
	s.kept, s.verified = meta.kept, meta.ts
	s.advance(meta.Index, meta.ts)
	return nil
}

// advance puts a checkpoint into force in memory. Versions below the one before
// may go; those above it belong to one that is not complete.
func (s *Store) advance(index, ts uint64) {
	before := s.index.Load()
	s.index.Store(index)
	s.ts = ts
	s.db.SetDiscardTs(s.stamp(index, ts, before))
}

// Checkpoints come in bursts and write pages all over the keys, so each table of
// level 0 overlaps everything below. Many of them are merged at once, into one
// level as long as the database is no larger than baseLevelBytes: otherwise each
// byte is rewritten on every level, which cost more than all other work of a hub.
const (
	baseLevelBytes = 512 << 20
	zeroTables     = 8 // tables of level 0 that start a merge
	zeroTablesMax  = 24
)

// openDB turns a panic of the database over damaged files into an error.
func openDB(dir string, opts Options) (db *badger.DB, err error) {
	defer rescue(&err)
	if err := mendManifest(dir); err != nil {
		return nil, err
	}
	db, err = badger.OpenManaged(badger.DefaultOptions(dir).
		WithLogger(nil).
		WithSyncWrites(true).
		WithMemTableSize(opts.MemTableBytes).
		WithNumMemtables(3).
		WithBlockCacheSize(16 << 20).
		WithNumCompactors(2).
		WithBaseLevelSize(baseLevelBytes).
		WithNumLevelZeroTables(zeroTables).
		WithNumLevelZeroTablesStall(zeroTablesMax).
		WithCompression(options.None).
		WithValueThreshold(min(valueBytesMax, opts.MemTableBytes/8)).
		WithValueLogFileSize(16 << 20).
		WithDetectConflicts(false))
	if err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// rescue turns a panic into an error: the database panics over some damaged
// files.
func rescue(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: the database panicked: %v", ErrDamaged, p)
	}
}

// Index returns the index of the newest complete checkpoint; 0 before the first.
// It waits for nothing.
func (s *Store) Index() uint64 { return s.index.Load() }

// Restore replaces everything by a full image: in a new directory, which comes
// into force at once when all of it is on stable storage. A crash before that
// leaves what was there. It keeps nothing of the old state. An image of index 0
// is refused.
func (s *Store) Restore(img *state.Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if img.Meta.Index == 0 {
		return fmt.Errorf("hub store: restore: %w: image of index 0", ErrDamaged)
	}
	c, err := state.FullChanges(img)
	if err != nil {
		return fmt.Errorf("hub store: restore: %w", err)
	}
	if err := s.restore(c); err != nil {
		s.poison = fmt.Errorf("hub store: restore: %w", err)
		return s.poison
	}
	return nil
}

func (s *Store) restore(c *state.Changes) error {
	number := s.number + 1
	dir := stateDir(s.dir, number)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	db, err := openDB(dir, s.opts)
	if err != nil {
		return err
	}
	w := &writer{db: db, at: c.Meta.Index, pages: newPages()}
	if err := w.write(dir, c, false); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := writeCurrent(s.dir, current{number, c.Meta.Index}); err != nil {
		return errors.Join(err, db.Close())
	}
	s.reading.Lock()
	err = s.db.Close()
	s.number, s.db = number, db
	s.forget()
	s.reading.Unlock()
	s.advance(c.Meta.Index, w.at)
	s.old, s.newest, s.leftovers, s.pages = false, w.at, nil, w.pages
	s.kept, s.fresh, s.verified, s.pruned = w.kept, w.fresh, 0, nil
	return errors.Join(err, removeOthers(s.dir, number))
}

// Close flushes and releases the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	db := s.db
	s.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("hub store: close: %w", err)
	}
	return nil
}

func (s *Store) usable() error {
	switch {
	case s.poison != nil:
		return s.poison
	case s.db == nil:
		return ErrClosed
	}
	return nil
}
