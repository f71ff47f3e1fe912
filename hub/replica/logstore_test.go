package replica

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// disk is a raft log on real files.
type disk struct {
	dir   string
	log   *logStore
	latch *latch
	close func()
}

func openDisk(t testing.TB, dir string) (*disk, error) {
	t.Helper()
	meta := &metadb.BoltMetaDB{}
	w, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(4<<10))
	if err != nil {
		return nil, err
	}
	d := &disk{dir: dir, latch: newLatch(func(error) {})}
	d.close = func() {
		if err := errors.Join(w.Close(), meta.Close()); err != nil {
			t.Error(err)
		}
	}
	d.log, err = openLogStore(w, newStableStore(meta, d.latch, newStallWatch()), d.latch)
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func entries(from, to uint64) []*raft.Log {
	var out []*raft.Log
	for i := from; i <= to; i++ {
		out = append(out, &raft.Log{Index: i, Term: 7, Data: []byte("the content of one entry"), AppendedAt: time.Unix(1, 0)})
	}
	return out
}

func TestLogRoundTrip(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	stored := entries(1, 100)
	if err := d.log.StoreLogs(stored); err != nil {
		t.Fatal(err)
	}
	if stored[3].Extensions != nil {
		t.Error("storing changed raft's own entry")
	}
	if got := d.log.bytes(); got != 2400 {
		t.Errorf("log of %d bytes, want 2400", got)
	}
	if got := d.log.entriesWithin(240); got != 10 {
		t.Errorf("%d entries within 240 bytes, want 10", got)
	}
	if err := errors.Join(d.log.DeleteRange(91, 100), d.log.DeleteRange(1, 10)); err != nil {
		t.Fatal(err)
	}
	if got := d.log.bytes(); got != 80*24 {
		t.Errorf("log of %d bytes after cutting both ends, want %d", got, 80*24)
	}
	d.close()
	if d, err = openDisk(t, dir); err != nil {
		t.Fatal(err)
	}
	defer d.close()
	var entry raft.Log
	if err := d.log.GetLog(90, &entry); err != nil || entry.Extensions != nil || string(entry.Data) != "the content of one entry" {
		t.Errorf("read back %+v, %v", entry, err)
	}
	if err := d.log.GetLog(91, &entry); err != raft.ErrLogNotFound {
		t.Errorf("an entry that was cut off: %v, want raft's own error", err)
	}
	if got := d.log.bytes(); got != 80*24 {
		t.Errorf("log of %d bytes after reopening, want %d", got, 80*24)
	}
}

// One flipped bit in an entry's content is what raft-wal hands out as it is.
func TestFlippedBitInEntry(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) { // the first segments are sealed
		if err := d.log.StoreLogs(entries(1+20*i, 20+20*i)); err != nil {
			t.Fatal(err)
		}
	}
	d.close()
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(segments) < 2 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	raw, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[32+8+10] ^= 1 // behind the file's and the first frame's header: within the first entry
	if err := os.WriteFile(segments[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if d, err := openDisk(t, dir); !errors.Is(err, ErrLogCorrupt) {
		if err == nil {
			d.close()
		}
		t.Fatalf("opening: %v, want ErrLogCorrupt", err)
	}
}

// A damaged entry that is read later stops the node.
func TestDamageWhileRunning(t *testing.T) {
	d, err := openDisk(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	unsealed := entries(1, 1)[0]
	unsealed.Extensions = []byte{sealVersion, 1, 2, 3, 4}
	if err := d.log.wal.StoreLog(unsealed); err != nil {
		t.Fatal(err)
	}
	var entry raft.Log
	if err := d.log.GetLog(1, &entry); !errors.Is(err, ErrLogCorrupt) {
		t.Fatalf("read: %v, want ErrLogCorrupt", err)
	}
	if err := d.latch.err(); !errors.Is(err, ErrStopped) || !errors.Is(err, ErrLogCorrupt) {
		t.Fatalf("latch: %v", err)
	}
}

func TestNewerEntry(t *testing.T) {
	d, err := openDisk(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	newer := entries(1, 1)[0]
	newer.Extensions = []byte{sealVersion + 1, 1, 2, 3, 4}
	if err := d.log.wal.StoreLog(newer); err != nil {
		t.Fatal(err)
	}
	var entry raft.Log
	if err := d.log.GetLog(1, &entry); err == nil || errors.Is(err, ErrLogCorrupt) {
		t.Fatalf("read: %v, want an error that is not damage", err)
	}
}

// The newest file of the log is gone: raft-wal begins a fresh one and says nothing.
func TestLostTail(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.log.StoreLogs(entries(1, 50)), d.log.noteEnd()); err != nil {
		t.Fatal(err)
	}
	d.close()
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatal(err)
	}
	if err := os.Remove(segments[len(segments)-1]); err != nil {
		t.Fatal(err)
	}
	if d, err := openDisk(t, dir); !errors.Is(err, ErrLogCorrupt) {
		if err == nil {
			d.close()
		}
		t.Fatalf("opening: %v, want ErrLogCorrupt", err)
	}
}

// An honest cut of the log's end, or of all of it, is not taken for a lost one.
func TestHintFollowsCuts(t *testing.T) {
	for _, from := range []uint64{1, 30} {
		dir := t.TempDir()
		d, err := openDisk(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(d.log.StoreLogs(entries(1, 50)), d.log.noteEnd(), d.log.DeleteRange(from, 50))
		if err != nil {
			t.Fatal(err)
		}
		d.close()
		if d, err = openDisk(t, dir); err != nil {
			t.Fatalf("cut from %d: %v", from, err)
		}
		d.close()
	}
}

// brokenWAL fails its n-th write and then pretends that all is well.
type brokenWAL struct {
	walStore
	writes, failAt int
}

var errDisk = errors.New("input/output error")

func (b *brokenWAL) StoreLogs(logs []*raft.Log) error {
	if b.writes++; b.writes == b.failAt {
		return errDisk
	}
	return b.walStore.StoreLogs(logs)
}

func TestPoisonLatch(t *testing.T) {
	d, err := openDisk(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	exits := 0
	d.latch.exit = func(error) { exits++ }
	broken := &brokenWAL{walStore: d.log.wal, failAt: 2}
	d.log.wal = broken
	if err := d.log.StoreLogs(entries(1, 1)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.log.StoreLogs(entries(2, 2)); !errors.Is(err, errDisk) || !errors.Is(err, ErrStopped) {
			t.Fatalf("write: %v", err)
		}
	}
	if err := d.log.DeleteRange(1, 1); !errors.Is(err, ErrStopped) {
		t.Fatalf("truncation: %v", err)
	}
	if err := d.log.hints.SetUint64([]byte("CurrentTerm"), 9); !errors.Is(err, ErrStopped) {
		t.Fatalf("term: %v", err)
	}
	if broken.writes != 2 || exits != 1 {
		t.Fatalf("%d writes reached the disk, want 2; %d exits, want 1", broken.writes, exits)
	}
}

// A leader whose disk fails stops, acks nothing any more, and another takes over.
func TestLeaderWithFailedDisk(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.found()
	c.publish(1, 10)
	leader := c.leader()
	leader.latch.trip(errDisk)
	c.publish(11, 10)
	if err := c.exited(leader.cfg.Node); !errors.Is(err, errDisk) {
		t.Fatalf("exit: %v", err)
	}
	if _, err := leader.Start(publish(21, 1)); !errors.Is(err, ErrStopped) {
		t.Fatalf("a stopped leader takes commands: %v", err)
	}
	c.stop(leader.cfg.Node)
	c.equal(20)
}
