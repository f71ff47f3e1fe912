package replica

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// What the libraries are known to do to their users, played once each.

// Batches hold changes of membership, too: they get an answer each, and the
// commands around them are applied.
func TestMembershipChangeInABatch(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.found()
	r := c.leader()
	from := r.State().Index()
	entry := func(i uint64, cmd command.Command) *raft.Log {
		b := command.NewBuilder(1_700_000_100_000, 60_000)
		if !b.Add(cmd) {
			t.Fatal("does not fit")
		}
		return &raft.Log{Index: from + i, Term: 9, Type: raft.LogCommand, Data: b.Bytes()}
	}
	change := &raft.Log{
		Index: from + 2, Term: 9, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(membership([]string{"n1", "n2"})),
	}
	m := &machine{
		state: r.State(), latch: newLatch(func(err error) { t.Error(err) }), advanced: func([]crdt.Pact) {}, counted: r.counted,
	}
	answers := m.ApplyBatch([]*raft.Log{entry(1, publish(1, 5)), change, entry(3, publish(6, 5)), {Index: from + 4, Term: 9, Type: raft.LogBarrier}})
	if len(answers) != 4 || m.index.Load() != from+4 {
		t.Fatalf("%d answers, index %d", len(answers), m.index.Load())
	}
	if authors := r.State().Authors("tickets", "acme", "main"); len(authors) != 1 || authors[0].Applied != 10 {
		t.Fatalf("authors: %+v", authors)
	}
}

// After a peer's snapshot the log begins behind it, without a gap, also over a
// restart (raft#159).
func TestNoHoleBehindASnapshot(t *testing.T) {
	c := newCluster(t, 3, func(cfg *Config) { cfg.TrailingBytes, cfg.SegmentBytes = 1, 8<<10 })
	c.found()
	c.publish(1, 10)
	c.equal(10)
	away := c.running()[0]
	if away == c.leader() {
		away = c.running()[1]
	}
	name := away.cfg.Node
	c.stop(name)
	for i := range 20 {
		c.publish(crdt.Seq(11+10*i), 10)
	}
	for _, r := range c.running() {
		if err := r.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := c.start(name); err != nil {
			t.Fatal(err)
		}
		c.publish(211, 10)
		c.equal(220)
		whole(t, c.nodes[name])
		c.stop(name)
	}
}

// whole fails unless the log and what is behind it join without a gap.
func whole(t *testing.T, r *Replica) {
	t.Helper()
	first, err := r.log.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := r.log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	if snapshot := r.snapshots.index(); first > snapshot+1 || snapshot < 20 {
		t.Fatalf("the log begins at %d, the snapshot ends at %d", first, snapshot)
	}
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := r.log.GetLog(i, &entry); err != nil {
			t.Fatalf("entry %d of %d..%d: %v", i, first, last, err)
		}
	}
}

// A log whose end was cut, across files, opens again and goes on (wal#31), and so
// does one that was cut again and again.
func TestRestartAfterTheEndWasCut(t *testing.T) {
	dir := t.TempDir()
	for _, cut := range []uint64{190, 100, 99, 41, 1} { // files hold some 40 entries
		d, err := openDisk(t, dir)
		if err != nil {
			t.Fatalf("before the cut at %d: %v", cut, err)
		}
		last, err := d.log.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.log.StoreLogs(entries(last+1, 200)); err != nil {
			t.Fatal(err)
		}
		if err := d.log.DeleteRange(cut, 200); err != nil {
			t.Fatal(err)
		}
		d.close()
		if d, err = openDisk(t, dir); err != nil {
			t.Fatalf("after the cut at %d: %v", cut, err)
		}
		if last, err = d.log.LastIndex(); err != nil || last != cut-1 {
			t.Fatalf("after the cut at %d the log ends at %d, %v", cut, last, err)
		}
		if err := d.log.StoreLogs([]*raft.Log{{Index: cut, Term: 8, Data: []byte("instead"), AppendedAt: time.Unix(2, 0)}}); err != nil {
			t.Fatal(err)
		}
		d.close()
	}
}
