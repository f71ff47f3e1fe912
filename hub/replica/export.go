package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

// ErrNothing reports a replica that has no state to export yet.
var ErrNothing = errors.New("this node holds no state yet")

// Export is the state of a replica as a snapshot of hub/store, for the world
// outside the cluster.
type Export struct {
	Meta   state.Meta
	Term   uint64 // of the raft snapshot, whose index is not below the state's
	Voters []string
	// Body is the whole snapshot. Reading it waits for nothing in the replica.
	Body io.Reader

	data io.Closer
}

// Close releases the export.
func (e *Export) Close() error { return e.data.Close() }

// Export makes a checkpoint, so that everything is in it that this replica has
// applied, and returns it: read from the store, compared with its digests, and
// spooled to disk. Any node can; what a follower has not applied is not in it.
// The caller must Close it.
func (r *Replica) Export() (*Export, error) {
	if err := r.latch.err(); err != nil {
		return nil, err
	}
	if err := r.Checkpoint(); err != nil {
		return nil, fmt.Errorf("checkpoint for an export: %w", err)
	}
	meta, data, err := r.snapshots.openNewest()
	if err != nil {
		return nil, fmt.Errorf("export the state: %w", err)
	}
	e := &Export{Term: meta.Term, data: data}
	for _, s := range meta.Configuration.Servers {
		if s.Suffrage == raft.Voter {
			e.Voters = append(e.Voters, string(s.ID))
		}
	}
	var begin bytes.Buffer
	if e.Meta, err = store.SnapshotMeta(io.TeeReader(data, &begin)); err != nil {
		return nil, errors.Join(err, data.Close())
	}
	e.Body = io.MultiReader(&begin, data)
	return e, nil
}

// openNewest is List and Open in one, since a snapshot may be replaced between
// the two.
func (s *snapshots) openNewest() (*raft.SnapshotMeta, io.ReadCloser, error) {
	const triesMax = 10
	for try := 1; ; try++ {
		metas, err := s.List()
		if err != nil {
			return nil, nil, err
		}
		if len(metas) == 0 {
			return nil, nil, ErrNothing
		}
		meta, data, err := s.Open(metas[0].ID)
		if err == nil || try == triesMax {
			return meta, data, err
		}
	}
}

// LastContact returns when this replica last heard from the leader, zero for
// never, and whether it is the leader itself.
func (r *Replica) LastContact() (last time.Time, leads bool) {
	return r.raft.LastContact(), r.raft.State() == raft.Leader
}
