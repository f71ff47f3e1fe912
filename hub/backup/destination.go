package backup

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/proto/durable"
)

// Destination is where scheduled backups are kept: a flat set of named files. All
// methods may be called concurrently, by nodes that do not know of each other, and
// end when their context does. Names consist of letters, digits, dots and hyphens,
// and begin with a letter or digit.
type Destination interface {
	// Put stores all of r under name, durably, in the place of what had the name.
	// While it runs and after an error, the name is what it was before.
	Put(ctx context.Context, name string, r io.Reader) error
	// Get returns what has the name; fs.ErrNotExist if nothing has. What is closed
	// early was not read.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns all names, sorted. Others may keep files there too.
	List(ctx context.Context) ([]string, error)
	// Delete removes the name; that it is gone already is no error.
	Delete(ctx context.Context, name string) error
}

// Directory is a Destination in a file system. In a hub of several nodes it must
// be one that all of them mount.
type Directory struct{ path string }

var _ Destination = Directory{}

// staleAfter is when a file that was never finished belongs to nobody any more.
const staleAfter = 24 * time.Hour

// NewDirectory returns the destination at path, which is made when it is first
// written to.
func NewDirectory(path string) Directory { return Directory{path} }

func (d Directory) String() string { return d.path }

// Put implements Destination: aside, synced, renamed.
func (d Directory) Put(ctx context.Context, name string, r io.Reader) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	if err := d.removeStale(); err != nil {
		return err
	}
	partial, err := writeAside(d.file(name), func(w io.Writer) error {
		_, err := io.Copy(w, untilDone{ctx, r})
		return err
	})
	if err != nil {
		return err
	}
	return durable.Replace(partial, d.file(name))
}

// removeStale clears away what crashes left.
func (d Directory) removeStale() error {
	partials, err := filepath.Glob(filepath.Join(d.path, ".*"+partialMark+"*"))
	if err != nil {
		return err
	}
	for _, p := range partials {
		info, err := os.Lstat(p)
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			err = os.Remove(p)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Get implements Destination.
func (d Directory) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(d.file(name))
	if err != nil {
		return nil, err
	}
	return readCloser{bufio.NewReaderSize(untilDone{ctx, f}, 256<<10), f}, nil
}

// List implements Destination.
func (d Directory) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// Delete implements Destination.
func (d Directory) Delete(_ context.Context, name string) error {
	if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := durable.SyncDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever put there
	}
	return err
}

func (d Directory) file(name string) string { return filepath.Join(d.path, name) }

type readCloser struct {
	io.Reader
	io.Closer
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}
