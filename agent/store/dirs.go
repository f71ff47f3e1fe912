package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entente-sync/entente/proto/durable"
)

// makeDir makes dir, and its name durable: what is synced in a directory whose
// own name is lost is lost with it. A name may be there from a start that a power
// loss ended, so it is synced again at every one.
func makeDir(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	made := []string{dir}
	for at := filepath.Dir(dir); !exists(at); at = filepath.Dir(at) {
		made = append(made, at)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, one := range made {
		// Where only an operator may look, only he made the directory.
		if err := durable.SyncDir(filepath.Dir(one)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
