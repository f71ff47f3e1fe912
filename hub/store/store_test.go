package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/hub/state"
)

var small = Options{MemTableBytes: 1 << 20}

func mustOpen(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// loaded is the state that a store holds.
func loaded(s *Store) (*state.Machine, error) {
	img, err := s.Load()
	if err != nil {
		return nil, err
	}
	m := state.New()
	return m, m.Restore(img)
}

func mustEqual(t testing.TB, s *Store, want *state.Image) {
	t.Helper()
	m, err := loaded(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Image(); !reflect.DeepEqual(got, want) {
		t.Fatalf("loaded index %d with %d registers, want %d with %d",
			got.Meta.Index, len(got.Registers), want.Meta.Index, len(want.Registers))
	}
}

func TestCheckpointsAreTheState(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustEqual(t, s, state.New().Image())
	h := newHub(t)
	for round := range 4 {
		h.fill(t, 40*round, 50) // overlaps, so that rows are overwritten
		if round == 1 {
			h.tell(t) // the rounds after it do not change the roster
		}
		if err := s.Checkpoint(h.TakeDirty()); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, s, h.Image())
		if err := s.Verify(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir)
	if again.Index() != h.Index() {
		t.Fatalf("index %d after reopening, want %d", again.Index(), h.Index())
	}
	mustEqual(t, again, h.Image())
	if _, err := s.Load(); !errors.Is(err, ErrClosed) {
		t.Fatalf("a closed store loads: %v", err)
	}
}

// A crash between the batches of a checkpoint leaves the one before. The log is
// replayed, and the next checkpoint, below the crashed one or above, is whole.
func TestCrashBetweenBatches(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h, ahead := newHub(t), newHub(t) // the node after the crash, and before
	for i := range 60 {
		h.step(t, i)
		ahead.step(t, i)
	}
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	ahead.TakeDirty()
	for i := 60; i < 120; i++ {
		ahead.step(t, i)
	}
	w := &writer{db: s.db, from: s.ts, at: ahead.Index(), pages: s.pages, batch: s.db.NewWriteBatchAt(ahead.Index())}
	if err := errors.Join(w.rows(ahead.TakeDirty()), w.batch.Flush()); err != nil { // and no meta row
		t.Fatal(err)
	}
	mustEqual(t, s, h.Image())
	s = mustOpen(t, crashed(t, dir))
	mustEqual(t, s, h.Image())
	h.Machine = state.New() // its pages end elsewhere than those of the node that crashed
	if err := s.LoadInto(h.Machine, s); err != nil {
		t.Fatal(err)
	}
	for i := 60; i < 180; i++ {
		h.step(t, i)
		if i%25 == 0 {
			checkpoint(t, s, h)
			mustEqual(t, s, h.Image())
		}
	}
}

// crashed is a copy of the files as they are now: what a killed process leaves. The
// database adds and removes files by itself; a copy made meanwhile is of no one
// moment, and is made again.
func crashed(t testing.TB, dir string) string {
	t.Helper()
	files := func() string {
		return strings.Join(must(filepath.Glob(filepath.Join(dir, "*", "*"))), "\n")
	}
	var to string
	for {
		to = t.TempDir()
		before := files()
		err := os.CopyFS(to, os.DirFS(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil && files() == before {
			break
		}
	}
	for _, lock := range must(filepath.Glob(filepath.Join(to, "*", "LOCK"))) {
		if err := os.Remove(lock); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Whatever byte of whatever file of the database changes: an error, or the
// state is whole.
func TestBitFlips(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	h.fill(t, 0, 100)
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	want := h.Image()
	log := crashed(t, dir) // still in the write-ahead log
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, from := range []string{dir, log} { // in a table; in the log
		for _, pattern := range []string{"*.sst", "*.mem"} {
			for _, file := range must(filepath.Glob(filepath.Join(from, "*", pattern))) {
				raw := must(os.ReadFile(file))
				used := len(bytes.TrimRight(raw, "\x00"))
				for i := range 12 {
					at := used * i / 12
					err := flipped(t, from, file, at, want)
					if err == nil {
						continue
					}
					found++
					if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
						t.Logf("%s byte %d: the database says: %v", pattern, at, err)
					}
				}
			}
		}
	}
	if found == 0 {
		t.Fatal("no flipped bit was found: the test flips nothing that counts")
	}
}

func flipped(t *testing.T, from, file string, at int, want *state.Image) error {
	dir := crashed(t, from)
	rel := must(filepath.Rel(from, file))
	raw := must(os.ReadFile(file))
	raw[at] ^= 0x10
	if err := os.WriteFile(filepath.Join(dir, rel), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, small)
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := loaded(s)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(m.Image(), want) {
		t.Fatalf("%s: a flipped bit at byte %d changed the state without an error", rel, at)
	}
	return nil
}

// A row that is gone, and a row of an older time, are found by the digests.
func TestMissingAndStaleRows(t *testing.T) {
	for name, damage := range map[string]func(*testing.T, *Store, *state.Image){
		"missing page": func(t *testing.T, s *Store, img *state.Image) {
			erase(t, s, pageKey(state.PageName{Pact: "tickets", First: img.Registers[0].Offset - 1}))
		},
		"page of another time": func(t *testing.T, s *Store, img *state.Image) {
			name := state.PageName{Pact: "tickets", First: img.Registers[0].Offset - 1}
			data := must(readPage(s.db, name, s.ts))
			put(t, s, pageKey(name), append(header(0), data[:len(data)/2]...))
		},
		"page left over": func(t *testing.T, s *Store, img *state.Image) {
			put(t, s, pageKey(state.PageName{Pact: "tickets", First: 1 << 40}), header(0))
		},
		"missing author": func(t *testing.T, s *Store, img *state.Image) { erase(t, s, authorKey(&img.Authors[0])) },
		"missing pact":   func(t *testing.T, s *Store, img *state.Image) { erase(t, s, pactKey(img.Pacts[0].Pact)) },
		"stale author": func(t *testing.T, s *Store, img *state.Image) {
			row := img.Authors[0]
			row.State.Seen--
			row.State.Applied = row.State.Seen
			put(t, s, authorKey(&row), appendAuthor(header(64), &row))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, t.TempDir())
			h := newHub(t)
			h.fill(t, 0, 10)
			if err := s.Checkpoint(h.TakeDirty()); err != nil {
				t.Fatal(err)
			}
			damage(t, s, h.Image())
			if _, err := loaded(s); !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			if err := s.Verify(); !errors.Is(err, ErrDamaged) {
				t.Fatalf("Verify: got %v, want ErrDamaged", err)
			}
		})
	}
}

func put(t *testing.T, s *Store, key, row []byte) {
	t.Helper()
	txn := s.db.NewTransactionAt(math.MaxUint64, true)
	if err := errors.Join(set(txn, key, row), txn.CommitAt(s.Index(), nil)); err != nil {
		t.Fatal(err)
	}
}

func erase(t *testing.T, s *Store, key []byte) {
	t.Helper()
	txn := s.db.NewTransactionAt(math.MaxUint64, true)
	if err := errors.Join(txn.Delete(key), txn.CommitAt(s.Index(), nil)); err != nil {
		t.Fatal(err)
	}
}

func TestNewerRow(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	h := newHub(t)
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	txn := s.db.NewTransactionAt(math.MaxUint64, true)
	row := header(0)
	row[0] = Format + 1
	if err := errors.Join(set(txn, []byte("p"), row), txn.CommitAt(s.Index(), nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v, want ErrNewer", err)
	}
}

// Restore replaces everything at once; what a crash leaves of one is removed.
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	h.fill(t, 0, 30)
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	other := newHub(t)
	other.fill(t, 100, 5)
	if err := s.Restore(other.Image()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, s, other.Image())
	if err := s.LoadInto(other.Machine, s); err != nil {
		t.Fatal(err)
	}
	other.fill(t, 200, 5)
	if err := s.Checkpoint(other.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	half := stateDir(dir, 77) // a restore that never came into force
	if err := errors.Join(os.Mkdir(half, 0o700), os.WriteFile(filepath.Join(half, "000001.sst"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	mustEqual(t, s, other.Image())
	if left := must(stateNumbers(dir)); len(left) != 1 {
		t.Fatalf("databases %v are left", left)
	}
	if err := s.Restore(&state.Image{}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("an image of nothing: %v", err)
	}
}

func TestCurrentFile(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"newer", fmt.Sprintf("%d what ever\n", Format+1), ErrNewer},
		{"empty", "", ErrDamaged},
		{"words", "1 state-1\n", ErrDamaged},
		{"directory is gone", "1 state-00000000000000ff 1\n", ErrDamaged},
		{"checkpoint is gone", "1 state-0000000000000001 999\n", ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filled(t)
			if err := os.WriteFile(filepath.Join(dir, currentFile), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, small); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		dir := filled(t)
		if err := os.Remove(filepath.Join(dir, currentFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, small); !errors.Is(err, ErrDamaged) {
			t.Fatalf("got %v, want ErrDamaged", err)
		}
	})
}

// filled is the directory of a closed store with one checkpoint.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	if err := errors.Join(s.Checkpoint(h.TakeDirty()), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// After a failed write nothing is written any more.
// Until all of it is durable, what was there is in force.
func TestRestoreThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	h.fill(t, 0, 30)
	want := h.Image()
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	other := newHub(t)
	other.fill(t, 100, 5)
	img := other.Image()
	img.History = brokenArchive{}
	if err := s.Restore(img); !errors.Is(err, errArchive) {
		t.Fatalf("a state that cannot be written was restored: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	mustEqual(t, s, want)
}

// brokenArchive fails in the middle of writing a state.
type brokenArchive struct{}

var errArchive = errors.New("the archive cannot be read")

func (brokenArchive) Each(func(message []byte) error) error { return errArchive }

func TestPoison(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	h := newHub(t)
	checkpoint(t, s, h)
	h.fill(t, 0, 5)
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	first := s.Checkpoint(h.TakeDirty())
	if !errors.Is(first, badger.ErrBlockedWrites) && !errors.Is(first, badger.ErrDBClosed) {
		t.Fatalf("a closed database takes a checkpoint: %v", first)
	}
	if second := s.Restore(h.Image()); second != first {
		t.Fatalf("got %v, want the first error again", second)
	}
}

// Checkpoints larger than the database's write buffer, over and over: all of each
// is there after a restart, and what was overwritten is given back.
func TestLargeCheckpoints(t *testing.T) {
	const records, rounds, valueBytes = 2000, 20, 400
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	checkpoint(t, s, h)
	if err := s.LoadInto(h.Machine, s); err != nil {
		t.Fatal(err)
	}
	h.KeepPages(0)
	for range rounds {
		for i := range records {
			h.edit(t, "acme", i, strings.Repeat("x", valueBytes))
		}
		checkpoint(t, s, h)
	}
	want := h.Image()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	mustEqual(t, s, want)
	if err := s.db.Flatten(1); err != nil { // else the compactor chooses when
		t.Fatal(err)
	}
	mustEqual(t, s, want)
	var tables int64
	for _, table := range s.db.Tables() {
		tables += int64(table.OnDiskSize)
	}
	if written := int64(rounds * records * valueBytes); tables > written/2 {
		t.Fatalf("%d bytes of tables where %d were written and most overwritten", tables, written)
	}
}
