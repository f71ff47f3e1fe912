package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever is told that a node's directory is damaged is told to replace the node,
// whether it stopped itself or does not start, and by name.
func TestDamageNamesReplace(t *testing.T) {
	const next = "entente hub replace n2 --by NEW"
	for _, cause := range replaceable {
		if got := advise("n2", fmt.Errorf("deep: %w", cause)); !strings.Contains(got.Error(), next) || !errors.Is(got, cause) {
			t.Errorf("%v: %v", cause, got)
		}
	}
	if got := advise("n2", fs.ErrPermission); !errors.Is(got, fs.ErrPermission) || strings.Contains(got.Error(), "replace") {
		t.Errorf("what is no damage: %v", got)
	}
	c := newCluster(t, 3, nil)
	c.found()
	c.publish(1, 10)
	c.equal(10)
	victim := c.nodes["n2"]
	if err := victim.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	victim.Stop(fmt.Errorf("%w: for the test", ErrDiverged))
	if err := c.exited("n2"); err == nil || !strings.Contains(err.Error(), next) {
		t.Errorf("a node that stopped itself says %v", err)
	}
	c.stop("n2")
	meta := filepath.Join(c.dirs["n2"], dirSnapshots, fileCheckpoint)
	raw, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-3] ^= 1
	if err := os.WriteFile(meta, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.start("n2"); err == nil || !strings.Contains(err.Error(), next) {
		t.Errorf("a node that does not start says %v", err)
	}
}
