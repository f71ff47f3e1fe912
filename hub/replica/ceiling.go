package replica

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// Ceiling is raft exactly as a Replica sets it up (log with checksums, votes,
// transport, timeouts) under a state machine that does nothing. No hub on this
// package can commit faster: bench/load measures every figure against it.
type Ceiling struct{ replica *Replica }

// OpenCeiling founds the cluster of cfg.Voters, or joins in again. cfg.Dir holds
// no hub and never will.
func OpenCeiling(cfg Config) (*Ceiling, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := newReplica(cfg)
	if err := r.openCeiling(); err != nil {
		return nil, errors.Join(err, r.release())
	}
	return &Ceiling{r}, nil
}

func (r *Replica) openCeiling() error {
	if err := r.openLog(); err != nil {
		return err
	}
	return r.openRaft(idle{}, raft.NewDiscardSnapshotStore())
}

// Leading reports whether this node leads.
func (c *Ceiling) Leading() bool { return c.replica.raft.State() == raft.Leader }

// Start proposes one entry. wait returns when it is on stable storage of a
// majority and the state machine has done nothing with it.
func (c *Ceiling) Start(entry []byte) (wait func() error) {
	return c.replica.raft.Apply(entry, 0).Error
}

// Close stops the node.
func (c *Ceiling) Close() error {
	return errors.Join(c.replica.halt(), c.replica.release())
}

// idle is the state machine that does nothing.
type idle struct{}

var _ raft.BatchingFSM = idle{}

func (idle) Apply(*raft.Log) any                  { return nil }
func (idle) ApplyBatch(entries []*raft.Log) []any { return make([]any, len(entries)) }
func (idle) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("an idle state machine has no snapshot")
}
func (idle) Restore(r io.ReadCloser) error { return r.Close() }
