package replica

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/crdt"
)

// stalling is a log on a disk that can stop answering.
type stalling struct {
	walStore

	mu   sync.Mutex
	gate chan struct{} // nil: it answers
}

func (s *stalling) StoreLogs(entries []*raft.Log) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return s.walStore.StoreLogs(entries)
}

func (s *stalling) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

func (s *stalling) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
}

// stallingCluster is three nodes whose disks can stall.
func stallingCluster(t *testing.T, tune func(*Config)) (*cluster, map[string]*stalling) {
	t.Helper()
	disks := map[string]*stalling{}
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.underLog = func(w walStore) walStore {
			disks[cfg.Node] = &stalling{walStore: w}
			return disks[cfg.Node]
		}
		tune(cfg)
	})
	t.Cleanup(func() { // before the nodes are closed, which waits for their disks
		for _, d := range disks {
			d.resume()
		}
	})
	c.found()
	return c, disks
}

// A leader whose disk does not answer, with a command under way, is replaced
// while it is stuck, loses nothing, and follows when its disk is back. One whose
// disk stays away stops itself.
func TestLeaderWithStalledDisk(t *testing.T) {
	c, disks := stallingCluster(t, func(cfg *Config) { cfg.DiskStall = time.Second })
	c.publish(1, 10)
	c.equal(10)
	old := c.leader()
	disks[old.cfg.Node].stall()
	stuck, err := old.Start(publish(11, 10))
	if err != nil {
		t.Fatal(err)
	}
	fresh := c.leaderBeside(old)
	if old.Leading() || !old.Status().DiskStalled {
		t.Errorf("the stalled node says: leading %v, stalled %v", old.Leading(), old.Status().DiskStalled)
	}
	if _, err := stuck(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("the command that is stuck: %v", err)
	}
	c.publish(11, 10)
	disks[old.cfg.Node].resume()
	c.equal(20)
	eventually(t, "a disk that answers", func() bool { return !old.Status().DiskStalled })

	disks[fresh.cfg.Node].stall()
	if _, err := fresh.Start(publish(21, 10)); err != nil && !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	c.leaderBeside(fresh)
	c.publish(21, 10)
	eventually(t, "the end of the stalled node", func() bool { return c.exited(fresh.cfg.Node) != nil })
	if err := c.exited(fresh.cfg.Node); !errors.Is(err, ErrDiskStalled) || !errors.Is(err, ErrStopped) {
		t.Errorf("it ended with %v", err)
	}
	disks[fresh.cfg.Node].resume()
	c.stop(fresh.cfg.Node)
	if err := c.start(fresh.cfg.Node); err != nil {
		t.Fatal(err)
	}
	c.equal(30)
}

// A follower whose disk does not answer holds up nobody.
func TestFollowerWithStalledDisk(t *testing.T) {
	c, disks := stallingCluster(t, func(*Config) {})
	leader := c.leader()
	slow := "n1"
	if leader.cfg.Node == slow {
		slow = "n2"
	}
	disks[slow].stall()
	for i := range 20 {
		if _, err := leader.Propose(t.Context(), publish(crdt.Seq(1+5*i), 5)); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	disks[slow].resume()
	c.equal(100)
}

// A process that was suspended finds its clock far ahead, and no stall.
func TestStallsAreCountedInTicks(t *testing.T) {
	w := newStallWatch()
	end := w.begin("write")
	other := w.begin("sync")
	for want := 1; want < 5; want++ {
		if _, ticks := w.tick(); ticks != want {
			t.Fatalf("%d ticks, want %d", ticks, want)
		}
	}
	end()
	late := w.begin("late")
	if what, ticks := w.tick(); what != "sync" || ticks != 5 {
		t.Fatalf("%s for %d ticks", what, ticks)
	}
	other()
	late()
	if _, ticks := w.tick(); ticks != 0 {
		t.Fatal("nothing is under way")
	}
}
