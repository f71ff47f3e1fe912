package tidy_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/entente-sync/entente/bench/tidy"
	"github.com/entente-sync/entente/proto/wire"
)

// rules are all of them, each from a tree to findings.
func rules() map[string]func(*tidy.Tree) ([]tidy.Finding, error) {
	sure := func(check func(*tidy.Tree) []tidy.Finding) func(*tidy.Tree) ([]tidy.Finding, error) {
		return func(t *tidy.Tree) ([]tidy.Finding, error) { return check(t), nil }
	}
	return map[string]func(*tidy.Tree) ([]tidy.Finding, error){
		"imports":      sure(tidy.CheckImports),
		"pure":         sure(tidy.CheckPure),
		"size":         sure(func(t *tidy.Tree) []tidy.Finding { return tidy.CheckSize(t, tidy.Ratcheted()) }),
		"declarations": sure(tidy.CheckDeclarations),
		"unfinished":   tidy.CheckUnfinished,
		"design":       sure(tidy.CheckDesign),
		"pins":         tidy.CheckPins,
		"reasons": sure(func(t *tidy.Tree) []tidy.Finding {
			return tidy.CheckReasons(t, func(code string) bool { return wire.Reason(code).Known() })
		}),
		"testdata": sure(tidy.CheckTestData),
	}
}

func TestHouseRules(t *testing.T) {
	tree, err := tidy.Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Files) < 50 {
		t.Fatalf("%d Go files: this is not the whole tree", len(tree.Files))
	}
	for name, check := range rules() {
		t.Run(name, func(t *testing.T) {
			findings, err := check(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range findings {
				t.Error(f)
			}
		})
	}
}

// The packages that the rules name exist, or the rules
// guard nothing.
func TestRulesNameRealPackages(t *testing.T) {
	tree, err := tidy.Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	has := func(dir string) bool {
		return slices.ContainsFunc(tree.Files, func(f *tidy.File) bool {
			return f.Dir == dir || strings.HasPrefix(f.Dir, dir+"/")
		})
	}
	names := tidy.PurePackages()
	for _, layers := range tidy.Layers() {
		names = append(names, layers...)
	}
	for _, h := range tidy.Homes() {
		names = append(names, h.Dirs...)
	}
	for _, dir := range names {
		if !has(dir) {
			t.Errorf("a rule names %s, which has no Go file", dir)
		}
	}
}

// Each rule finds its bad example, and only that.
func TestRulesFindBadExamples(t *testing.T) {
	for name, c := range examples() {
		t.Run(name, func(t *testing.T) {
			tree, err := tidy.Load(fstest.MapFS{c.file: {Data: []byte(c.src)}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := rules()[c.rule](tree)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, func(a, b tidy.Finding) int { return strings.Compare(a.What, b.What) })
			if len(got) != len(c.want) {
				t.Fatalf("found %v, want %d findings", got, len(c.want))
			}
			for i, f := range got {
				if !strings.Contains(f.String(), c.want[i]) {
					t.Errorf("found %q, want %q", f, c.want[i])
				}
			}
		})
	}
}

func TestDesignIsMissed(t *testing.T) {
	tree, err := tidy.Load(fstest.MapFS{"hub/DESIGN.md": {}, "crdt/DESIGN.md": {}, "agent/x.go": {Data: []byte("package p\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := tidy.CheckDesign(tree); len(got) != 2 {
		t.Errorf("found %v, want agent and connectors", got)
	}
}

func TestTestDataInUse(t *testing.T) {
	const test = "package p\nfunc TestThat() { read(\"testdata/one.bin\"); read(\"vectors_\" + name + \".txt\"); glob(\"*.yaml\") }\n"
	tree, err := tidy.Load(fstest.MapFS{
		"hub/x_test.go":            {Data: []byte(test)},
		"hub/testdata/one.bin":     {},
		"hub/testdata/two.bin":     {},
		"hub/testdata/a.yaml":      {},
		"hub/testdata/vectors_a.x": {},
		"hub/testdata/TestThat.x":  {},
		"agent/testdata/one.bin":   {},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := tidy.CheckTestData(tree)
	if len(got) != 2 || got[0].Where != "agent/testdata/one.bin" || got[1].Where != "hub/testdata/two.bin" {
		t.Errorf("found %v, want agent's one.bin and hub's two.bin", got)
	}
}

// The ratchet lets what is known pass, no further, and asks to be shortened.
func TestRatchet(t *testing.T) {
	src := "package p\n" + strings.Repeat("//\n", tidy.FileLinesMax+9)
	tree, err := tidy.Load(fstest.MapFS{"hub/x.go": {Data: []byte(src)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ratchet tidy.Ratchet
		want    int
	}{
		{tidy.Ratchet{"hub/x.go": tidy.FileLinesMax + 10}, 0},
		{tidy.Ratchet{"hub/x.go": tidy.FileLinesMax + 9}, 1},
		{tidy.Ratchet{"hub/x.go": tidy.FileLinesMax + 10, "hub/gone.go": 900}, 1},
	} {
		if got := tidy.CheckSize(tree, c.ratchet); len(got) != c.want {
			t.Errorf("ratchet %v: found %v, want %d", c.ratchet, got, c.want)
		}
	}
}

func TestBrokenSourceIsAnError(t *testing.T) {
	if _, err := tidy.Load(fstest.MapFS{"hub/x.go": {Data: []byte("not go")}}); err == nil {
		t.Error("a file that does not parse was passed over")
	}
}

func module(dir string) string { return tidy.Module + "/" + dir }

func importing(name, p string) string { return "package p\nimport " + name + "\"" + p + "\"\n" }

func calling(pkg, call string) string {
	return importing("", pkg) + "var x = func() { " + call + " }\n"
}

func goodModule() string {
	var b strings.Builder
	b.WriteString("module m\nrequire (\n")
	for m, v := range tidy.Pins() {
		b.WriteString("\t" + m + " " + v + " // indirect\n")
	}
	return b.String() + ")\n"
}
