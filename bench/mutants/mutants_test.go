package mutants_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/mutants"
)

// quick are the mutants that are played in every test run.
var quick = []string{"loser-is-not-recorded", "join-greater-or-equal"}

// TestFit asks whether every mutant can still be made, and whether there are as
// many as were promised.
func TestFit(t *testing.T) {
	root := root(t)
	count := map[string]int{}
	for _, m := range load(t, mutants.ScopeAll) {
		count[m.Scope]++
		if _, _, err := m.Patch(t.Context(), root); err != nil {
			t.Error(err)
		}
	}
	if count[mutants.ScopeHub] < 20 || count[mutants.ScopeAgent] < 41 {
		t.Errorf("%v mutants", count)
	}
	if _, err := mutants.Load("nowhere"); err == nil {
		t.Error("an unknown scope has mutants")
	}
}

// TestPlay plays the mutants of SCOPE (hub, agent, all), or those of which MUTANT is
// a part of the file's name. Without either it plays two.
func TestPlay(t *testing.T) {
	root := root(t)
	scope, part := os.Getenv("SCOPE"), os.Getenv("MUTANT")
	for _, m := range load(t, scopeOr(scope, mutants.ScopeAll)) {
		if part == "" && scope == "" && !slices.Contains(quick, m.Slug) || !strings.Contains(m.Slug, part) {
			continue
		}
		t.Run(m.Slug, func(t *testing.T) {
			result, err := m.Play(t.Context(), root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if result.Found == "" {
				t.Fatalf("%s: nobody finds it: %s", m.Name, strings.Join(m.Runs, "; "))
			}
			t.Logf("| %s | `go test %s`: %s | %.0f s |", m.Name, result.Found, result.How, result.Took.Seconds())
			if result.Took > 10*time.Minute {
				t.Errorf("finding it took %s", result.Took)
			}
		})
	}
}

// A mutant whose text is gone is an error, and so is one that does not build.
func TestStale(t *testing.T) {
	m := mutants.Mutant{Name: "gone", File: "crdt/judge.go", Old: "no such text", New: "x", Runs: []string{"./crdt"}}
	if _, err := m.Play(t.Context(), root(t), t.TempDir()); !errors.Is(err, mutants.ErrStale) {
		t.Errorf("a text that is not there: %v", err)
	}
	m.Old, m.New = "package crdt", "package crdt;;"
	m.File = "crdt/author.go"
	if _, err := m.Play(t.Context(), root(t), t.TempDir()); !errors.Is(err, mutants.ErrStale) {
		t.Errorf("a text that does not build: %v", err)
	}
}

func root(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func load(t *testing.T, scope string) []mutants.Mutant {
	t.Helper()
	out, err := mutants.Load(scope)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func scopeOr(scope, otherwise string) string {
	if scope == "" {
		return otherwise
	}
	return scope
}
