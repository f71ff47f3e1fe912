// Package durable writes files that a crash leaves either as they were before or
// as they were to become: aside, synced, renamed, and the directory synced.
package durable

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// asideMark ends the name of a file that WriteFile has not finished. The name is
// always the same one, so a crash leaves at most one, which the next call takes.
const asideMark = ".new"

// Aside returns the name under which WriteFile prepares the file at path. A crash
// may leave a file there that nobody ever relied on.
func Aside(path string) string { return path + asideMark }

// WriteFile gives the file at path this content, readable by its owner alone. On
// an error the file is what it was before, unless the directory alone could not
// be synced: then it is either, after a crash. One caller at a time for a path.
func WriteFile(path string, content []byte) error {
	f, err := os.OpenFile(Aside(path), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = Fill(f, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	return Replace(f.Name(), path)
}

// Fill lets write fill the new file f, syncs it and closes it. After an error the
// file is gone.
func Fill(f *os.File, write func(io.Writer) error) error {
	buf := bufio.NewWriterSize(f, 256<<10)
	err := write(buf)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Replace gives what stands aside, in the same directory and synced, the name
// path, durably. If it cannot be renamed it is removed.
func Replace(aside, path string) error {
	if err := os.Rename(aside, path); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes durable what was made, renamed and removed in a directory.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
