package hub_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/hubtest"
)

// The drill: a hub of three writes, is saved, and loses every disk. One node is
// restored, the others join it under their old names with empty directories; all
// hold what was saved, in a new epoch, and the hub goes on.
func TestRestoreDrill(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), nil)
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 200); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	members(t, c, "three voters", func(m admin.Members) bool { return roles(m) == "n1=voter n2=voter n3=voter" })
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	if err := c.Leader().Hub().Backup(t.Context(), &plain); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "drill.backup")
	saved, err := backup.Copy(file, &plain, nil, []age.Recipient{id.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.publish(t.Context(), 201, 50); err != nil { // not in the backup
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		n.Kill()
		if err := os.RemoveAll(n.Dir); err != nil {
			t.Fatal(err)
		}
	}
	first := c.Nodes()[1]
	from, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	restored, err := backup.Restore(from, backup.Target{
		Dir: first.Dir, Hub: saved.Hub, Node: first.Name, Identities: []age.Identity{id}, Random: rand.Reader, MemTableBytes: 2 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Restart(first)
	for _, n := range c.Nodes() {
		if n != first {
			c.Rejoin(n)
		}
	}
	members(t, c, "three voters again", func(m admin.Members) bool { return len(m.Members) == 3 && m.Tolerance() == 1 })
	equalDigests(t, c)
	info, err := c.Leader().Hub().State().Pact("tickets")
	if err != nil || info.Digest != saved.Meta.Pacts[0] || info.Epoch != restored.NewEpoch || info.Epoch == saved.Epoch {
		t.Fatalf("restored %+v, %v, saved %+v", info, err, saved.Meta.Pacts)
	}
	if fork := (crdt.Fork{Child: restored.NewEpoch, Parent: saved.Epoch, At: info.Head}); len(info.Lineage) != 1 || info.Lineage[0] != fork {
		t.Errorf("lineage %+v, want %+v", info.Lineage, fork)
	}
	goesOn(t, c)
	if _, err := backup.Restore(from, backup.Target{Dir: first.Dir}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("restored over a running node: %v", err)
	}
}

// goesOn says again what the backup lacked, and finds it on every node.
func goesOn(t *testing.T, c *hubtest.Cluster) {
	t.Helper()
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 201, 50); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	for _, n := range c.Nodes() {
		if err := n.Exited(); err != nil {
			t.Errorf("%s stopped itself: %v", n.Name, err)
		}
		got, err := n.Hub().State().Pact("tickets")
		if err != nil || got.Digest.Registers.Count() != 250 || len(got.Lineage) != 1 {
			t.Errorf("%s: %+v, %v", n.Name, got, err)
		}
	}
}
