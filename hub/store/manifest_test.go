package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestTableWithoutAName: a power loss takes back what happened to the names since
// they were synced: a table that the manifest names is not there, and the log that
// was removed after it is.
func TestTableWithoutAName(t *testing.T) {
	dir := t.TempDir()
	s, h := mustOpen(t, dir), newHub(t)
	for i := range 60 {
		h.step(t, i)
	}
	checkpoint(t, s, h)
	want := h.Image()
	before := crashed(t, dir) // the log is there, and holds everything
	if err := s.Close(); err != nil {
		t.Fatal(err) // it becomes a table, and the manifest names that
	}
	db := stateDir(before, 1)
	manifest, err := os.ReadFile(filepath.Join(stateDir(dir, 1), "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(db, "MANIFEST"), manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	if tables := must(filepath.Glob(filepath.Join(db, "*.sst"))); len(tables) > 0 {
		t.Fatalf("there are tables already: %s", tables)
	}
	s = mustOpen(t, before)
	defer s.Close()
	mustEqual(t, s, want)
}

// TestLostTable: without the log the checkpoint is not whole, and no state is made
// of what is left.
func TestLostTable(t *testing.T) {
	dir := t.TempDir()
	s, h := mustOpen(t, dir), newHub(t)
	for i := range 60 {
		h.step(t, i)
	}
	checkpoint(t, s, h)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range must(filepath.Glob(filepath.Join(stateDir(dir, 1), "*.sst"))) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir, small)
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}
