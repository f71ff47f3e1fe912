package replica

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDiskStalled reports a write that did not come back for so long that the
// node gave up: its disk, not its data, is in doubt.
var ErrDiskStalled = errors.New("the disk does not answer")

// errSilent is why a node with a stalled disk sends no word as a leader.
var errSilent = errors.New("the disk does not answer: this node claims no leadership")

const (
	stallTicks = 10 // of the watchdog until a write counts as stalled
	stallExits = 6  // times that long, and the node stops itself
	fileProbe  = "probe"
)

// stallWatch knows which writes are under way and for how many ticks of the
// watchdog. It counts ticks, not time: a process that was suspended sees its
// clock jump, but only one tick.
type stallWatch struct {
	mu      sync.Mutex
	writes  map[*watchedWrite]struct{}
	stalled chan struct{} // closed while one of them does not come back
}

type watchedWrite struct {
	what  string
	ticks int
}

func newStallWatch() *stallWatch {
	return &stallWatch{writes: map[*watchedWrite]struct{}{}, stalled: make(chan struct{})}
}

// stalls returns a channel that is closed once a write does not come back.
func (w *stallWatch) stalls() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stalled
}

// declare says that a write does not come back, or that it did. Only changes
// are declared.
func (w *stallWatch) declare(stalled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if stalled {
		close(w.stalled)
		return
	}
	w.stalled = make(chan struct{})
}

// begin notes a write that may block; the caller calls end when it is back.
func (w *stallWatch) begin(what string) (end func()) {
	under := &watchedWrite{what: what}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes[under] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.writes, under)
	}
}

// tick returns the write that is under way for the most ticks, and how many; 0
// if there is none.
func (w *stallWatch) tick() (what string, ticks int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for under := range w.writes {
		if under.ticks++; under.ticks > ticks {
			what, ticks = under.what, under.ticks
		}
	}
	return what, ticks
}

// watchDisk gives up leadership when a write does not come back, and ends the
// node when it still does not. A stalled disk blocks raft's main loop, but not
// the goroutines that send its heartbeats: without this the node would keep the
// title while nobody commits anything (raft#503).
func (r *Replica) watchDisk() {
	tick := time.NewTicker(max(r.cfg.DiskStall/stallTicks, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.latch.tripped:
			return
		case <-r.closing:
			return
		}
		what, ticks := r.watch.tick()
		stalled := ticks >= stallTicks
		if stalled && !r.silent.Swap(true) {
			r.cfg.Log.Error("the disk does not answer: leadership is given up", "write", what, "for", r.cfg.DiskStall)
			r.leading.Store(false)
			r.watch.declare(true)
			go r.abdicate() // waits for peers; ends with its messages
		}
		if !stalled && r.silent.Swap(false) {
			r.watch.declare(false)
			r.cfg.Log.Warn("the disk answers again")
		}
		if ticks >= stallTicks*stallExits {
			r.latch.trip(fmt.Errorf("%w: to %s takes longer than %s", ErrDiskStalled, what, stallExits*r.cfg.DiskStall))
			return
		}
	}
}

// abdicate asks a peer to stand for election at once. Raft's own transfer would
// wait for the main loop, which the disk holds. If nobody listens, the silence of
// this node (see transport) lets the others elect after their timeout.
func (r *Replica) abdicate() {
	if r.raft.State() != raft.Leader {
		return
	}
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(r.cfg.Node), Addr: []byte(r.cfg.Node),
	}}
	peers, term := r.otherVoters(), r.raft.CurrentTerm()
	slices.SortStableFunc(peers, func(a, b raft.Server) int { // who lacks entries would not be elected
		one, _ := r.transport.followers.get(string(a.ID), term)
		other, _ := r.transport.followers.get(string(b.ID), term)
		return cmp.Compare(other.match, one.match)
	})
	for _, server := range peers {
		err := r.transport.TimeoutNow(server.ID, server.Address, request, &raft.TimeoutNowResponse{})
		if err == nil {
			r.cfg.Log.Info("asked to lead in this node's place", "node", string(server.ID))
			return
		}
	}
}

// probeDisk syncs a byte now and then, so that a stall is found on an idle node
// and while only a checkpoint writes.
func (r *Replica) probeDisk() {
	file, err := os.OpenFile(filepath.Join(r.cfg.Dir, fileProbe), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		_ = r.latch.poison(fmt.Errorf("probe the disk: %w", err))
		return
	}
	defer file.Close()
	tick := time.NewTicker(r.cfg.DiskStall)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.latch.tripped:
			return
		case <-r.closing:
			return
		}
		end := r.watch.begin("sync a probe")
		_, err := file.WriteAt([]byte{1}, 0)
		if err == nil {
			err = file.Sync()
		}
		end()
		if err != nil && !errors.Is(err, syscall.ENOSPC) { // a full disk is the business of volume
			_ = r.latch.poison(fmt.Errorf("probe the disk: %w", err))
			return
		}
	}
}
