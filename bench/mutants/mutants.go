// Package mutants builds the product with one bug at a time, as a source patch at
// build time, and runs the tests that must find it. A test that finds no bug
// proves nothing; neither does one whose mutant does not build.
package mutants

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

//go:embed testdata
var files embed.FS

// Mutant is a bug to be: one text of one file in place of another.
type Mutant struct {
	Scope string // hub or agent
	Slug  string // name of its file
	Name  string
	File  string // from the project's root, or mod:<module>/<file> of a dependency
	Old   string
	New   string
	// Runs are arguments of go test, the quickest first; the first that fails has
	// found the bug. NAME=value in front is its environment.
	Runs []string
}

// Scopes of mutants.
const (
	ScopeHub   = "hub"
	ScopeAgent = "agent"
	ScopeAll   = "all"
)

// ErrStale means that a mutant does not fit the code any more.
var ErrStale = errors.New("the mutant is out of date")

// Load returns the mutants of a scope, in the order of their files.
func Load(scope string) ([]Mutant, error) {
	var out []Mutant
	for _, dir := range []string{ScopeHub, ScopeAgent} {
		if scope != dir && scope != ScopeAll {
			continue
		}
		names, err := fs.Glob(files, "testdata/"+dir+"/*.txt")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := files.ReadFile(name)
			if err != nil {
				return nil, err
			}
			m, err := parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m.Scope, m.Slug = dir, strings.TrimSuffix(path.Base(name), ".txt")
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no mutants of scope %q: hub, agent or all", scope)
	}
	return out, nil
}

func parse(text []byte) (Mutant, error) {
	a := txtar.Parse(text)
	m := Mutant{Name: strings.TrimSpace(string(a.Comment))}
	for _, f := range a.Files {
		body := strings.TrimSuffix(string(f.Data), "\n")
		switch f.Name {
		case "file":
			m.File = body
		case "run":
			m.Runs = strings.Split(body, "\n")
		case "old":
			m.Old = body
		case "new":
			m.New = body
		default:
			return m, fmt.Errorf("unknown part %q", f.Name)
		}
	}
	if m.Name == "" || m.File == "" || m.Old == "" || m.Old == m.New || len(m.Runs) == 0 {
		return m, errors.New("wants a name, file, run, old and new")
	}
	return m, nil
}

// Patch returns the file of the mutant and its content with the bug.
func (m *Mutant) Patch(ctx context.Context, root string) (file, content string, err error) {
	file = filepath.Join(root, filepath.FromSlash(m.File))
	if rest, ok := strings.CutPrefix(m.File, "mod:"); ok {
		if file, err = moduleFile(ctx, root, rest); err != nil {
			return "", "", err
		}
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	if n := strings.Count(string(src), m.Old); n != 1 {
		return "", "", fmt.Errorf("%w: %s: %s holds the text to be changed %d times", ErrStale, m.Name, m.File, n)
	}
	return file, strings.Replace(string(src), m.Old, m.New, 1), nil
}

// moduleFile finds a file of a dependency: <module of three elements>/<path>.
func moduleFile(ctx context.Context, root, name string) (string, error) {
	elements := strings.SplitN(name, "/", 4)
	if len(elements) < 4 {
		return "", fmt.Errorf("%w: %s names no file of a module", ErrStale, name)
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", strings.Join(elements[:3], "/"))
	cmd.Dir = root
	dir, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("module of %s: %w", name, err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), filepath.FromSlash(elements[3])), nil
}

// Result is how a mutant ended.
type Result struct {
	Found string // the command that failed; "" if all passed
	How   string // what it said first
	Took  time.Duration
}

// Play builds the product with the mutant and runs its tests until one fails. dir
// is for what it writes.
func (m *Mutant) Play(ctx context.Context, root, dir string) (Result, error) {
	began := time.Now()
	list, err := m.overlay(ctx, root, dir)
	if err != nil {
		return Result{}, err
	}
	// Through the environment, so that a test which builds the binary builds the
	// mutant.
	env := append(os.Environ(), "RAPID_NOFAILFILE=true", "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+list))
	build := exec.CommandContext(ctx, "go", "build", "./hub/...", "./agent/...", "./crdt/...", "./cmd/...")
	build.Dir, build.Env = root, env
	if out, err := build.CombinedOutput(); err != nil {
		return Result{}, fmt.Errorf("%w: %s does not build: %w\n%s", ErrStale, m.Name, err, out)
	}
	for _, run := range m.Runs {
		out, failed, err := test(ctx, root, env, run)
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", m.Name, err)
		}
		if failed {
			return Result{Found: run, How: said(out), Took: time.Since(began)}, nil
		}
	}
	return Result{Took: time.Since(began)}, nil
}

// overlay writes the changed file and the list that puts it in its place.
func (m *Mutant) overlay(ctx context.Context, root, dir string) (list string, err error) {
	file, content, err := m.Patch(ctx, root)
	if err != nil {
		return "", err
	}
	patched := filepath.Join(dir, "patched.go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: patched}})
	if err != nil {
		return "", err
	}
	list = filepath.Join(dir, "overlay.json")
	return list, errors.Join(os.WriteFile(patched, []byte(content), 0o600), os.WriteFile(list, text, 0o600))
}

// memoryMax is what one test may take, in KiB: a bug may eat all of it.
const memoryMax = 8 << 20

// test runs go test. That a test does not build is an error, not a failure.
func test(ctx context.Context, root string, env []string, run string) (out string, failed bool, err error) {
	words := strings.Fields(run)
	for len(words) > 0 && strings.Contains(words[0], "=") {
		env, words = append(env, words[0]), words[1:]
	}
	script := fmt.Sprintf(`ulimit -v %d; exec go test -count=1 -timeout 9m "$@"`, memoryMax)
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh"}, words...)...)
	cmd.Dir, cmd.Env = root, env
	text, err := cmd.CombinedOutput()
	out = string(text)
	switch exit := (*exec.ExitError)(nil); {
	case err == nil && strings.Contains(out, "no tests to run"):
		return out, false, fmt.Errorf("%w: %q runs no test", ErrStale, run)
	case err == nil:
		return out, false, nil
	case !errors.As(err, &exit), strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return out, false, fmt.Errorf("%s: %w\n%s", run, err, out[:min(len(out), 2000)])
	}
	return out, true, nil
}

var (
	seed   = regexp.MustCompile(`SEED=(\d+) breaks ([^:\n]*)`)
	failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
)

// said finds in a failing test's words which seed or which test it was.
func said(out string) string {
	if hit := seed.FindStringSubmatch(out); hit != nil {
		return "seed " + hit[1] + ": " + hit[2]
	}
	if hits := failed.FindAllStringSubmatch(out, -1); hits != nil {
		return hits[len(hits)-1][1]
	}
	if i := strings.Index(out, "panic: "); i >= 0 {
		line, _, _ := strings.Cut(out[i:], "\n")
		return line
	}
	return "it failed"
}
