package tidy

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
)

// CheckReasons reports constants of hub and proto whose names begin with Reason
// and whose text is not in the table of reasons: agents could not tell what to do.
func CheckReasons(t *Tree, known func(code string) bool) []Finding {
	var out []Finding
	for _, f := range t.Files {
		if f.Test || !within(f.Dir, "hub") && !within(f.Dir, "proto") {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != len(spec.Names) {
				return true
			}
			for i, name := range spec.Names {
				lit, ok := spec.Values[i].(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING || !strings.HasPrefix(name.Name, "Reason") {
					continue
				}
				if code, err := strconv.Unquote(lit.Value); err == nil && !known(code) {
					out = append(out, Finding{Where: f.at(spec), Rule: "reason", What: code + " is not in the table of package wire"})
				}
			}
			return true
		})
	}
	return out
}
