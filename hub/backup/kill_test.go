package backup

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// restoringIn names the variable that makes this test's binary restore into a
// directory and end.
const restoringIn = "ENTENTE_TEST_RESTORE_IN"

func TestMain(m *testing.M) {
	dir := os.Getenv(restoringIn)
	if dir == "" {
		os.Exit(m.Run())
	}
	b, err := oldBackup()
	if err == nil {
		_, err = Restore(bytes.NewReader(b), Target{Dir: dir, Hub: hubID, Node: "n1", Random: rand.Reader, MemTableBytes: 1 << 20})
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func oldBackup() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join("testdata", "backup-v1-plain.hex"))
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(strings.TrimSpace(string(text)))
}

// A restore is killed as soon as something of it is seen. What it leaves is
// either a node's whole directory or is taken by the next restore.
func TestRestoreIsKilled(t *testing.T) {
	b, err := oldBackup()
	if err != nil {
		t.Fatal(err)
	}
	tried, killed := 0, 0
	for _, sight := range []string{
		"n1", "n1/*", "n1/state", "n1/state/state-*", "n1/state/state-*/*", "n1/state/CURRENT", "n1/log", "n1/log/*", "n1/snapshots", "n1/snapshots/*",
	} {
		t.Run(sight, func(t *testing.T) {
			to := target(t)
			tried++
			if killAt(t, to.Dir, filepath.Join(filepath.Dir(to.Dir), sight)) {
				killed++
			}
			_, err := Restore(bytes.NewReader(b), to)
			if err != nil && !is(err, CodeNotEmpty) {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(to.Dir, "restoring")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("marked as unfinished: %v", err)
			}
			_, was, err := Load(bytes.NewReader(b), nil)
			if err != nil {
				t.Fatal(err)
			}
			back := held(t, to)
			if hub, now := back.Hub(); hub != hubID || now == epoch || back.Index() != was.Index()+1 {
				t.Errorf("hub %s, epoch %s at entry %d", hub, now, back.Index())
			}
			if _, err := Restore(bytes.NewReader(b), to); !is(err, CodeNotEmpty) {
				t.Errorf("a node that is whole was restored again: %v", err)
			}
		})
	}
	if killed < tried/2 {
		t.Errorf("%d of %d restores were killed, the others had ended", killed, tried)
	}
}

// killAt restores in a process of its own, which it kills when something matches
// the pattern, or lets end before; true: the kill ended it.
func killAt(t *testing.T, dir, pattern string) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), restoringIn+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			if err := errors.Join(err, cmd.Process.Kill()); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			err = <-ended
			t.Logf("killed, or done just before: %v", err)
			if !errors.As(err, &exit) {
				return false
			}
			status, ok := exit.Sys().(syscall.WaitStatus)
			return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("the restore ended by itself: %v", err)
			}
			return false
		case <-time.After(100 * time.Microsecond):
		}
	}
}
