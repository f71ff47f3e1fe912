package backup

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/entente-sync/entente/hub/store"
)

func TestCreate(t *testing.T) {
	m := machine(t, 10)
	id := identity(t)
	for _, recipients := range [][]age.Recipient{nil, {id.Recipient()}} {
		dir := t.TempDir()
		path := filepath.Join(dir, "one.backup")
		report, err := Create(path, headerOf(m), recipients, bodyOf(m))
		if err != nil || report.Registers != 10 {
			t.Fatalf("%+v, %v", report, err)
		}
		again, err := CheckFile(path, []age.Identity{id})
		if err != nil || again.SHA256 != report.SHA256 || again.Bytes != report.Bytes {
			t.Fatalf("%+v, %v, want %+v", again, err, report)
		}
		if _, err := Create(path, headerOf(m), recipients, bodyOf(m)); !is(err, CodeExists) {
			t.Errorf("written twice: %v", err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// What fails leaves nothing, least of all under the name.
func TestCreateFails(t *testing.T) {
	m := machine(t, 10)
	id := identity(t)
	lie := headerOf(m)
	lie.Index++
	full := bodyOf(m)
	race := func(path string) func(io.Writer) error {
		return func(w io.Writer) error {
			return errors.Join(full(w), os.WriteFile(path, []byte("mine"), 0o600))
		}
	}
	for name, c := range map[string]struct {
		header Header
		body   func(path string) func(io.Writer) error
		code   Code
		want   error
	}{
		"body fails": {headerOf(m), func(string) func(io.Writer) error { return func(io.Writer) error { return store.ErrClosed } }, "", store.ErrClosed},
		"body is cut off": {headerOf(m), func(string) func(io.Writer) error {
			return func(w io.Writer) error {
				_ = full(&brokenWriter{left: 0})
				_, err := w.Write([]byte("entente hub state\n\x01"))
				return err
			}
		}, CodeUnverified, nil},
		"header lies":   {lie, func(string) func(io.Writer) error { return full }, CodeUnverified, nil},
		"name is taken": {headerOf(m), race, CodeExists, nil},
	} {
		for _, recipients := range [][]age.Recipient{nil, {id.Recipient()}} {
			dir := t.TempDir()
			path := filepath.Join(dir, "one.backup")
			_, err := Create(path, c.header, recipients, c.body(path))
			if c.code != "" && !is(err, c.code) || c.want != nil && !errors.Is(err, c.want) || err == nil {
				t.Errorf("%s: %v", name, err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 1 || len(left) == 1 && c.code != CodeExists {
				t.Errorf("%s: left behind: %v, %v", name, left, err)
			}
		}
	}
	if _, err := Create(filepath.Join(t.TempDir(), "nowhere", "x"), headerOf(m), nil, full); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
}
