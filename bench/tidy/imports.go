package tidy

import (
	"slices"
	"strings"
)

// Area is a top-level part of the tree and what it may import besides itself.
type Area struct {
	Dir   string
	Below []string
}

// Areas is the direction of imports: downward only. An import of the module
// that no row allows is a finding, and so is a directory that no row names.
func Areas() []Area {
	return []Area{
		{"crdt", nil},
		{"proto", []string{"crdt"}},
		{"connectors", []string{"crdt/value"}},
		{"agent", []string{"crdt", "proto", "connectors"}},
		{"hub", []string{"crdt", "proto"}},
		{"cmd", []string{"crdt", "proto", "connectors", "agent", "hub", "deploy"}},
		{"bench", []string{"crdt", "proto", "connectors", "agent", "hub", "cmd", "deploy"}},
		{"deploy", []string{"crdt", "proto", "connectors", "agent", "hub"}},
	}
}

// Layers orders packages within an area: each may import only those that stand
// before it, and packages below itself. Packages that are not listed are free.
func Layers() [][]string {
	return [][]string{
		{
			"hub/codec", "hub/command", "hub/state", "hub/store", "hub/replica", "hub/backup",
			"hub/admission", "hub/fanout", "hub/rpc", "hub/admin", "hub/enrol", "hub", "hub/hubtest",
		},
		{
			"agent/store", "agent/binding", "agent/shadow", "agent/outbox", "agent/inbox", "agent/core", "agent/bound",
			"agent/retry", "agent/engine", "agent/capture", "agent/apply", "agent/uplink", "agent/admin", "agent",
		},
		{"crdt/value", "crdt", "crdt/hlc", "crdt/seal", "crdt/crdttest"},
		{"connectors", "connectors/httpcore", "connectors/memory", "connectors/conformance", "connectors/all"},
	}
}

// Home says which directories alone may import a package or what is below it.
type Home struct {
	Import string
	Dirs   []string
}

// Homes keeps each dependency in one place. Tests, and packages for tests, whose
// names end in "test", are bound only by the first two rows.
func Homes() []Home {
	return []Home{
		{Module + "/proto/entente", []string{"proto/entente", "proto/wire"}},
		{Module + "/bench", []string{"bench"}},
		{"github.com/hashicorp/raft", []string{"hub/replica"}},
		{"github.com/hashicorp/raft-wal", []string{"hub/replica"}},
		{"github.com/dgraph-io/badger/v4", []string{"hub/store", "agent/store"}},
		{"filippo.io/age", []string{"hub/backup"}},
		{"github.com/aws/aws-sdk-go-v2", []string{"hub/backup"}},
		{"cel.dev/cel-go", []string{"agent/binding"}},
		{"go.yaml.in/yaml/v3", []string{"proto/yamlfile"}},
		{"github.com/spf13/cobra", []string{"cmd"}},
		{"google.golang.org/protobuf", []string{"proto/wire", "proto/entente"}},
		{"google.golang.org/grpc", []string{"proto/wire", "proto/entente", "hub", "agent", "cmd", "bench"}},
		{"pgregory.net/rapid", []string{"connectors/conformance", "bench"}},
		{"testing", []string{"connectors/conformance", "bench"}},
	}
}

const homesForTests = 2

// CheckImports reports imports that run upward, sideways or out of their home.
func CheckImports(t *Tree) []Finding {
	var out []Finding
	for _, f := range t.Files {
		for imported, name := range f.imports() {
			find := func(rule, what string) {
				out = append(out, Finding{Where: f.Path, Rule: rule, What: what})
			}
			if name == "." {
				find("import", "dot import of "+imported)
			}
			homes := Homes()
			if f.Test || strings.HasSuffix(f.Dir, "test") {
				homes = homes[:homesForTests]
			}
			for _, h := range homes {
				if within(imported, h.Import) && !withinAny(f.Dir, h.Dirs) {
					find("home", imported+" belongs to "+strings.Join(h.Dirs, ", "))
				}
			}
			dir, ours := strings.CutPrefix(imported, Module+"/")
			switch {
			case ours && !areaAllows(f.Dir, dir):
				find("direction", f.Dir+" may not import "+dir)
			case ours && !f.Test && !layersAllow(f.Dir, dir):
				find("layer", f.Dir+" may not import "+dir)
			case !ours && within(f.Dir, "crdt") && !f.Test && strings.Contains(firstElement(imported), ".") && f.Dir != "crdt/crdttest":
				find("crdt", "imports the standard library only, not "+imported)
			}
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func areaAllows(from, to string) bool {
	for _, a := range Areas() {
		if within(from, a.Dir) {
			return within(to, a.Dir) || withinAny(to, a.Below)
		}
	}
	return false
}

func layersAllow(from, to string) bool {
	for _, layers := range Layers() {
		i, j := slices.Index(layers, from), slices.Index(layers, to)
		if i >= 0 && j > i && !strings.HasPrefix(to, from+"/") {
			return false
		}
	}
	return true
}

func firstElement(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}
