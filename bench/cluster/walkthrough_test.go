// Package cluster types what an operator types: real processes, real files.
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
)

// TestWalkThrough types docs/operate-hub.md line by line. Only the ports are this
// test's own, and the block marked "sh setup".
func TestWalkThrough(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "operate-hub.md"))
	must(t, err)
	blocks := shellBlocks(string(page))
	if len(blocks) < 6 {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	work := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(work, "entente"), "./cmd/entente")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := "set -eu\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n" + strings.Join(blocks, "\n")
	for _, port := range []string{"7401", "7402", "7403", "7404", "7409", "7501", "7502", "7503", "7504", "7509"} {
		script = strings.ReplaceAll(script, "localhost:"+port, freeAddress(t))
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = work
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its nodes end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+work+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		for _, name := range []string{"n1", "n2", "n3", "n4"} {
			log, _ := os.ReadFile(filepath.Join(work, name+".log"))
			t.Logf("--- %s\n%s", name, log)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"token.invalid", "member.tolerance", "n2 is removed for good (it does not answer)"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// freeAddress is one that nobody listens at now. The page's commands take ports
// by number, so it cannot be held until then.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
}

// shellBlocks returns the blocks fenced as sh.
func shellBlocks(page string) (blocks []string) {
	for i, part := range strings.Split(page, "```") {
		info, body, _ := strings.Cut(part, "\n")
		if i%2 == 1 && info == "sh" {
			blocks = append(blocks, body)
		}
	}
	return blocks
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
