package replica

import (
	"errors"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// corrupt changes one register in one node's memory, as a fault that no
// checksum sees would: nobody else has it.
func corrupt(t *testing.T, r *Replica) {
	t.Helper()
	rogue := crdt.Author{Site: "globex", Agent: "rogue", Incarnation: 1}
	op := publish(1, 1).Ops[0]
	op.Author, op.Value = rogue, crdt.Plain(value.Text("not what it was"))
	op.Stamp++
	before, _ := r.State().Pact("tickets")
	result := r.State().Apply(r.State().Index()+1, command.Entry{
		TimeMillis: time.Now().UnixMilli(), DriftMaxMillis: 1000, Commands: []command.Command{&command.Publish{
			Site: rogue.Site, Agent: rogue.Agent, Pact: "tickets", Epoch: testEpoch, Ops: []crdt.Op{op},
		}},
	})
	if result.Skipped || result.Commands[0].Ops[0].Outcome != state.OutcomeApplied {
		t.Fatalf("%+v", result)
	}
	if after, _ := r.State().Pact("tickets"); after.Digest == before.Digest {
		t.Fatal("the digest is the same")
	}
}

func audited(cfg *Config) { cfg.AuditInterval = 50 * time.Millisecond }

// onlyExited waits until the named node has stopped itself, and looks that no
// other one has.
func (c *cluster) onlyExited(name string) {
	c.t.Helper()
	eventually(c.t, "end of "+name, func() bool { return c.exited(name) != nil })
	for _, n := range c.names {
		if err := c.exited(n); (err != nil) != (n == name) || err != nil && !errors.Is(err, ErrDiverged) {
			c.t.Fatalf("%s: %v", n, err)
		}
	}
	c.stop(name)
}

func TestDivergedFollowerStops(t *testing.T) {
	c := newCluster(t, 3, audited)
	c.found()
	c.publish(1, 10)
	leader := c.leader()
	var follower *Replica
	for _, r := range c.running() {
		if r != leader {
			follower = r
		}
	}
	c.equal(10)
	corrupt(t, follower)
	c.onlyExited(follower.cfg.Node)
	c.publish(11, 10)
	c.equal(20)
}

// The leader is not right because it leads.
func TestDivergedLeaderStops(t *testing.T) {
	c := newCluster(t, 3, audited)
	c.found()
	c.publish(1, 10)
	leader := c.leader()
	c.equal(10)
	corrupt(t, leader)
	c.onlyExited(leader.cfg.Node)
	c.publish(11, 10)
	c.equal(20)
}

// Two of three nodes that differ: nobody can tell who is right, nobody stops, and
// nobody acks, not even after a restart. The third one settles it.
func TestDisputeStopsAcks(t *testing.T) {
	c := newCluster(t, 3, audited)
	c.found()
	c.publish(1, 10)
	c.leader()
	c.equal(10)
	c.stop("n3")
	wrong := c.leader()
	corrupt(t, wrong)
	eventually(t, "dispute", func() bool {
		r := c.leader()
		_, err := r.Start(publish(11, 1))
		return errors.Is(err, ErrDisputed) && r.Status().Disputed
	})
	eventually(t, "dispute on both", func() bool {
		for _, r := range c.running() {
			if !r.Status().Disputed {
				return false
			}
		}
		return true
	})
	right := "n1"
	if wrong.cfg.Node == "n1" {
		right = "n2"
	}
	c.stop(right)
	if err := c.start(right); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.running() {
		if !r.Status().Disputed {
			t.Fatalf("%s forgot the dispute", r.cfg.Node)
		}
	}
	for _, name := range c.names {
		if err := c.exited(name); err != nil {
			t.Fatalf("%s stopped without being known to be wrong: %v", name, err)
		}
	}
	if err := c.start("n3"); err != nil {
		t.Fatal(err)
	}
	c.onlyExited(wrong.cfg.Node)
	c.publish(11, 10)
	c.equal(20)
}

// A replica that audits pass by says so, and stops saying so when it is compared.
func TestUnauditedReplica(t *testing.T) {
	r := &Replica{}
	tally := func(verdict command.Verdict, compared bool) {
		r.counted(1, &command.Tally{}, state.CommandResult{Verdict: verdict, Compared: compared})
	}
	for i, step := range []struct {
		verdict  command.Verdict
		compared bool
		misses   int
	}{
		{command.VerdictAgreed, true, 0},
		{command.VerdictUnchecked, true, 1},
		{command.VerdictAgreed, false, 2},
		{command.VerdictUnchecked, false, 3},
		{command.VerdictAgreed, true, 0},
	} {
		if tally(step.verdict, step.compared); r.auditor.misses != step.misses {
			t.Fatalf("step %d: %d misses, want %d", i, r.auditor.misses, step.misses)
		}
	}
}
