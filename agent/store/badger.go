package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/entente-sync/entente/proto/durable"
)

// Format is the layout of the directory and of its rows. A store that says a
// greater one was written by a newer program and is refused untouched.
const Format = 1

// ErrNewer means that the directory was written by a newer program.
var ErrNewer = errors.New("agent store is newer than this program")

// formatFile names the format beside the database, so that it can be read
// before any of the database's own files are touched.
const formatFile = "FORMAT"

// Sizes of the small profile: an agent runs beside other programs.
const (
	memTableBytes   = 16 << 20
	blockCacheBytes = 16 << 20
	valueBytesMax   = 1 << 20
)

// Badger is a Store in a directory. Every Update is synced before it returns.
type Badger struct {
	db     *badger.DB
	update chan struct{} // held by the one update that runs; it guards the rest
	files  files
	failed error // of a sync: what was written since may be gone
}

// Open opens or makes the store in dir, which belongs to one process at a
// time. The caller must Close it.
func Open(dir string) (*Badger, error) {
	if err := durable.MakeDirs(dir); err != nil {
		return nil, fmt.Errorf("agent store: %w", err)
	}
	if err := checkFormat(dir); err != nil {
		return nil, err
	}
	opts := badger.DefaultOptions(filepath.Join(dir, "db")).
		WithLogger(nil).
		WithSyncWrites(true).
		WithMemTableSize(memTableBytes).
		WithNumMemtables(2).
		WithBlockCacheSize(blockCacheBytes).
		WithNumCompactors(2).
		WithValueThreshold(valueBytesMax).
		WithValueLogFileSize(16 << 20).
		WithCompression(options.None).
		WithDetectConflicts(false) // updates run one after another
	db, err := badger.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("agent store: %w", err)
	}
	s := &Badger{db: db, files: files{dir: filepath.Join(dir, "db")}, update: make(chan struct{}, 1)}
	if err := errors.Join(s.files.sync(), durable.SyncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("agent store: %w", err), db.Close())
	}
	return s, nil
}

// Update implements Store. What fn writes must fit into one transaction of two
// megabytes (15 % of a memory table); more gives an error and leaves nothing.
func (s *Badger) Update(fn func(Tx) error) error {
	s.update <- struct{}{}
	defer func() { <-s.update }()
	return s.run(true, fn)
}

// View implements Store.
func (s *Badger) View(fn func(Tx) error) error { return s.run(false, fn) }

func (s *Badger) run(write bool, fn func(Tx) error) error {
	if s.db.IsClosed() {
		return ErrClosed
	}
	txn := s.db.NewTransaction(write)
	defer txn.Discard()
	if err := fn(badgerTx{txn}); err != nil {
		return err
	}
	if !write {
		return nil
	}
	if s.failed != nil {
		return s.failed
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("agent store: commit: %w", err)
	}
	if err := s.files.sync(); err != nil {
		s.failed = fmt.Errorf("agent store: the database's files: %w", err)
	}
	return s.failed
}

// Close flushes and releases the directory. No call may be under way.
func (s *Badger) Close() error {
	if s.db.IsClosed() {
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("agent store: close: %w", err)
	}
	return nil
}

// checkFormat reads the format file, or writes it in a new directory.
func checkFormat(dir string) error {
	path := filepath.Join(dir, formatFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return writeFormat(dir, path)
	}
	if err != nil {
		return fmt.Errorf("agent store: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case err != nil || n < 1:
		return fmt.Errorf("agent store: %s is damaged: want a number from 1", formatFile)
	case n > Format:
		return fmt.Errorf("%w: format %d, known up to %d", ErrNewer, n, Format)
	}
	return nil
}

func writeFormat(dir, path string) error {
	if _, err := os.Stat(filepath.Join(dir, "db")); err == nil {
		return fmt.Errorf("agent store: %s is missing beside a database; restore it or the whole directory", formatFile)
	}
	if err := durable.WriteFile(path, []byte(strconv.Itoa(Format)+"\n")); err != nil {
		return fmt.Errorf("agent store: %w", err)
	}
	return nil
}
