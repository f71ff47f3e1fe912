package tidy

import (
	"go/ast"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// DesignRoots each explain themselves in a DESIGN.md beside the code.
func DesignRoots() []string { return []string{"agent", "connectors", "crdt", "hub"} }

// CheckDesign reports roots without DESIGN.md.
func CheckDesign(t *Tree) []Finding {
	var out []Finding
	for _, root := range DesignRoots() {
		if p := root + "/DESIGN.md"; !slices.Contains(t.Paths, p) {
			out = append(out, Finding{Where: p, Rule: "design", What: "is missing"})
		}
	}
	return out
}

// Pins are modules that must have exactly this version: others of them lose
// data or do not build together (see docs/dependencies.md).
func Pins() map[string]string {
	return map[string]string{
		"github.com/hashicorp/raft":       "v1.7.3",
		"github.com/hashicorp/raft-wal":   "v0.4.2",
		"github.com/hashicorp/go-metrics": "v0.6.1",
		"github.com/dgraph-io/badger/v4":  "v4.9.6",
	}
}

// CheckPins reports a go.mod with other versions, or with a replace, which would
// break go install of the product.
func CheckPins(t *Tree) ([]Finding, error) {
	text, err := fs.ReadFile(t.fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	var out []Finding
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) > 0 && words[0] == "replace" || slices.Contains(words, "=>") {
			out = append(out, Finding{Where: "go.mod", Rule: "pin", What: "has a replace"})
		}
		if len(words) == 2 {
			found[words[0]] = words[1]
		}
	}
	for module, want := range Pins() {
		if found[module] != want {
			out = append(out, Finding{Where: "go.mod", Rule: "pin", What: module + " is " + strconv.Quote(found[module]) + ", want " + want})
		}
	}
	return out, nil
}

// CheckTestData reports files below a testdata directory that no test of the
// package beside it, or below that, mentions: by a part of its path, a pattern
// that matches it, or the test's own name.
func CheckTestData(t *Tree) []Finding {
	var out []Finding
	for _, p := range t.Paths {
		owner, rest, ok := strings.Cut(p, "/testdata/")
		if !ok {
			continue
		}
		used := slices.ContainsFunc(t.Files, func(f *File) bool { return within(f.Dir, owner) && mentions(f, rest) })
		if !used {
			out = append(out, Finding{Where: p, Rule: "testdata", What: "nothing reads it"})
		}
	}
	return out
}

func mentions(f *File, rest string) bool {
	elements := strings.Split(rest, "/")
	found := false
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil {
				found = found || slices.ContainsFunc(strings.Split(text, "/"), func(part string) bool { return names(part, elements) })
			}
		case *ast.FuncDecl:
			found = found || f.Test && n.Recv == nil && names(n.Name.Name, elements)
		}
		return !found
	})
	return found
}

// names reports whether part, of at least three letters and more than an
// extension, is in one of the elements or a pattern for it.
func names(part string, elements []string) bool {
	if len(part) < 3 || part[0] == '.' || part == "testdata" {
		return false
	}
	return slices.ContainsFunc(elements, func(e string) bool {
		matched, err := path.Match(part, e)
		return err == nil && matched || strings.Contains(e, part)
	})
}
