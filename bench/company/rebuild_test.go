package company_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/entente-sync/entente/bench/company"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/hubtest"
)

// held is what every node holds of the pact: its text, members and version in it,
// and the sum over its registers. Nodes that differ, or lack it, hold "".
func held(c *hubtest.Cluster) string {
	all := ""
	for _, n := range c.Nodes() {
		info, err := n.Hub().State().Pact(company.Pact)
		if err != nil {
			return ""
		}
		one := fmt.Sprintf("%x %x", info.Document, info.Digest.Registers.Bytes())
		if all != "" && one != all {
			return ""
		}
		all = one
	}
	return all
}

func epochOf(c *hubtest.Cluster) crdt.Epoch {
	_, epoch := c.Leader().Hub().State().Hub()
	return epoch
}

// history makes a pact that the agents alone put in force, tickets of both sides,
// edits of the other side's, and a conflict; it returns what the hub holds then.
func history(t *testing.T, c *hubtest.Cluster, acme, globex *company.Company, round int) string {
	t.Helper()
	name := func(side string, i int) string { return fmt.Sprintf("%s %d in round %d", side, i, round) }
	for i := range 10 {
		acme.Ticket(name("acme", i))
		globex.Ticket(name("globex", i))
	}
	both(t, acme, globex)
	globex.Stop()
	acme.Retitle(name("globex", 1), name("changed by acme", 1))
	acme.Retitle(name("acme", 3), name("lost to globex or won", 3))
	acme.Settled()
	globex.Retitle(name("acme", 2), name("changed by globex", 2))
	globex.Retitle(name("acme", 3), name("lost to acme or won", 3))
	globex.Run()
	both(t, acme, globex)
	if n := acme.Status().Pacts[0].Conflicts; n < round {
		t.Fatalf("%d conflicts after round %d", n, round)
	}
	before := ""
	company.Eventually(t, "one state on all nodes", func() bool { before = held(c); return before != "" })
	return before
}

// both waits until both desks show the same tickets, and everything is sent.
func both(t *testing.T, acme, globex *company.Company) {
	t.Helper()
	company.Eventually(t, "the same tickets at both desks", func() bool {
		one, two := acme.Titles(), globex.Titles()
		return fmt.Sprint(one) == fmt.Sprint(two)
	})
	acme.Settled()
	globex.Settled()
}

// wipe takes every node's disk away.
func wipe(t *testing.T, c *hubtest.Cluster) {
	t.Helper()
	for _, n := range c.Nodes() {
		n.Kill()
	}
	for _, n := range c.Nodes() {
		if err := os.RemoveAll(n.Dir); err != nil {
			t.Fatal(err)
		}
	}
}

// same waits until the agents have brought back what was there before, and shows
// that the hub goes on with it, once more of everything and nothing twice.
func same(t *testing.T, c *hubtest.Cluster, before string, acme, globex *company.Company) {
	t.Helper()
	company.Eventually(t, "the state of before, from the agents alone", func() bool { return held(c) == before })
	both(t, acme, globex)
	if after := held(c); after != before {
		t.Errorf("at rest the hub holds %s, want %s", after, before)
	}
	for _, one := range []*company.Company{acme, globex} {
		p := one.Status().Pacts[0]
		if p.Offering || p.Offered == 0 || p.OfferRefused != 0 {
			t.Errorf("an agent says of its offer: %+v", p)
		}
	}
	acme.Ticket("after")
	both(t, acme, globex)
	for title, n := range globex.Titles() {
		if n != 1 {
			t.Errorf("%q is there %d times", title, n)
		}
	}
	if globex.Titles()["after"] != 1 {
		t.Error("the hub does not go on")
	}
}

// A hub of three loses every disk. No node is told of any pact: the agents bring
// back the pact, its members, and all that it held.
func TestHubLosesEverything(t *testing.T) {
	c := hubtest.Start(t, 3, nil, nil)
	acme, globex := company.Start(t, c, "acme", c.Addresses()...), company.Start(t, c, "globex", c.Addresses()...)
	before := history(t, c, acme, globex, 1)
	epoch := epochOf(c)
	wipe(t, c)
	for _, n := range c.Nodes() {
		c.Restart(n)
	}
	same(t, c, before, acme, globex)
	if now := epochOf(c); now == epoch {
		t.Errorf("a hub that lost everything has epoch %s still", now)
	}
}

// A hub of three is restored from a backup that lacks half of what it held since.
func TestHubRestoredFromYesterday(t *testing.T) {
	c := hubtest.Start(t, 3, nil, nil)
	acme, globex := company.Start(t, c, "acme", c.Addresses()...), company.Start(t, c, "globex", c.Addresses()...)
	yesterday := history(t, c, acme, globex, 1)
	file := filepath.Join(t.TempDir(), "yesterday.backup")
	var plain bytes.Buffer
	if err := c.Leader().Hub().Backup(t.Context(), &plain); err != nil {
		t.Fatal(err)
	}
	saved, err := backup.Copy(file, &plain, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := history(t, c, acme, globex, 2)
	if before == yesterday {
		t.Fatal("nothing happened since yesterday")
	}
	wipe(t, c)
	from, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	first := c.Nodes()[1]
	_, err = backup.Restore(from, backup.Target{
		Dir: first.Dir, Hub: saved.Hub, Node: first.Name, Random: rand.Reader, MemTableBytes: 2 << 20,
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
	company.Eventually(t, "three voters", func() bool {
		m, err := c.Leader().Hub().Members(t.Context())
		return err == nil && m.Tolerance() == 1 && roles(m) == 3
	})
	same(t, c, before, acme, globex)
}

func roles(m admin.Members) (voters int) {
	for _, one := range m.Members {
		if one.Role != admin.RoleLearner {
			voters++
		}
	}
	return voters
}
