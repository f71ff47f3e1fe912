package replica

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/durable"
)

// Errors of Seed.
var (
	// ErrUnfinished reports a directory whose seeding was cut short. Nothing in it
	// may be used: seed it again, or remove what is in it.
	ErrUnfinished = errors.New("the directory was not restored to the end")
	// ErrNotEmpty reports a directory that holds something already.
	ErrNotEmpty = errors.New("the directory is not empty")
)

// fileSeeding marks a directory from the first step of its seeding to the last.
const fileSeeding = "restoring"

// Planted is a state that a cluster shall begin with.
type Planted struct {
	// Dir must be empty, not there, or left by a Seed that did not end. It belongs
	// to no running replica.
	Dir string
	// Node becomes the cluster's only voter; others join it.
	Node string
	// State is a full image. Its index becomes the log's.
	State *state.Image
	// Term must be higher than any that the state's old cluster can have reached:
	// then none of its entries can be taken for one of this cluster's.
	Term uint64

	MemTableBytes int64 // of the store; 0 means its own default
}

// Seed makes a directory that Open starts from as if this node, alone, had
// applied everything up to the state's index. It replaces nothing, and a crash at
// any moment leaves a directory that Open refuses and Seed takes again.
func Seed(p Planted) error {
	for _, step := range p.steps() {
		if err := step(); err != nil {
			return fmt.Errorf("seed %s: %w", p.Dir, err)
		}
	}
	return nil
}

// steps are durable one by one, in this order.
func (p *Planted) steps() []func() error {
	return []func() error{
		p.claim, p.clear, p.plantState, p.plantTerm, p.plantCheckpoint, p.release,
	}
}

func (p *Planted) marker() string { return filepath.Join(p.Dir, fileSeeding) }

// claim marks the directory as not to be used.
func (p *Planted) claim() error {
	if p.Node == "" || p.State.Meta.Index == 0 || p.Term == 0 {
		return errors.New("a node's name, a state and a term are needed")
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	if err := switching(p.Dir); err != nil {
		return err
	}
	if err := unfinished(p.Dir); errors.Is(err, ErrUnfinished) {
		return nil // of a Seed before
	} else if err != nil {
		return err
	}
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case "lost+found": // a directory that is a volume of its own
		case filepath.Base(durable.Aside(p.marker())): // a Seed before died while it wrote the marker
		default:
			return fmt.Errorf("%w: %s holds %s", ErrNotEmpty, p.Dir, e.Name())
		}
	}
	return durable.WriteFile(p.marker(), []byte("A restore began here. Run it again, or empty this directory.\n"))
}

// clear removes what an earlier Seed left.
func (p *Planted) clear() error {
	var errs []error
	for _, part := range []string{dirState, dirLog, dirSnapshots} {
		errs = append(errs, os.RemoveAll(filepath.Join(p.Dir, part)))
	}
	return errors.Join(append(errs, durable.SyncDir(p.Dir))...)
}

func (p *Planted) plantState() error {
	s, err := store.Open(filepath.Join(p.Dir, dirState), store.Options{MemTableBytes: p.MemTableBytes})
	if err != nil {
		return err
	}
	err = s.Restore(p.State)
	if err == nil {
		err = s.Verify()
	}
	return errors.Join(err, s.Close())
}

// plantTerm notes the term; the log itself is made by Open.
func (p *Planted) plantTerm() error {
	dir := filepath.Join(p.Dir, dirLog)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	meta := &metadb.BoltMetaDB{}
	if _, err := meta.Load(dir); err != nil {
		return err
	}
	stable := newStableStore(meta, newLatch(func(error) {}), newStallWatch())
	err := stable.SetUint64([]byte(nameCurrentTerm), p.Term)
	return errors.Join(err, meta.Close(), durable.SyncDir(dir))
}

// plantCheckpoint tells raft that the state is its snapshot.
func (p *Planted) plantCheckpoint() error {
	dir := filepath.Join(p.Dir, dirSnapshots)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writeMeta(filepath.Join(dir, fileCheckpoint), &description{
		SnapshotMeta: raft.SnapshotMeta{
			Version: 1, ID: idCheckpoint, Index: p.State.Meta.Index, Term: p.Term,
			Configuration: membership([]string{p.Node}), ConfigurationIndex: p.State.Meta.Index,
		},
		StateIndex: p.State.Meta.Index,
	})
}

// release makes the directory usable: everything in it is durable.
func (p *Planted) release() error {
	if err := durable.SyncDir(p.Dir); err != nil {
		return err
	}
	if err := os.Remove(p.marker()); err != nil {
		return err
	}
	return durable.SyncDir(p.Dir)
}

// unfinished reports a directory that must not be used.
func unfinished(dir string) error {
	if err := switching(dir); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, fileSeeding)); err == nil {
		return fmt.Errorf("%w: %s", ErrUnfinished, dir)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
