package replica

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/durable"
)

// exported is the state of a cluster that holds ops 1..seq.
func exported(t *testing.T, seq int) (img *state.Image, term uint64) {
	t.Helper()
	c := newCluster(t, 1, nil)
	c.found()
	c.publish(1, seq)
	e, err := c.leader().Export()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if img, err = store.ReadSnapshot(e.Body); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.Voters, []string{"n1"}) || e.Meta.Index != img.Meta.Index || e.Meta.Hub != (command.HubID{1}) {
		t.Fatalf("export says %+v, the image %+v", e.Meta, img.Meta)
	}
	return img, e.Term
}

// A seeding that stops after any of its steps, or within its first write, leaves a
// directory that no replica opens and that is seeded anew; after the last step it
// is a node.
func TestSeedCutShort(t *testing.T) {
	img, term := exported(t, 20)
	dir := filepath.Join(t.TempDir(), "n1")
	p := Planted{Dir: dir, Node: "n1", State: img, Term: term + 100, MemTableBytes: 1 << 20}
	n := len(p.steps())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(durable.Aside(p.marker()), []byte("A rest"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		t: t, names: []string{"n1"}, dirs: map[string]string{"n1": dir}, addrs: map[string]string{},
		nodes: map[string]*Replica{}, exits: map[string]error{},
	}
	for done := 1; done < n; done++ {
		for _, step := range p.steps()[:done] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.start("n1"); !errors.Is(err, ErrUnfinished) {
			t.Fatalf("after %d of %d steps: %v, want ErrUnfinished", done, n, err)
		}
	}
	if err := Seed(p); err != nil {
		t.Fatal(err)
	}
	if err := Seed(p); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("seeded twice: %v", err)
	}
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop("n1") })
	c.publish(21, 5)
	c.equal(25)
	status := c.leader().Status()
	if status.Term <= term+100 || status.AppliedIndex <= img.Meta.Index {
		t.Errorf("it goes on at %+v, from entry %d and term %d", status, img.Meta.Index, term+100)
	}
	c.stop("n1")
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	c.leader()
	c.equal(25)
}

func TestSeedRefuses(t *testing.T) {
	img, term := exported(t, 1)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "somebody's"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	volume := t.TempDir()
	if err := os.Mkdir(filepath.Join(volume, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		p    Planted
		want error
	}{
		"a directory in use": {Planted{Dir: full, Node: "n1", State: img, Term: term}, ErrNotEmpty},
		"a fresh volume":     {Planted{Dir: volume, Node: "n1", State: img, Term: term, MemTableBytes: 1 << 20}, nil},
	} {
		if err := Seed(c.p); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, p := range map[string]Planted{
		"no node":  {Dir: t.TempDir(), State: img, Term: 1},
		"no state": {Dir: t.TempDir(), Node: "n1", State: &state.Image{}, Term: 1},
		"no term":  {Dir: t.TempDir(), Node: "n1", State: img},
	} {
		if err := Seed(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
			t.Errorf("%s: it left %v, %v", name, left, err)
		}
	}
}

// What is exported is the newest that was applied, from a follower too, while
// others go on.
func TestExport(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.leader()
	empty := c.running()[0]
	if e, err := empty.Export(); err == nil {
		e.Close()
		if e.Meta.Hub != (command.HubID{}) {
			t.Error("a cluster that was not founded exports a hub")
		}
	} else if !errors.Is(err, ErrNothing) {
		t.Fatal(err)
	}
	c.found()
	for round := range 3 {
		c.publish(crdt.Seq(1+10*round), 10)
		c.equal(crdt.Seq(10 * (round + 1)))
		for _, r := range c.running() {
			e, err := r.Export()
			if err != nil {
				t.Fatal(err)
			}
			img, err := store.ReadSnapshot(e.Body)
			if err == nil {
				err = state.New().Restore(img)
			}
			if err := errors.Join(err, e.Close()); err != nil {
				t.Fatal(err)
			}
			if got := len(img.Registers); got != 10*(round+1) || len(e.Voters) != 3 || e.Term == 0 {
				t.Errorf("round %d: %d registers, voters %v, term %d", round, got, e.Voters, e.Term)
			}
		}
	}
	r := c.leader()
	e, err := r.Export()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c.publish(31, 10) // the export stays what it was
	if err := r.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(e.Body)
	if err != nil || len(whole) == 0 {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	c.stop(r.cfg.Node)
	if _, err := r.Export(); err == nil {
		t.Error("a closed replica exports")
	}
}
