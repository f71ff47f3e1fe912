package replica

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

// meeting is an op of the other site on a record of publish, which has not seen
// what stands there: to apply it, that version must be read.
func meeting(seq crdt.Seq) *command.Publish {
	c := publish(seq, 1)
	other := crdt.Author{Site: "globex", Agent: "main", Incarnation: 1}
	c.Site, c.After = other.Site, crdt.OpID{}
	c.Ops[0].Author, c.Ops[0].Stamp = other, c.Ops[0].Stamp+1
	return c
}

// The leader's disk has lost a version that an op meets. It answers nothing, stops
// itself and says what to do; the others, whose disks are whole, apply the entry.
func TestLeaderCannotReadWhatAnOpMeets(t *testing.T) {
	const ops = 400
	c := newCluster(t, 3, nil)
	c.found()
	long := crdt.Plain(value.Text(strings.Repeat("sentinel ", 2000))) // a page each
	for seq := crdt.Seq(1); seq <= ops; seq += 8 {                    // more than the tables in memory hold
		batch := publish(seq, 8)
		for i := range batch.Ops {
			batch.Ops[i].Value = long
		}
		c.propose(batch)
	}
	c.equal(ops)
	for _, r := range c.running() {
		r.State().KeepPages(0)
		if err := r.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	old := c.leader()
	tables, err := filepath.Glob(filepath.Join(c.dirs[old.cfg.Node], "state", "state-*", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	for part := int64(1); part <= 64; part++ {
		for _, table := range tables {
			flip(table, part)
		}
	}
	applied := crdt.Seq(0)
	for c.exited(old.cfg.Node) == nil && applied < ops {
		applied++
		op := meeting(applied)
		op.Ops[0].Seq = applied
		if res := c.propose(op); res.Ops[0].Outcome != state.OutcomeApplied {
			t.Fatalf("op %d: %+v", applied, res.Ops[0])
		}
	}
	err = c.exited(old.cfg.Node)
	if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "entente hub replace "+old.cfg.Node) {
		t.Fatalf("after %d ops the leader ended with %v", applied, err)
	}
	next := c.leaderBeside(old)
	eventually(t, "equal survivors", func() bool {
		var sums []command.PactDigest
		for _, r := range c.running() {
			if info, err := r.State().Pact("tickets"); err == nil && r != old {
				sums = append(sums, info.Digest)
			}
		}
		return len(sums) == 2 && sums[0] == sums[1] && sums[0].Registers.Count() == ops+uint64(applied)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := old.Propose(ctx, meeting(1)); err == nil {
		t.Error("a node that stopped itself takes an op")
	}
	if err := next.Checkpoint(); err != nil {
		t.Error(err)
	}
}

// An entry that was applied in part is neither answered nor stored, and the
// operator is told that the node may start again.
func TestTornEntryStopsTheNode(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.found()
	c.publish(1, 2)
	r := c.leader()
	r.State().KeepPages(0)
	if err := r.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := advise("n1", state.ErrTorn); !strings.Contains(err.Error(), "start n1 again") {
		t.Errorf("%v", err)
	}
	m := &machine{state: r.State(), latch: newLatch(func(error) {}), advanced: func([]crdt.Pact) {}, counted: r.counted}
	m.latch.trip(state.ErrTorn)
	entry := command.NewBuilder(1_700_000_100_000, 60_000)
	if !entry.Add(publish(3, 1)) {
		t.Fatal("does not fit")
	}
	at := r.State().Index()
	out := m.ApplyBatch([]*raft.Log{{Index: at + 1, Type: raft.LogCommand, Data: entry.Bytes()}})
	if res := out[0].(state.Result); len(res.Commands) != 0 || r.State().Index() != at {
		t.Errorf("%+v at %d", res, r.State().Index())
	}
	if _, err := m.Snapshot(); err == nil {
		t.Error("a checkpoint was taken")
	}
}
