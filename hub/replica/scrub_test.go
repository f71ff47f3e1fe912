package replica

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/store"
)

func scrubbed(cfg *Config) {
	cfg.ScrubInterval, cfg.ScrubBytesPerSecond = 20*time.Millisecond, 1<<30
}

// A scrub of a whole node finds it whole, and says when.
func TestScrubOfAWholeNode(t *testing.T) {
	c := newCluster(t, 1, scrubbed)
	c.found()
	c.publish(1, 50)
	r := c.leader()
	if err := r.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "scrub", func() bool {
		s := r.Status()
		return !s.ScrubLast.IsZero() && s.ScrubRows > 50
	})
	if s := r.Status(); s.ScrubDamage != 0 || s.Stopped != nil {
		t.Fatalf("%+v", s)
	}
}

// Bits of a checkpoint's files flip on the disk of a running node: the scrub
// finds it, the node stops itself and says what to do.
func TestScrubStopsARottenNode(t *testing.T) {
	c := newCluster(t, 1, scrubbed)
	c.found()
	long := crdt.Plain(value.Text(strings.Repeat("sentinel ", 2000)))
	for seq := crdt.Seq(1); seq <= 400; seq += 8 { // more than the tables in memory hold
		batch := publish(seq, 8)
		for i := range batch.Ops {
			batch.Ops[i].Value = long
		}
		c.propose(batch)
	}
	r := c.leader()
	if err := r.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	part := int64(1)
	eventually(t, "end of the node", func() bool {
		part++
		tables, _ := filepath.Glob(filepath.Join(c.dirs["n1"], "state", "state-*", "*.sst"))
		for _, table := range tables { // the database moves them about meanwhile
			flip(table, part)
		}
		return c.exited("n1") != nil
	})
	if err := c.exited("n1"); !errors.Is(err, store.ErrDamaged) || !errors.Is(err, ErrRotten) {
		t.Fatal(err)
	}
	if s := r.Status(); s.ScrubDamage != 1 {
		t.Fatalf("%+v", s)
	}
}

// One bit of an old log entry flips: raft would find it only on the day when it
// sends the entry to somebody.
func TestScrubReadsTheLog(t *testing.T) {
	c := newCluster(t, 1, scrubbed)
	c.found()
	batch := publish(1, 1)
	batch.Ops[0].Value = crdt.Plain(value.Text("sentinel-4711"))
	c.propose(batch)
	segments, err := filepath.Glob(filepath.Join(c.dirs["n1"], "log", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	found := false
	for _, path := range segments {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(content, []byte("sentinel-4711"))
		if at < 0 {
			continue
		}
		found = true
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteAt([]byte("S"), int64(at))
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatal("no segment holds the entry")
	}
	eventually(t, "end of the node", func() bool { return c.exited("n1") != nil })
	if err := c.exited("n1"); !errors.Is(err, ErrLogCorrupt) || !errors.Is(err, ErrRotten) {
		t.Fatal(err)
	}
}

// flip flips a bit of a file at a part of its length, if it is still there.
func flip(path string, part int64) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return
	}
	var b [1]byte
	if _, err := file.ReadAt(b[:], info.Size()/part); err == nil {
		b[0] ^= 4
		_, _ = file.WriteAt(b[:], info.Size()/part) // the test fails if nothing is found
	}
}
