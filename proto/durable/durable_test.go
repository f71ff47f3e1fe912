package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/entente-sync/entente/proto/durable"
)

// holds compares a directory's files and their content with what is wanted.
func holds(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if text, ok := want[e.Name()]; err != nil || !ok || string(got) != text {
			t.Errorf("%s holds %q, %v; wanted %q", e.Name(), got, err, text)
		}
		delete(want, e.Name())
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "CURRENT")
	// What a crash left is taken over, however long it is.
	if err := os.WriteFile(path+".new", []byte("half of something longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "a longer second", "3", ""} {
		if err := durable.WriteFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		holds(t, dir, map[string]string{"CURRENT": content})
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "no", "such"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

// A name that cannot be taken: nothing is left aside.
func TestRenameFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "name")
	if err := os.MkdirAll(filepath.Join(path, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("x")); err == nil {
		t.Error("a directory was replaced by a file")
	}
	holds(t, dir, map[string]string{})
	if _, err := os.Stat(filepath.Join(path, "below")); err != nil {
		t.Error(err)
	}
}

// A write that fails, whether at its source or at the file: nothing is left.
func TestFillFails(t *testing.T) {
	broken := errors.New("broken")
	text := func(w io.Writer) error {
		_, err := io.WriteString(w, "text")
		return err
	}
	for name, tc := range map[string]struct {
		mode  int
		write func(io.Writer) error
		want  error
	}{
		"the source fails after some bytes": {os.O_WRONLY, func(w io.Writer) error {
			return errors.Join(text(w), broken)
		}, broken},
		"the file takes nothing": {os.O_RDONLY, text, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_CREATE|tc.mode, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if err := durable.Fill(f, tc.write); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%v", err)
			}
			if f.Fd() != ^uintptr(0) {
				t.Error("the file is still open")
			}
			holds(t, dir, map[string]string{})
		})
	}
}

func TestSyncDir(t *testing.T) {
	if err := durable.SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := durable.SyncDir(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
