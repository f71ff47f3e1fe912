// Package cluster types what an operator types: real processes, real files.
package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets all pages be typed at once: they wait more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestWalkThrough types docs/operate-hub.md line by line. Only the ports are this
// test's own, and the block marked "sh setup".
func TestWalkThrough(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	page, err := os.ReadFile(filepath.Join(root, "docs", "operate-hub.md"))
	must(t, err)
	blocks := shellBlocks(string(page))
	if len(blocks) < 14 {
		t.Fatalf("the page has %d blocks of commands", len(blocks))
	}
	work := t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(work, "entente"), "./cmd/entente")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.CopyFS(filepath.Join(work, "files"), os.DirFS(filepath.Join(root, "cmd", "entente", "dev", "files"))))
	script := "set -eu\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n" + strings.Join(blocks, "\n")
	// A command that must fail does not end a script by itself when it succeeds.
	script = regexp.MustCompile(`(?m)^! .*$`).ReplaceAllString(script, "$0 || exit 1")
	script = quick.ReplaceAllString(script, "$0\necho 'timing: {heartbeat: 1s}' >> $1/hub.yaml")
	written := []string{
		"7401", "7402", "7403", "7404", "7409", "7501", "7502", "7503", "7504", "7509", "7601", "7602",
	}
	for i, address := range freeAddresses(t, len(written)) {
		script = strings.ReplaceAll(script, "localhost:"+written[i], address)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = work
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its nodes end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "PATH="+work+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		for _, name := range []string{"n1", "n2", "n3", "n4", "acme", "globex"} {
			log, _ := os.ReadFile(filepath.Join(work, name+".log"))
			t.Logf("--- %s\n%s", name, log)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"token.invalid", "member.tolerance", "member.voter", "n2 is removed for good (it does not answer)", "verified: header,",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	for _, site := range []string{"acme", "globex"} {
		log, err := os.ReadFile(filepath.Join(work, site+".log"))
		must(t, err)
		if !strings.Contains(string(log), "the hub has a new epoch: it is brought what this agent holds") {
			t.Errorf("%s offered nothing:\n%s", site, log)
		}
	}
}

// quick finds what makes a node's directory. A heartbeat of a third of the usual one
// spares the page most of its waits for elections.
var quick = regexp.MustCompile(`(?m)^entente hub (?:init|join) .* --dir (n(?:\d|\$n)) .*$`)

// freeAddresses are places that nobody listens at now, and that no other call was
// given. The page's commands take ports by number, and take them again after a node
// died, so they cannot be held until then; they are outside the range from which
// outgoing connections get theirs, and hundred's.
func freeAddresses(t *testing.T, n int) (out []string) {
	t.Helper()
	const past = 30_000
	ports.Lock()
	defer ports.Unlock()
	for ; len(out) < n && ports.next < past; ports.next++ {
		address := fmt.Sprintf("localhost:%d", ports.next)
		if l, err := net.Listen("tcp", address); err == nil {
			out = append(out, address)
			must(t, l.Close())
		}
	}
	if len(out) < n {
		t.Fatal("no free ports")
	}
	return out
}

// ports is where the next call looks; processes begin at different places.
var ports = struct {
	sync.Mutex
	next int
}{next: 20_000 + os.Getpid()%5_000}

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
