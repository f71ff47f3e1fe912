package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MakeDirs makes root and directories in it, and their names durable: what is
// synced in a directory whose own name is lost is lost with it. A name may be
// there from a start that a power loss ended, so it is synced again at every one.
func MakeDirs(root string, below ...string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	made := []string{root}
	for at := filepath.Dir(root); !exists(at); at = filepath.Dir(at) {
		made = append(made, at)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	for _, name := range below {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			return err
		}
	}
	if err := SyncDir(root); err != nil {
		return err
	}
	for _, dir := range made {
		// Where only an operator may look, only he made the directory.
		if err := SyncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
