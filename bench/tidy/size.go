package tidy

import (
	"fmt"
	"go/ast"
)

// Limits of one file and one function, in lines.
const (
	FileLinesMax     = 500
	FunctionLinesMax = 70
)

// Ratchet maps what is longer than its limit to how long it may be: a path, or
// path:function. Rows only ever shrink or go: one that is no longer needed is a
// finding too.
type Ratchet map[string]int

// Ratcheted is the list of today.
func Ratcheted() Ratchet { return Ratchet{} }

// CheckSize reports files and functions that are too long.
func CheckSize(t *Tree, r Ratchet) []Finding {
	var out []Finding
	unused := make(map[string]bool, len(r))
	for name := range r {
		unused[name] = true
	}
	check := func(where, name string, lines, limit int) {
		allowed := limit
		if n, ok := r[name]; ok && n > limit {
			allowed = n
			if lines > limit {
				delete(unused, name)
			}
		}
		if lines > allowed {
			out = append(out, Finding{Where: where, Rule: "size", What: fmt.Sprintf("%s has %d lines, limit %d", name, lines, allowed)})
		}
	}
	for _, f := range t.Files {
		if f.Generated {
			continue
		}
		check(f.Path, f.Path, f.Lines, FileLinesMax)
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				lines := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
				check(f.at(fn), f.Path+":"+fn.Name.Name, lines, FunctionLinesMax)
			}
		}
	}
	for name := range unused {
		out = append(out, Finding{Where: name, Rule: "ratchet", What: "no longer needed: remove the row"})
	}
	return out
}
