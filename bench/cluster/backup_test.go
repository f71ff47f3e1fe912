package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/entente-sync/entente/hub/backup"
)

// TestBackup types docs/backup.md. Its own are the keys, the ports, and the
// schedule's period, so that nobody waits for a minute. The page's restore drill
// brings three nodes back, with the pact's digest and in another epoch.
func TestBackup(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	work := t.TempDir()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(work, "identity.txt"), []byte(id.String()+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(work, "recipients.txt"), []byte(id.Recipient().String()+"\n"), 0o600))
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(work, "entente"), "./cmd/entente")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := typeBackup(ctx, t, work)
	for _, want := range []string{
		"pass --identity FILE to see the pacts", "backup.exists", "backup.sealed", "backup.not_empty", "as node n1 alone", "1 more may fail",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	saved, err := backup.VerifyFile(filepath.Join(work, "today.backup"), []age.Identity{id})
	must(t, err)
	restored, err := backup.VerifyFile(filepath.Join(work, "restored.backup"), []age.Identity{id})
	must(t, err)
	if restored.Hub != saved.Hub || restored.Epoch == saved.Epoch || len(restored.Voters) != 3 {
		t.Errorf("restored %+v, saved %+v", restored.Header, saved.Header)
	}
	if a, b := saved.Meta.Pacts, restored.Meta.Pacts; len(a) != 1 || len(b) != 1 || a[0] != b[0] {
		t.Errorf("restored %+v, saved %+v", b, a)
	}
}

// typeBackup types the page's blocks and returns what they printed.
func typeBackup(ctx context.Context, t *testing.T, work string) string {
	t.Helper()
	script := "set -eu\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n" + strings.Join(shellBlocks(backupPage(t)), "\n")
	script = strings.Replace(script, "every: 1h", "every: 1m", 1)
	script = quick.ReplaceAllString(script, "$0\necho 'timing: {heartbeat: 1s}' >> $1/hub.yaml")
	base := hundred(t)
	script = strings.NewReplacer("localhost:74", fmt.Sprint("localhost:", base), "localhost:75", fmt.Sprint("localhost:", base+1)).Replace(script)
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = work
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its nodes end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+work+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(work, "*.log")) // the pattern is well formed
		for _, name := range logs {
			log, _ := os.ReadFile(name)
			t.Logf("--- %s\n%s", filepath.Base(name), log)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// hundred returns h so that nobody listens now at ports h01 to h03 and (h+1)01 to
// (h+1)03. The page's loops write the last digit themselves. They are outside the
// range from which outgoing connections get theirs.
func hundred(t *testing.T) int {
	t.Helper()
	const first, past = 120, 200
	for i := range past - first - 1 {
		h := first + (os.Getpid()+i)%(past-first-1)
		free := true
		for _, port := range []int{h*100 + 1, h*100 + 2, h*100 + 3, h*100 + 101, h*100 + 102, h*100 + 103} {
			l, err := net.Listen("tcp", fmt.Sprintf("localhost:%d", port))
			if free = free && err == nil; err == nil {
				must(t, l.Close())
			}
		}
		if free {
			return h
		}
	}
	t.Fatal("no free ports")
	return 0
}

// TestBackupCodes: the page's table is that of the code.
func TestBackupCodes(t *testing.T) {
	page := backupPage(t)
	codes := backup.Codes()
	for _, a := range codes {
		if row := fmt.Sprintf("| `%s` | %s |\n", a.Code, a.Next); !strings.Contains(page, row) {
			t.Errorf("the page lacks %q", row)
		}
	}
	if n := strings.Count(page, "\n| `backup.") + strings.Count(page, "\n| `recover."); n != len(codes) {
		t.Errorf("%d rows, %d codes", n, len(codes))
	}
}

func backupPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "backup.md"))
	must(t, err)
	return string(text)
}
