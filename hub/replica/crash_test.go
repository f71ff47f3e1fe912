package replica

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/entente-sync/entente/crdt"
)

// plant leaves a snapshot of from in a stopped node's directory, as a crash right
// after receiving it does: described, and not yet taken over.
func plant(t *testing.T, from *Replica, dir string) {
	t.Helper()
	if err := from.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	meta, data, err := from.snapshots.Open(idCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	to, err := openSnapshots(filepath.Join(dir, "snapshots"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := to.Create(1, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(sink, data); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

// A crash after a snapshot was received and before the old log was removed leaves
// a gap between the two, which the log would refuse to write behind.
func TestCrashBeforeTheOldLogIsRemoved(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.found()
	c.publish(1, 10)
	c.equal(10)
	leader := c.leader()
	away := "n1"
	if leader.cfg.Node == away {
		away = "n2"
	}
	c.stop(away)
	for i := range 10 {
		c.publish(crdt.Seq(11+10*i), 10)
	}
	plant(t, leader, c.dirs[away])
	c.publish(111, 10)
	c.stop(leader.cfg.Node) // the next leader remembers nothing of the old log
	for _, name := range []string{leader.cfg.Node, away} {
		if err := c.start(name); err != nil {
			t.Fatal(err)
		}
	}
	c.equal(120)
	c.stop(away)
	if err := c.start(away); err != nil {
		t.Fatal(err)
	}
	c.publish(121, 10)
	c.equal(130)
	if err := c.exited(away); err != nil {
		t.Fatal(err)
	}
}

// A received snapshot that could not be taken over, and that the log has passed
// since, is not taken over by the next start: it would bring back the past.
func TestOvertakenSnapshotIsDropped(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.found()
	c.publish(1, 10)
	old := c.leader()
	side := t.TempDir()
	plant(t, old, side)
	c.publish(11, 10)
	if err := old.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	c.stop("n1")
	for _, name := range []string{fileReceived, fileData} {
		copyFile(t, filepath.Join(side, "snapshots", name), filepath.Join(c.dirs["n1"], "snapshots", name))
	}
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	c.publish(21, 1)
	c.equal(21)
}

// The log grows while a checkpoint is written: what was not to be cut when it
// began, and so is not verified, is not cut when it ends.
func TestLogIsCutOnlyBelowVerifiedCheckpoints(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.found()
	c.publish(1, 10)
	r := c.leader()
	if err := r.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	for i := range 10 { // as if during the checkpoint
		c.publish(crdt.Seq(11+i), 1)
	}
	if err := r.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if first, err := r.log.FirstIndex(); err != nil || first != 1 {
		t.Fatalf("the log begins at %d, %v", first, err)
	}
}

// A hint that is taken while the end of the log is cut never points beyond it.
func TestHintWhileCutting(t *testing.T) {
	d, err := openDisk(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for range 50 {
		if err := d.log.StoreLogs(entries(1, 20)); err != nil {
			t.Fatal(err)
		}
		noted := make(chan error, 1)
		go func() { noted <- d.log.noteEnd() }()
		if err := d.log.DeleteRange(1, 20); err != nil {
			t.Fatal(err)
		}
		if err := <-noted; err != nil {
			t.Fatal(err)
		}
		if hint, err := d.log.hints.GetUint64(keyLogHint); err != nil || hint != 0 {
			t.Fatalf("the log is empty, the hint says %d, %v", hint, err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
