// Package pair runs the product as its users do: the real binary, one hub and
// two agents as processes of their own, between a real Redmine ("acme") and a
// real Request Tracker ("globex"), with the very files of
// deploy/examples/redmine-rt. It serves the end-to-end test, the kill tests and
// make run-real.
package pair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/bench/process"
	"github.com/entente-sync/entente/connectors/realtest"
)

// Names of the processes.
const (
	Hub    = "hub"
	Acme   = "acme"
	Globex = "globex"
)

// Pair is a running pair. Its methods are for one goroutine.
type Pair struct {
	Redmine *realtest.RedmineServer
	RT      *realtest.RTServer
	Dir     string // configuration, data and logs
	Binary  string

	processes map[string]*process.Process
}

// Start starts both systems and writes the configuration below dir; no process
// of the product runs yet. root is the project's root, where the binary is built.
func Start(ctx context.Context, root, dir string, progress io.Writer) (*Pair, error) {
	p := &Pair{Dir: dir, Binary: filepath.Join(dir, "entente"), processes: map[string]*process.Process{}}
	say := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	say("building entente")
	build := exec.CommandContext(ctx, "go", "build", "-o", p.Binary, "./cmd/entente")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	say("starting Redmine and Request Tracker")
	var err error
	if p.Redmine, err = realtest.StartRedmine(ctx); err != nil {
		return nil, err
	}
	if p.RT, err = realtest.StartRT(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.configure(ctx, filepath.Join(root, Example)); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// configure copies the example, with this run's addresses, makes certificates
// by the command line, and stores the credentials.
func (p *Pair) configure(ctx context.Context, example string) error {
	ports, err := FreePorts(4)
	if err != nil {
		return err
	}
	replace := strings.NewReplacer(
		"http://127.0.0.1:3100", p.Redmine.URL, "http://127.0.0.1:3200", p.RT.URL,
		"project: sync", "project: "+p.Redmine.Project, "queue: sync", "queue: "+p.RT.Queue,
		"127.0.0.1:7443", ports[0], "127.0.0.1:7490", ports[1],
		"127.0.0.1:7491", ports[2], "127.0.0.1:7492", ports[3])
	err = filepath.WalkDir(example, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(example, path)
		if err != nil {
			return err
		}
		return p.write(rel, replace.Replace(string(src)))
	})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"cert", "init"},
		{"cert", "node", "n1", "127.0.0.1"},
		{"cert", "agent", "acme", "a1"},
		{"cert", "agent", "globex", "g1"},
	} {
		cmd := exec.CommandContext(ctx, p.Binary, args...)
		cmd.Dir = p.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("entente %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return errors.Join(
		p.write("secrets/redmine", p.Redmine.Service.Token+"\n"),
		p.write("secrets/rt", p.RT.Service.Token+"\n"))
}

func (p *Pair) write(rel, content string) error {
	path := filepath.Join(p.Dir, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// Run starts the named processes: Hub, Acme, Globex.
func (p *Pair) Run(names ...string) error {
	for _, name := range names {
		args := []string{"agent", "run", "-f", name + ".yaml"}
		if name == Hub {
			args[0] = "hub"
		}
		started, err := process.Start(p.Dir, name, p.Binary, args...)
		if err != nil {
			return err
		}
		p.processes[name] = started
	}
	return nil
}

// Kill ends a process with SIGKILL.
func (p *Pair) Kill(name string) error { return p.processes[name].Kill() }

// Stop asks a process to end and reports how it ended.
func (p *Pair) Stop(name string) error { return p.processes[name].Stop(15 * time.Second) }

// Log returns what a process logged.
func (p *Pair) Log(name string) string {
	text, err := os.ReadFile(filepath.Join(p.Dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Agent returns the admin client of a site.
func (p *Pair) Agent(site string) *admin.Client {
	return admin.NewClient(filepath.Join(p.Dir, "data", site, "admin.sock"))
}

// Close ends everything.
func (p *Pair) Close() error {
	var errs []error
	for _, proc := range p.processes {
		errs = append(errs, proc.Kill())
	}
	if p.Redmine != nil {
		errs = append(errs, p.Redmine.Close())
	}
	if p.RT != nil {
		errs = append(errs, p.RT.Close())
	}
	return errors.Join(errs...)
}

// FreePorts returns loopback addresses that were free a moment ago.
func FreePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all were chosen, so that they differ
		out = append(out, l.Addr().String())
	}
	return out, nil
}
