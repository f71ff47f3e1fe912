package tidy

import (
	"go/ast"
	"slices"
	"strings"
)

// PurePackages have no clock, randomness, goroutine, I/O or log: what they do
// follows from their arguments alone.
func PurePackages() []string {
	return []string{
		"crdt", "proto/pact", "proto/identity",
		"agent/core", "agent/shadow", "agent/outbox", "agent/inbox", "agent/binding",
		"hub/state", "hub/command",
	}
}

// impureBelow stand below a pure package without being part of it.
func impureBelow() []string {
	return []string{"crdt/crdttest", "proto/pact/pactfile", "proto/identity/authority"}
}

// impureImports may not occur in a pure package.
func impureImports() []string {
	return []string{
		"os", "os/exec", "os/signal", "io/ioutil", "net", "net/http", "net/rpc", "syscall", "unsafe",
		"log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "expvar", "embed", "plugin",
		"google.golang.org/grpc", "github.com/dgraph-io/badger/v4", "github.com/hashicorp/raft",
	}
}

// impureCalls names functions of packages that are otherwise allowed.
func impureCalls() map[string][]string {
	return map[string][]string{
		"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
		"fmt":     {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
		"runtime": {"Caller", "Callers", "NumGoroutine", "GC", "Stack"},
	}
}

// CheckPure reports what a pure package may not do. Its tests may.
func CheckPure(t *Tree) []Finding {
	var out []Finding
	for _, f := range t.Files {
		if !withinAny(f.Dir, PurePackages()) || f.Test || withinAny(f.Dir, impureBelow()) {
			continue
		}
		find := func(n ast.Node, what string) {
			out = append(out, Finding{Where: f.at(n), Rule: "pure", What: what})
		}
		imports := f.imports()
		for _, spec := range f.AST.Imports {
			if p := strings.Trim(spec.Path.Value, `"`); slices.Contains(impureImports(), p) {
				find(spec, "imports "+p)
			}
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				find(n, "starts a goroutine")
			case *ast.SelectorExpr:
				if called := impure(n, imports); called != "" {
					find(n, "uses "+called)
				}
			}
			return true
		})
	}
	return out
}

// impure names the forbidden function that n stands for, called or not.
func impure(n *ast.SelectorExpr, imports map[string]string) string {
	x, ok := n.X.(*ast.Ident)
	if !ok || x.Obj != nil { // x.Obj: a local name, not a package
		return ""
	}
	for pkg, names := range impureCalls() {
		if imports[pkg] == x.Name && slices.Contains(names, n.Sel.Name) {
			return pkg + "." + n.Sel.Name
		}
	}
	return ""
}
