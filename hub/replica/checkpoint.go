package replica

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// checkpoint moves what changed into the store, off the path of acks, by bytes
// and at least every CheckpointInterval, and lets raft cut the log below it. Raft
// cuts only after the checkpoint is durable and verified.
func (r *Replica) checkpoint() {
	const looksPerInterval = 16
	tick := time.NewTicker(max(r.cfg.CheckpointInterval/looksPerInterval, time.Millisecond))
	defer tick.Stop()
	looks, complained := 0, false
	for {
		select {
		case <-tick.C:
		case <-r.closing:
			return
		}
		looks++
		bytes := r.machine.applied.Load()
		if bytes == 0 || bytes < r.cfg.CheckpointBytes && looks < looksPerInterval {
			continue
		}
		looks = 0
		err := r.Checkpoint()
		if err != nil && !complained && !errors.Is(err, raft.ErrRaftShutdown) {
			r.cfg.Log.Warn("checkpoint put off", "error", err)
		}
		complained = err != nil
	}
}

// Checkpoint makes the state durable as of now and cuts the log, keeping
// TrailingBytes of it for peers that are behind.
func (r *Replica) Checkpoint() error {
	r.checkpoints.Lock()
	defer r.checkpoints.Unlock()
	if err := r.volume.fits(r.volume.checkpointBytes(r.machine.applied.Load())); err != nil {
		return err
	}
	// Decided before the log grows any further: a checkpoint that is not verified
	// cuts nothing, however long the log is when it is done.
	cuts := r.log.bytes() > r.cfg.TrailingBytes
	r.machine.cuts.Store(cuts)
	settings := r.raft.ReloadableConfig()
	settings.TrailingLogs = trailingAll
	if cuts {
		settings.TrailingLogs = max(1, r.log.entriesWithin(r.cfg.TrailingBytes))
	}
	if err := r.raft.ReloadConfig(settings); err != nil {
		return err
	}
	err := r.await(r.raft.Snapshot())
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		err = nil
	}
	return errors.Join(err, r.log.noteEnd()) // not below the checkpoint
}
