package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// unfinished is what marks work that somebody put off.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

// CheckUnfinished reports marks of work put off, in comments and in every other
// text.
func CheckUnfinished(t *Tree) ([]Finding, error) {
	var out []Finding
	for _, f := range t.Files {
		for _, group := range f.AST.Comments {
			for _, c := range group.List {
				if m := unfinished.FindString(c.Text); m != "" {
					out = append(out, Finding{Where: f.at(c), Rule: "unfinished", What: m})
				}
			}
		}
	}
	for _, p := range t.Paths {
		if !slices.Contains([]string{".md", ".proto", ".yaml", ".yml", ".sh", ""}, path.Ext(p)) || strings.Contains(p, "testdata/") {
			continue
		}
		text, err := fs.ReadFile(t.fsys, p)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := unfinished.FindString(line); m != "" {
				out = append(out, Finding{Where: fmt.Sprintf("%s:%d", p, i+1), Rule: "unfinished", What: m})
			}
		}
	}
	return out, nil
}

// CheckDeclarations reports init functions, exported names without a comment,
// and packages without one.
func CheckDeclarations(t *Tree) []Finding {
	var out []Finding
	documented := map[string]bool{}
	first := map[string]*File{}
	for _, f := range t.Files {
		if f.Test || f.Generated {
			continue
		}
		documented[f.Dir] = documented[f.Dir] || f.AST.Doc != nil
		if first[f.Dir] == nil {
			first[f.Dir] = f
		}
		for _, d := range f.AST.Decls {
			out = append(out, declaration(f, d)...)
		}
	}
	for dir, f := range first {
		if !documented[dir] {
			out = append(out, Finding{Where: f.Path, Rule: "comment", What: "package " + f.AST.Name.Name + " has no comment"})
		}
	}
	return out
}

func declaration(f *File, d ast.Decl) []Finding {
	var out []Finding
	bare := func(n ast.Node, name string) {
		out = append(out, Finding{Where: f.at(n), Rule: "comment", What: name + " is exported and has no comment"})
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.Name == "init" {
			out = append(out, Finding{Where: f.at(d), Rule: "init", What: "no init functions"})
		}
		if !commented(f, d) && d.Name.IsExported() && exportedReceiver(d) && !selfEvident(d) {
			bare(d, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					bare(s, s.Name.Name)
				}
			case *ast.ValueSpec:
				if i := slices.IndexFunc(s.Names, (*ast.Ident).IsExported); i >= 0 && d.Doc == nil && s.Doc == nil && s.Comment == nil && d.Tok != token.IMPORT {
					bare(s, s.Names[i].Name)
				}
			}
		}
	}
	return out
}

// commented functions have a comment above, or behind if they take one line.
func commented(f *File, d *ast.FuncDecl) bool {
	return d.Doc != nil || slices.ContainsFunc(f.AST.Comments, func(c *ast.CommentGroup) bool {
		return c.Pos() > d.End() && f.at(c) == f.at(d)
	})
}

// selfEvident methods say with their names what they are.
func selfEvident(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"String", "GoString", "Error", "Unwrap", "Is"}, d.Name.Name)
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}
