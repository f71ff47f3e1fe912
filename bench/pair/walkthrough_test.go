package pair_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/pair"
)

// TestWalkThrough types docs/two-real-systems.md line by line, against real
// systems: what a reader would do. Only the addresses and keys of the block
// marked "sh setup" are this test's own.
func TestWalkThrough(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	must(t, err)
	ctx, p := pair.ForTest(t, root, 0, 4*time.Minute)
	page, err := os.ReadFile(filepath.Join(root, "docs", "two-real-systems.md"))
	must(t, err)
	blocks, setup := shellBlocks(string(page))
	if len(blocks) < 6 || setup != 1 {
		t.Fatalf("the page has %d blocks of commands and %d for the setup", len(blocks), setup)
	}
	ports, err := pair.FreePorts(4)
	must(t, err)
	// The reader's working copy: the product's files, without what was built.
	work := t.TempDir()
	for _, name := range []string{"Makefile", "deploy", "cmd", "agent", "hub", "crdt", "proto", "connectors", "go.mod", "go.sum"} {
		must(t, os.Symlink(filepath.Join(root, name), filepath.Join(work, name)))
	}
	script := "set -eu\n" + strings.Join(blocks, "\n")
	for i, port := range []string{"7443", "7490", "7491", "7492"} {
		script = strings.Replace(script, "cd pair\n", fmt.Sprintf("cd pair\nsed -i 's|127.0.0.1:%s|%s|' *.yaml\n", port, ports[i]), 1)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false",
		"REDMINE="+p.Redmine.URL, "REDMINE_KEY="+p.Redmine.Service.Token,
		"RT="+p.RT.URL, "RT_TOKEN="+p.RT.Service.Token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		for _, name := range []string{"hub", "acme", "globex"} {
			log, _ := os.ReadFile(filepath.Join(work, "pair", name+".log"))
			t.Logf("--- %s\n%s", name, log)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	tickets, err := p.Tickets(ctx, false)
	must(t, err)
	if len(tickets) != 1 || tickets[0].Title != "Router down" || tickets[0].Priority != "high" {
		t.Errorf("Request Tracker has %+v", tickets)
	}
}

// shellBlocks returns the blocks fenced as sh, and how many are fenced as sh
// setup.
func shellBlocks(page string) (blocks []string, setup int) {
	for i, part := range strings.Split(page, "```") {
		if i%2 == 0 {
			continue
		}
		info, body, _ := strings.Cut(part, "\n")
		switch info {
		case "sh":
			blocks = append(blocks, body)
		case "sh setup":
			setup++
		}
	}
	return blocks, setup
}
