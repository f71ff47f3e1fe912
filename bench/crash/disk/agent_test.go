package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/entente-sync/entente/agent/store"
)

// agentEnv names the directory of an agent's store that a process of its own
// opens: the database maps its files, see mapEnv.
const agentEnv = "ENTENTE_AGENT_STORE"

var agentRow = []byte("row")

// inAgentStore does one thing in a store, and ends as a power loss would: what is
// not durable when Update has returned is in nobody's hands any more.
func inAgentStore(dir, act string) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	if act == "fill" { // until the database begins other files
		for i := range 80 {
			err := s.Update(func(tx store.Tx) error { return tx.Set([]byte{'f', byte(i)}, make([]byte, 512<<10)) })
			if err != nil {
				return err
			}
		}
	}
	if act != "read" {
		return s.Update(func(tx store.Tx) error { return tx.Set(agentRow, []byte("acked")) })
	}
	err = s.View(func(tx store.Tx) error {
		got, _, err := tx.Get(agentRow)
		if err == nil && string(got) != "acked" {
			err = fmt.Errorf("the row holds %q", got)
		}
		return err
	})
	return errors.Join(err, s.Close())
}

// What an agent's store says it holds outlives a power loss: within its first
// minutes, when its directories themselves are new, and whenever the database has
// just begun another file.
func TestAgentStoreOutlivesPowerLoss(t *testing.T) {
	for _, act := range []string{"write", "fill"} {
		t.Run(act, func(t *testing.T) {
			f, mountedAt := mounted(t)
			dir := filepath.Join(mountedAt, "lib", "entente", "agent")
			run := func(act string) {
				t.Helper()
				child := exec.Command(os.Args[0], act)
				child.Env = append(os.Environ(), agentEnv+"="+dir)
				if out, err := child.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", act, err, out)
				}
			}
			run(act)
			cycle(t, f, mountedAt, TearNone, 1)
			run("read")
		})
	}
}
