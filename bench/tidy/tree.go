package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/entente-sync/entente"

// Finding is one broken rule.
type Finding struct {
	Where string // path, or path:line
	Rule  string
	What  string
}

func (f Finding) String() string { return f.Where + ": " + f.Rule + ": " + f.What }

// File is one Go file.
type File struct {
	Path      string // slash-separated, from the root
	Dir       string // "." for the root
	Test      bool   // ends in _test.go
	Generated bool
	Lines     int
	AST       *ast.File
	fset      *token.FileSet
}

// at says where n stands.
func (f *File) at(n ast.Node) string {
	return f.Path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// imports returns the imported paths with the names that the file gives them.
func (f *File) imports() map[string]string {
	out := make(map[string]string, len(f.AST.Imports))
	for _, spec := range f.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser accepted it, so it is quoted
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		out[p] = name
	}
	return out
}

// Tree is a source tree.
type Tree struct {
	Files []*File // Go files, without those below testdata
	Paths []string
	fsys  fs.FS
}

// Load reads the tree below fsys, without hidden and vendored directories.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{fsys: fsys}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			hidden := strings.HasPrefix(d.Name(), ".") && p != "." && p != ".ci"
			if hidden || d.Name() == "node_modules" || d.Name() == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		t.Paths = append(t.Paths, p)
		if path.Ext(p) == ".go" && !strings.Contains(p, "testdata/") {
			return t.parse(p)
		}
		return nil
	})
	return t, err
}

func (t *Tree) parse(p string) error {
	src, err := fs.ReadFile(t.fsys, p)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, p, src, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("tidy: %w", err)
	}
	t.Files = append(t.Files, &File{
		Path: p, Dir: path.Dir(p), Test: strings.HasSuffix(p, "_test.go"), Generated: ast.IsGenerated(parsed),
		Lines: strings.Count(string(src), "\n"), AST: parsed, fset: fset,
	})
	return nil
}

// within reports whether dir is root or below it.
func within(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

func withinAny(dir string, roots []string) bool {
	for _, r := range roots {
		if within(dir, r) {
			return true
		}
	}
	return false
}
