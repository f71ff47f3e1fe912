package replica

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
)

func TestRestartKeepsEverything(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.found()
	c.publish(1, 50)
	for range 2 {
		c.stop("n1")
		if err := c.start("n1"); err != nil {
			t.Fatal(err)
		}
		c.leader()
		c.equal(50)
	}
	c.publish(40, 20) // half of it again: each op counts once
	c.equal(59)
}

// Checkpoints, log truncation and restarts in turn, so that the log begins in
// the middle and the state comes from the store.
func TestRestartFromCheckpoint(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.TrailingBytes = 1 })
	c.found()
	var seq crdt.Seq
	for range 3 {
		for range 20 {
			c.publish(seq+1, 5)
			seq += 5
		}
		r := c.leader()
		if err := r.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if first, err := r.log.FirstIndex(); err != nil || first < 10 {
			t.Fatalf("log begins at %d, %v: it was not cut", first, err)
		}
		c.publish(seq+1, 1)
		seq++
		c.stop("n1")
		if err := c.start("n1"); err != nil {
			t.Fatal(err)
		}
		c.leader()
		c.equal(seq)
	}
}

func TestLeaderLostMidStream(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.found()
	var seq crdt.Seq
	for round := range 3 {
		for i := range 40 {
			if i == 20 {
				c.stop(c.leader().cfg.Node)
			}
			c.publish(seq+1, 8)
			seq += 8
		}
		c.equal(seq)
		for _, name := range c.names {
			if _, running := c.nodes[name]; !running {
				if err := c.start(name); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
		}
	}
	c.equal(seq)
}

// A follower that was away while the log was cut gets a snapshot.
func TestFollowerCatchesUpBySnapshot(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.TrailingBytes, cfg.SegmentBytes = 1, 8<<10 // the log serves what its files still hold
	})
	c.found()
	c.publish(1, 10)
	c.equal(10)
	leader := c.leader()
	away := "n1"
	if leader.cfg.Node == away {
		away = "n2"
	}
	c.stop(away)
	for i := range 20 {
		c.publish(crdt.Seq(11+10*i), 10)
	}
	for _, r := range c.running() {
		if err := r.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	c.publish(211, 10)
	if err := c.start(away); err != nil {
		t.Fatal(err)
	}
	c.equal(220)
	if at := c.nodes[away].Status().Checkpoint; at < 20 {
		t.Fatalf("checkpoint at %d: no snapshot was taken over", at)
	}
	c.stop(away)
	if err := c.start(away); err != nil {
		t.Fatal(err)
	}
	c.publish(221, 10)
	c.equal(230)
}

// An audit that names other digests stops the replica.
func TestAudit(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.AuditInterval = 20 * time.Millisecond })
	c.found()
	c.publish(1, 10)
	eventually(t, "three audits", func() bool {
		index, _ := c.leader().State().LastAudit()
		return index > 8
	})
	c.equal(10)
	for _, name := range c.names {
		if err := c.exited(name); err != nil {
			t.Fatalf("%s stopped: %v", name, err)
		}
	}
	// Loses a register behind raft's back.
	victim := c.running()[0]
	if victim.Leading() {
		victim = c.running()[1]
	}
	image := victim.State().Image()
	other := newCluster(t, 1, nil)
	other.found()
	other.publish(1, 9)
	wrong := other.leader().State().Image()
	wrong.Meta.Index, wrong.Meta.AuditIndex, wrong.Meta.AuditPacts = image.Meta.Index, 0, nil
	if err := victim.State().Restore(wrong); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stop of the diverged replica", func() bool { return c.exited(victim.cfg.Node) != nil })
}

// The library's heartbeat fast path races with its main loop (raft#695): it must
// never be armed, whoever arms it.
func TestNoHeartbeatFastPath(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.found()
	for _, r := range c.running() {
		fast := reflect.ValueOf(r.transport.NetworkTransport).Elem().FieldByName("heartbeatFn")
		if !fast.IsValid() {
			t.Fatal("the library's field has another name now: look again at how it handles heartbeats")
		}
		if !fast.IsNil() {
			t.Fatalf("%s answers heartbeats beside the main loop", r.cfg.Node)
		}
	}
}

// Raft leaves futures unanswered when it shuts down: stopping at any moment,
// elections and full pipelines included, must end every wait.
func TestCloseAtAnyMoment(t *testing.T) {
	c := newCluster(t, 1, func(cfg *Config) { cfg.HeartbeatTimeout = 20 * time.Millisecond })
	c.found()
	for round := range 15 {
		r := c.running()[0]
		if round%2 == 0 {
			c.leader()
		}
		waits := make(chan error, 200)
		for i := range cap(waits) {
			wait, err := r.Start(publish(crdt.Seq(1+i), 1))
			if err != nil {
				waits <- err
				continue
			}
			go func() { _, err := wait(t.Context()); waits <- err }()
		}
		time.Sleep(time.Duration(round) * time.Millisecond / 2) // somewhere into the work
		closed := make(chan struct{})
		go func() { defer close(closed); c.stop("n1") }()
		select {
		case <-closed:
		case <-time.After(waitMax):
			t.Fatal("the replica does not close")
		}
		for range cap(waits) {
			if err := <-waits; err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotLeader) {
				t.Errorf("a wait ended with %v", err)
			}
		}
		if err := c.start("n1"); err != nil {
			t.Fatal(err)
		}
	}
}
