package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scrubAll steps through one scrub; between runs between steps.
func scrubAll(s *Store, between func()) (rows int, err error) {
	c, err := s.BeginScrub()
	if err != nil {
		return 0, err
	}
	defer c.End()
	for {
		n, _, done, err := c.Step(2000)
		rows += n
		if err != nil || done {
			return rows, err
		}
		between()
	}
}

// A scrub finds a whole checkpoint whole, also while newer ones are written.
func TestScrub(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if rows, err := scrubAll(s, func() {}); rows != 0 || err != nil {
		t.Fatalf("empty: %d rows, %v", rows, err)
	}
	h := newHub(t)
	h.tell(t)
	h.fill(t, 0, 60)
	for i := range 300 { // several pages
		h.edit(t, "acme", i, strings.Repeat("x", 400))
	}
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	steps := 0
	rows, err := scrubAll(s, func() {
		steps++
		h.fill(t, steps, 3) // overwrites what is yet to be read, and what was
		if err := s.Checkpoint(h.TakeDirty()); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil || rows < 10 || steps < 3 {
		t.Fatalf("%d rows in %d steps, %v", rows, steps, err)
	}
	if _, err := scrubAll(s, func() {}); err != nil {
		t.Fatal(err)
	}
	other := newHub(t)
	other.fill(t, 0, 60)
	_, err = scrubAll(s, func() {
		if err := s.Restore(other.Image()); err != nil {
			t.Fatal(err)
		}
	})
	if !errors.Is(err, ErrOvertaken) {
		t.Fatalf("replaced under it: %v", err)
	}
}

// A row that is gone, and one that stands for another, are found by the sums.
func TestScrubFindsMissingRows(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	h := newHub(t)
	h.fill(t, 0, 30)
	c := h.TakeDirty()
	if err := s.Checkpoint(c); err != nil {
		t.Fatal(err)
	}
	erase(t, s, pageKey(c.Pages[0].PageName))
	if _, err := scrubAll(s, func() {}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a register is gone: %v", err)
	}
}

// One bit of a table on disk flips under a running store.
func TestScrubFindsAFlippedBit(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	long := strings.Repeat("sentinel ", 2000)
	for i := range 400 { // more than the tables in memory hold
		h.edit(t, "acme", i, long)
	}
	if err := s.Checkpoint(h.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	if _, err := scrubAll(s, func() {}); err != nil {
		t.Fatal(err)
	}
	// The database moves its tables about meanwhile, and may hold a block in memory.
	for part := int64(2); part < 50; part++ {
		flip(t, stateDir(dir, s.number), part)
		if _, err := scrubAll(s, func() {}); errors.Is(err, ErrDamaged) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("flipped bits in all tables, and the scrub found nothing")
}

// flip flips a bit in every table that is there, at a part of its length.
func flip(t *testing.T, dir string, part int64) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		file, err := os.OpenFile(table, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := file.ReadAt(b[:], info.Size()/part); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		_, err = file.WriteAt(b[:], info.Size()/part)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
