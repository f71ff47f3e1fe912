// Package docs types what the documentation says. Every command of README.md and
// of the pages beside it is run by a test: here, or by the test that the table
// names.
package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var root = filepath.Join("..", "..")

// elsewhere names the test that runs a command which this one can't: it would
// call itself, or needs real systems.
var elsewhere = map[string]string{
	"make test":     "CI runs it: .ci/run",
	"make verify":   "is .ci/run",
	"make run-real": "bench/realpair: TestRunReal",
	"make lint":     "CI runs it: .ci/run",
	"make generate": "CI runs it: .ci/run",
	"make crash":    "bench/crash: TestHub",
	"make sim":      "bench/sim",
	"make mutants":  "bench/mutants: TestPlay plays two of them",
}

// pages that have a test of their own which runs them whole.
var wholePages = map[string]string{
	"docs/two-real-systems.md": "bench/pair: TestWalkThrough",
	"docs/operate-hub.md":      "bench/cluster: TestWalkThrough",
	"docs/backup.md":           "bench/cluster: TestBackup",
	"docs/operate-agent.md":    "bench/cluster: TestOperateAgent",
}

// TestReadme types the README's commands in order. make run goes on in the
// background, as the README says, until the end.
func TestReadme(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ran := 0
	for _, command := range commands(t, "README.md") {
		switch _, other := elsewhere[base(command)]; {
		case other:
			dry(ctx, t, command)
		case command == "make run":
			stop := background(ctx, t, command)
			defer stop()
			ran++
		default:
			cmd := shell(ctx, command)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("only %d commands were run", ran)
	}
}

// TestEveryCommandHasATest: a command in a page that nothing runs is a claim
// that nobody checks.
func TestEveryCommandHasATest(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		page := "docs/" + filepath.Base(path)
		if wholePages[page] != "" {
			continue
		}
		for _, command := range commands(t, page) {
			if elsewhere[base(command)] == "" {
				t.Errorf("%s: no test runs %q", page, command)
			}
		}
	}
}

// base is a command without its arguments' values: make sim SEEDS=9 is make sim.
func base(command string) string {
	return strings.TrimSpace(regexp.MustCompile(`\s[A-Z]+=\S+`).ReplaceAllString(command, ""))
}

// commands returns the lines of a page's blocks fenced as sh.
func commands(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, part := range strings.Split(string(text), "```") {
		info, body, _ := strings.Cut(part, "\n")
		if i%2 == 0 || info != "sh" {
			continue
		}
		for _, line := range strings.Split(body, "\n") {
			if line, _, _ = strings.Cut(line, " #"); strings.TrimSpace(line) != "" {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	return out
}

func shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "MAKEFLAGS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// dry checks that make knows the target.
func dry(ctx context.Context, t *testing.T, command string) {
	t.Helper()
	if out, err := shell(ctx, strings.Replace(command, "make ", "make -n ", 1)).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
}

// background starts a command and waits until it has said what to try; stop
// interrupts it as Ctrl-C does, and wants a graceful end.
func background(ctx context.Context, t *testing.T, command string) (stop func()) {
	t.Helper()
	cmd := shell(ctx, command)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := false
	for !said && lines.Scan() {
		said = strings.Contains(lines.Text(), "Ctrl-C")
	}
	if !said {
		t.Errorf("%s ended without saying what to try: %v\n%s", command, cmd.Wait(), complaints.String())
		return func() {}
	}
	return func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
			t.Errorf("interrupt: %v", err)
		}
		_, _ = io.Copy(io.Discard, out) // until every process of the group has ended
		var exit *exec.ExitError        // make reports the interrupt in its own way
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Errorf("%s: %v", command, err)
		}
	}
}
