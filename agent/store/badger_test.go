package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/storetest"
)

func openBadger(t *testing.T, dir string) *store.Badger {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestBadger(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openBadger(t, t.TempDir()) })
}

// What an Update returned from is there after the store was opened again.
func TestBadgerRemembers(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(tx store.Tx) error { return tx.Set([]byte("k"), []byte("v")) }
	if err := errors.Join(s.Update(put), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(put); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update of a closed store: %v", err)
	}
	s = openBadger(t, dir)
	err = s.View(func(tx store.Tx) error {
		v, ok, err := tx.Get([]byte("k"))
		if string(v) != "v" || !ok {
			t.Errorf("got %q, %v", v, ok)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBadgerRefusesWhatItDoesNotKnow(t *testing.T) {
	for text, want := range map[string]error{"2\n": store.ErrNewer, "one\n": nil, "0": nil} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "FORMAT"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(dir)
		if err == nil {
			t.Errorf("format %q was opened", text)
			_ = s.Close()
		}
		if want != nil && !errors.Is(err, want) {
			t.Errorf("format %q: %v, want %v", text, err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "db")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("format %q: the database was touched", text)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(dir); err == nil {
		t.Error("a database without its format was opened")
	}
}

// A row moved under another key, or changed, is found by its checksum.
func TestBadgerFindsDamage(t *testing.T) {
	s := openBadger(t, t.TempDir())
	if err := s.Update(func(tx store.Tx) error { return tx.Set([]byte("k"), []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Damage([]byte("k"), []byte("k2")); err != nil {
		t.Fatal(err)
	}
	err := s.View(func(tx store.Tx) error {
		_, _, err := tx.Get([]byte("k2"))
		return err
	})
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("get of a moved row: %v", err)
	}
	err = s.View(func(tx store.Tx) error {
		return tx.Scan(nil, nil, func(_, _ []byte) error { return nil })
	})
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("scan over a moved row: %v", err)
	}
}
