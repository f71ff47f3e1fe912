package cluster_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOperateAgent types docs/operate-agent.md line by line; only the ports are
// this test's own.
func TestOperateAgent(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "operate-agent.md"))
	must(t, err)
	work := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(work, "entente"), "./cmd/entente")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sockets, err := os.MkdirTemp("", "e-*") // their paths must be short
	must(t, err)
	defer os.RemoveAll(sockets)
	script := "set -eu\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n" + strings.Join(shellBlocks(string(page)), "\n")
	for i, address := range freeAddresses(t, 2) {
		_, port, _ := strings.Cut(address, ":")
		script = strings.ReplaceAll(script, []string{"7801", "7802"}[i], port)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = work
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+work+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+sockets, "TMPDIR="+work)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`title of record \w+ has the lost value again`, `nothing more was done`, `title +resolved`, `value\.unmapped +priority +out +2 +2`,
		`2 holds fit; nothing was done`, `2 holds are tried again`, `1 holds are skipped`, `a dry run of the backfill of tracker begins`,
		`the job of tracker is paused`, `the job of tracker is cancelled`, `the resync of tracker begins`, `acme +tracker +resync +done +1/1 `,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}
