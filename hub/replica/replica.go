package replica

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/durable"
)

// Parts of a replica's directory.
const (
	dirLog       = "log"
	dirState     = "state"
	dirSnapshots = "snapshots"
)

// lagEntriesMax is how far behind its leader's commits a node may be and still
// count as caught up.
const lagEntriesMax = 64

// Replica is one node's copy of the hub's state, kept equal to its peers' by the
// log. All methods are safe for concurrent use.
type Replica struct {
	cfg     Config
	state   *state.Machine
	machine *machine
	latch   *latch
	watch   *stallWatch
	volume  *volume
	raft    *raft.Raft

	meta      *metadb.BoltMetaDB
	wal       *wal.WAL
	log       *logStore
	snapshots *snapshots
	store     *store.Store
	transport transport
	stream    *streamLayer
	auditor   auditor
	scrubber  scrubber

	queue    *queue
	slots    chan struct{} // one for each entry under way
	flights  chan flight
	progress progress
	leading  atomic.Bool   // elected, and everything committed before is applied
	newest   atomic.Uint32 // kind of command that may be proposed: see Allow
	silent   atomic.Bool   // the disk stalls: this node claims no leadership

	checkpoints sync.Mutex // held by Checkpoint: one at a time

	closing   chan struct{} // Close has begun
	stopped   chan struct{} // raft has ended: nothing will be answered any more
	haltOnce  sync.Once
	closeOnce sync.Once
	closeErr  error
	settled   chan struct{}
	loops     sync.WaitGroup
}

// Open starts the replica on what its directory holds, or founds the cluster of
// cfg.Voters in an empty one. advanced is called with the pacts whose feeds grew,
// from the goroutine that applies: it must not wait.
func Open(cfg Config, advanced func([]crdt.Pact)) (*Replica, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := newReplica(cfg)
	r.Allow(cfg.Newest)
	if err := r.open(advanced); err != nil {
		return nil, advise(cfg.Node, errors.Join(err, r.release()))
	}
	r.loops.Go(r.propose)
	go func() { defer close(r.settled); r.settle() }()
	r.loops.Go(r.lead)
	r.loops.Go(r.audits)
	r.loops.Go(r.scrub)
	r.loops.Go(r.checkpoint)
	r.loops.Go(r.tend)
	r.loops.Go(r.watchDisk)
	r.loops.Go(r.probeDisk)
	r.loops.Go(r.watchSpace)
	return r, nil
}

func newReplica(cfg Config) *Replica {
	return &Replica{
		cfg: cfg, state: state.New(), latch: newLatch(func(err error) { cfg.Exit(advise(cfg.Node, err)) }), watch: newStallWatch(), volume: newVolume(&cfg),
		queue: newQueue(cfg.QueueBytes, cfg.PactQueueBytes, cfg.PactFlightBytes), slots: make(chan struct{}, cfg.InFlightMax),
		flights: make(chan flight, cfg.InFlightMax),
		closing: make(chan struct{}), stopped: make(chan struct{}), settled: make(chan struct{}),
	}
}

func (r *Replica) open(advanced func([]crdt.Pact)) error {
	if err := unfinished(r.cfg.Dir); err != nil {
		return err
	}
	r.cfg.vet = decodable
	if err := r.volume.open(); err != nil {
		return fmt.Errorf("open %s: %w", r.cfg.Dir, err)
	}
	if err := r.openLog(); err != nil {
		return fmt.Errorf("open the log in %s: %w", r.cfg.Dir, err)
	}
	if err := unfinished(r.cfg.Dir); err != nil { // since this node has held the log's lock, nobody marks it any more
		return err
	}
	if err := r.openState(advanced); err != nil {
		return fmt.Errorf("open the state in %s: %w", r.cfg.Dir, err)
	}
	return r.openRaft(r.machine, r.snapshots)
}

// openRaft starts raft on the open log.
func (r *Replica) openRaft(machine raft.FSM, snapshots raft.SnapshotStore) error {
	r.stream = newStreamLayer(&r.cfg)
	r.stream.state.Store(r.state)
	r.transport = newTransport(r.stream, r.cfg.RPCTimeout, &r.silent, r.cfg.Log)
	// Recent entries are read back once by each follower's replicator and once
	// by the state machine; 64 of them are at most 16 MiB.
	cache, err := raft.NewLogCache(64, r.log)
	if err != nil {
		return err
	}
	stable := r.log.hints
	settings := r.cfg.raftConfig()
	known, err := raft.HasExistingState(cache, stable, snapshots)
	if err != nil {
		return err
	}
	if !known && len(r.cfg.Voters) > 0 {
		err := raft.BootstrapCluster(settings, cache, stable, snapshots, r.transport, membership(r.cfg.Voters))
		if err != nil {
			return fmt.Errorf("found the cluster: %w", err)
		}
	}
	r.raft, err = raft.NewRaft(settings, machine, cache, stable, snapshots, r.transport)
	r.stream.cluster.Store(r.raft)
	return err
}

func (r *Replica) openLog() error {
	if err := durable.MakeDirs(r.cfg.Dir, dirLog, dirState, dirSnapshots); err != nil {
		return err
	}
	dir := filepath.Join(r.cfg.Dir, dirLog)
	// Our own, because the WAL's Close leaves its meta store locked.
	r.meta = &metadb.BoltMetaDB{}
	if err := healTail(dir, r.meta); err != nil {
		return fmt.Errorf("mend the newest segment: %w", err)
	}
	w, err := wal.Open(dir, wal.WithMetaStore(r.meta), wal.WithSegmentSize(r.cfg.SegmentBytes),
		wal.WithLogger(newLogger(r.cfg.Log, "raft-wal")))
	if err != nil {
		return err
	}
	r.wal = w
	r.log, err = openLogStore(r.cfg.underLog(w), newStableStore(r.meta, r.latch, r.watch), r.latch)
	if err == nil {
		r.log.room, r.log.wrote, r.log.took = r.volume.stores, r.volume.wrote, r.cfg.Synced
	}
	return err
}

// openState brings the newest checkpoint into memory. Raft is told not to
// restore snapshots by itself: it would take its snapshot's index for ours
// without asking (raft#340).
func (r *Replica) openState(advanced func([]crdt.Pact)) error {
	var err error
	options := store.Options{MemTableBytes: r.cfg.MemTableBytes}
	if r.store, err = store.Open(filepath.Join(r.cfg.Dir, dirState), options); err != nil {
		return err
	}
	if r.snapshots, err = openSnapshots(filepath.Join(r.cfg.Dir, dirSnapshots), r.store); err != nil {
		return err
	}
	r.snapshots.fits = r.volume.fits
	disputed, err := r.log.hints.GetUint64(keyDisputed)
	if err != nil {
		return err
	}
	r.auditor.disputed = disputed != 0
	r.machine = &machine{
		state: r.state, store: r.store, snapshots: r.snapshots, latch: r.latch, advanced: advanced, counted: r.counted,
	}
	if err := r.snapshots.finish(); err != nil {
		return err
	}
	if err := r.machine.load(); err != nil {
		return err
	}
	if err := r.snapshots.check(r.state.Index()); err != nil {
		return err
	}
	return r.log.dropBelow(r.snapshots.index())
}

// State returns the merged state, for reading.
func (r *Replica) State() *state.Machine { return r.state }

// Leader returns the name of the node that leads, "" if none is known.
func (r *Replica) Leader() string {
	_, id := r.raft.LeaderWithID()
	return string(id)
}

// Leading reports whether this node leads and has applied everything that was
// committed before it was elected.
func (r *Replica) Leading() bool { return r.leading.Load() }

// Status is where the replica stands.
type Status struct {
	Leader       string // "" if none is known
	Leading      bool
	Term         uint64
	CommitIndex  uint64
	AppliedIndex uint64
	CaughtUp     bool          // a leader is known and its commits are applied
	Stalled      time.Duration // as leader: for how long entries have waited without any being committed
	LogBytes     int64         // of commands in the log
	Checkpoint   uint64        // entry up to which the state is in the store
	Room         Room          // on the node's volume
	FreeBytes    int64         // there, without what is missing of the ballast; 0 if it is not watched
	DiskStalled  bool          // a write does not come back
	Stopped      error         // why the replica stopped itself, if it did
	Disputed     bool          // no majority agrees on the state: see ErrDisputed
	Unaudited    int           // audits in a row that did not compare this replica
	Mismatches   uint64        // audits that found two states
	QueueBytes   int           // of commands that wait for an entry
	// PortRefusals is how often callers of the node port were refused after they had
	// shown a certificate, by code: all codes are there.
	PortRefusals map[string]uint64
	ScrubLast    time.Time // when a scrub last found everything whole; zero before
	ScrubRows    uint64    // rows and log entries that scrubs have read
	ScrubDamage  uint64    // scrubs that found damage
}

// Status takes a consistent enough look for health checks and metrics.
func (r *Replica) Status() Status {
	s := Status{
		Leader: r.Leader(), Leading: r.Leading(), Term: r.raft.CurrentTerm(),
		CommitIndex: r.raft.CommitIndex(), AppliedIndex: r.state.Index(),
		Stalled: r.progress.stalled(r.cfg.Now()), LogBytes: r.log.bytes(),
		Checkpoint: r.store.Index(), Stopped: r.latch.err(),
		Room: r.volume.left(), FreeBytes: r.volume.free.Load(), DiskStalled: r.silent.Load(),
	}
	s.PortRefusals = r.stream.port.refusals()
	r.auditor.mu.Lock()
	s.Disputed, s.Unaudited, s.Mismatches = r.auditor.disputed, r.auditor.misses, r.auditor.mismatches
	r.auditor.mu.Unlock()
	r.scrubber.mu.Lock()
	s.ScrubLast, s.ScrubRows, s.ScrubDamage = r.scrubber.last, r.scrubber.rows, r.scrubber.bad
	r.scrubber.mu.Unlock()
	s.QueueBytes = r.queue.waiting()
	s.CaughtUp = s.Leader != "" && s.CommitIndex > 0 && s.Stopped == nil &&
		r.machine.index.Load()+lagEntriesMax >= s.CommitIndex
	return s
}

// TransferLeadership hands over to the peer that is furthest along, if this node
// leads. Entries under way are finished first.
func (r *Replica) TransferLeadership() error {
	if r.raft.State() != raft.Leader {
		return nil
	}
	return r.await(r.raft.LeadershipTransfer())
}

// lead follows elections: as leader it applies what is committed before it
// admits anything. It ends a replica that stopped itself.
func (r *Replica) lead() {
	look := time.NewTicker(r.cfg.HeartbeatTimeout) // a barrier may fail though the node goes on leading
	defer look.Stop()
	for {
		select {
		case <-r.raft.LeaderCh():
			r.takeOffice()
		case <-look.C:
			if r.leading.Load() != (r.raft.State() == raft.Leader) {
				r.takeOffice()
			}
		case <-r.latch.tripped: // Exit ends the process; until then, peers must not wait for this node
			r.leading.Store(false)
			if err := r.halt(); err != nil {
				r.cfg.Log.Error("raft does not stop", "error", err)
			}
			return
		case <-r.closing:
			return
		}
	}
}

// takeOffice makes leading what raft says, once the state has caught up: until
// then not even a leader of the term before leads.
func (r *Replica) takeOffice() {
	r.leading.Store(false)
	r.leading.Store(r.raft.State() == raft.Leader && r.await(r.raft.Barrier(0)) == nil && !r.silent.Load())
}

// Stop ends this replica for good, because of cause: Exit is called once.
func (r *Replica) Stop(cause error) { _ = r.latch.trip(cause) }

// halt ends raft, and every wait for it.
func (r *Replica) halt() error {
	err := r.raft.Shutdown().Error()
	r.haltOnce.Do(func() { close(r.stopped) })
	return err
}

// Close stops the replica: what is under way is answered, everything else is
// not proposed any more. Leadership is not handed over: see TransferLeadership.
func (r *Replica) Close() error {
	r.closeOnce.Do(func() {
		r.leading.Store(false)
		close(r.closing)
		select {
		case <-r.settled:
		case <-time.After(r.cfg.LeaderLease + r.cfg.HeartbeatTimeout): // no majority: raft gives up by then
		}
		err := r.halt()
		<-r.settled
		r.loops.Wait()
		if r.latch.err() == nil {
			err = errors.Join(err, r.log.noteEnd())
		}
		r.closeErr = errors.Join(err, r.release())
	})
	return r.closeErr
}

// release closes what was opened, in the reverse order.
func (r *Replica) release() error {
	var errs []error
	if r.transport.NetworkTransport != nil {
		errs = append(errs, r.transport.Close())
	} else {
		errs = append(errs, r.cfg.Listener.Close())
	}
	if r.store != nil {
		err := r.volume.closes()
		if err == nil {
			err = r.store.Close()
		}
		errs = append(errs, err)
	}
	if r.wal != nil {
		errs = append(errs, r.wal.Close())
	}
	if r.meta != nil {
		errs = append(errs, r.meta.Close())
	}
	return errors.Join(errs...)
}
