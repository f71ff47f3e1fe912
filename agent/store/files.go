package store

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/entente-sync/entente/proto/durable"
)

// How long a memory table may take to become a table on disk before an update
// goes on without it, and how often that is looked at. It happens once for every
// memTableBytes that were written.
const (
	flushWaitMax = 5 * time.Second
	flushLook    = 2 * time.Millisecond
)

// files makes the names of a database's files durable. Badger syncs what it
// writes into a new log, and that its manifest names a new table; the names in the
// directory it does not. Without its log an update that was acknowledged is gone,
// and without a table that the manifest names the database does not open.
type files struct {
	dir     string
	durable []string // names that are
}

// sync is called after each commit: a commit may begin a log, and what was in the
// log before becomes a table soon after.
func (f *files) sync() error {
	names, err := f.names()
	if err != nil || !slices.ContainsFunc(names, f.isNew) {
		return err
	}
	if err := durable.SyncDir(f.dir); err != nil {
		return err
	}
	for began := time.Now(); logs(names) > 1 && time.Since(began) < flushWaitMax; time.Sleep(flushLook) {
		if names, err = f.names(); err != nil {
			return err
		}
	}
	f.durable = names
	return durable.SyncDir(f.dir)
}

func (f *files) isNew(name string) bool { return !slices.Contains(f.durable, name) }

// names lists logs and tables.
func (f *files) names() ([]string, error) {
	d, err := os.Open(f.dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return slices.DeleteFunc(names, func(name string) bool {
		ext := filepath.Ext(name)
		return ext != ".mem" && ext != ".sst"
	}), err
}

// logs counts the memory tables: one is written to, others are on their way.
func logs(names []string) (n int) {
	for _, name := range names {
		if filepath.Ext(name) == ".mem" {
			n++
		}
	}
	return n
}
