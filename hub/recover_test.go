package hub_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/replica"
)

// rescue is the order to go on with n alone.
func rescue(t *testing.T, c *hubtest.Cluster, n *hubtest.Node) *backup.Rescue {
	t.Helper()
	var id command.HubID
	if _, err := hex.Decode(id[:], []byte(c.ID())); err != nil {
		t.Fatal(err)
	}
	return &backup.Rescue{
		Dir: n.Dir, Hub: id, Node: n.Name, Why: "both disks burnt", Random: rand.Reader, Now: time.Now, MemTableBytes: 2 << 20,
	}
}

// Two nodes of three are lost for good. The third goes on alone, in a new epoch that
// begins at its checkpoint; what its log holds behind that is there too. New nodes
// join under new names; the lost ones' names open nothing.
func TestRecoverFromALostMajority(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 120); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	members(t, c, "three voters", func(m admin.Members) bool { return roles(m) == "n1=voter n2=voter n3=voter" })
	left := c.Nodes()[2]
	everybodyTold(t, left)
	if err := left.Hub().Checkpoint(); err != nil {
		t.Fatal(err)
	}
	certain, err := left.Hub().State().Pact("tickets")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.publish(t.Context(), 121, 80); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	before, err := left.Hub().State().Pact("tickets")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Recover(rescue(t, c, left)); !errors.Is(err, &backup.Fault{Code: backup.CodeRuns}) {
		t.Fatalf("beside the running node: %v", err)
	}
	for _, n := range c.Nodes() {
		n.Kill()
	}
	looksAndRefusals(t, c, left)
	done, err := backup.Recover(rescue(t, c, left))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Recover(rescue(t, c, left)); !errors.Is(err, &backup.Fault{Code: backup.CodeWhole}) {
		t.Fatalf("a second time: %v", err)
	}
	for _, part := range []string{"log", "state", "snapshots"} {
		if _, err := os.Stat(filepath.Join(left.Dir, done.Kept, part)); err != nil {
			t.Error(err)
		}
	}
	c.Restart(left)
	after, err := c.Leader().Hub().State().Pact("tickets")
	if err != nil || after.Digest.Registers != before.Digest.Registers || after.Digest.Authors != before.Digest.Authors {
		t.Fatalf("it held %+v and holds %+v, %v", before.Digest, after.Digest, err)
	}
	fork := crdt.Fork{Child: done.NewEpoch, Parent: done.Epoch, At: certain.Head}
	if len(after.Lineage) != 1 || after.Lineage[0] != fork || after.Epoch != done.NewEpoch {
		t.Errorf("lineage %+v, want %+v", after.Lineage, fork)
	}
	newNodesJoin(t, c)
}

// everybodyTold waits until a node has heard where all three are.
func everybodyTold(t *testing.T, left *hubtest.Node) {
	t.Helper()
	hubtest.Eventually(t, "word of all nodes", func() bool {
		told := 0
		for _, n := range left.Hub().State().Roster().Nodes {
			if n.Told() {
				told++
			}
		}
		return told == 3
	})
}

// looksAndRefusals leaves everything as it is.
func looksAndRefusals(t *testing.T, c *hubtest.Cluster, left *hubtest.Node) {
	t.Helper()
	look := rescue(t, c, left)
	look.DryRun = true
	seen, err := backup.Recover(look)
	if err != nil || seen.NewEpoch != 0 || seen.Behind == 0 || len(seen.Members) != 3 || seen.Last <= seen.Certain {
		t.Fatalf("a look: %+v, %v", seen, err)
	}
	other := rescue(t, c, left)
	other.Hub[0] ^= 1
	if _, err := backup.Recover(other); !errors.Is(err, &backup.Fault{Code: backup.CodeOtherHub}) {
		t.Fatalf("by another hub's node: %v", err)
	}
	answers := rescue(t, c, left)
	answers.Runs = func(node, address string) error { return errors.New(node + " answers at " + address) }
	if _, err := backup.Recover(answers); err == nil {
		t.Fatal("beside another node that answers")
	}
}

// newNodesJoin makes three of the node that is left, and the hub works.
func newNodesJoin(t *testing.T, c *hubtest.Cluster) {
	t.Helper()
	c.Join("n4", "")
	c.Join("n5", "")
	members(t, c, "three voters again", func(m admin.Members) bool { return roles(m) == "n3=voter n4=voter n5=voter" })
	if err := newPublisher(c, acme).publish(t.Context(), 201, 50); err != nil { // it learns of the new epoch
		t.Fatal(err)
	}
	for _, n := range c.Nodes()[2:] {
		hubtest.Eventually(t, "250 registers at "+n.Name, func() bool {
			got, err := n.Hub().State().Pact("tickets")
			return err == nil && got.Digest.Registers.Count() == 250
		})
	}
	if err := c.Leader().Hub().Admit(t.Context(), "n1", ""); err == nil {
		t.Error("a lost node's name was given again")
	}
}

// A rescue that is cut short leaves the node as it was, or a directory that no node
// opens and that the same order completes.
func TestRecoverCutShort(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 50); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	left := c.Nodes()[0]
	before, err := left.Hub().State().Pact("tickets")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		n.Kill()
	}
	// Before the switch: what was made is made anew.
	made := filepath.Join(left.Dir, "recovered")
	if err := os.MkdirAll(filepath.Join(made, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	done, err := backup.Recover(rescue(t, c, left))
	if err != nil {
		t.Fatal(err)
	}
	// Within it: undo its last steps, one more each time; none is to find the new
	// content's directory removed and the mark still there.
	parts := []string{"snapshots", "state", "log"}
	for n := 0; n <= len(parts); n++ {
		for _, part := range parts[:n] {
			move(t, filepath.Join(left.Dir, part), filepath.Join(made, part))
			if n > 1 { // the old has not been moved aside either
				move(t, filepath.Join(left.Dir, done.Kept, part), filepath.Join(left.Dir, part))
			}
		}
		if err := os.WriteFile(filepath.Join(left.Dir, "recovering"), []byte(done.Kept), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := replica.OpenSurvivor(left.Dir, left.Name, 2<<20); !errors.Is(err, replica.ErrSwitching) {
			t.Fatalf("opened within a switch: %v", err)
		}
		if again, err := backup.Recover(rescue(t, c, left)); err != nil || !again.Finished {
			t.Fatalf("%d steps before the end: %+v, %v", n, again, err)
		}
	}
	c.Restart(left)
	after, err := c.Leader().Hub().State().Pact("tickets")
	if err != nil || after.Digest.Registers != before.Digest.Registers || after.Epoch != done.NewEpoch {
		t.Fatalf("it held %+v and holds %+v, %v", before, after, err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
