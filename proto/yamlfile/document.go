package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// APIVersion is what every file states.
const APIVersion = "entente/v1"

// Limits of a file.
const (
	BytesMax    = 1 << 20
	DepthMax    = 32
	findingsMax = 100
)

// Position is a place in a file; both count from 1.
type Position struct{ Line, Column int }

// Document is one parsed file. It is not safe for concurrent use.
type Document struct {
	File      string
	root      *yaml.Node
	lines     []string
	positions map[string]Position // of values, see At
	keys      map[string]Position
	findings  []Finding
}

// Parse reads the one document of src. The document is nil if there are
// findings. It never panics.
func Parse(file string, src []byte) (*Document, []Finding) {
	d := &Document{File: file, positions: map[string]Position{"": {1, 1}}, keys: map[string]Position{}}
	if len(src) > BytesMax {
		d.fail("yaml.size", "", "", "the file has %d bytes, limit %d", len(src), BytesMax)
		return nil, d.findings
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		d.fail("yaml.empty", "", "", "the file is empty")
		return nil, d.findings
	} else if err != nil {
		return nil, []Finding{d.syntax(err)}
	}
	if err := decoder.Decode(&second); err == nil {
		d.positions[""] = Position{max(second.Line, 1), max(second.Column, 1)}
		d.fail("yaml.documents", "", "one file, one document", "a second document begins here")
	} else if !errors.Is(err, io.EOF) {
		d.findings = append(d.findings, d.syntax(err))
	}
	if len(d.findings) == 0 && len(doc.Content) == 1 {
		d.lines = strings.Split(string(src), "\n")
		d.root = doc.Content[0]
		d.walk(d.root, nil, "", 0)
	}
	if len(d.findings) > 0 || d.root == nil {
		return nil, Sort(d.findings)
	}
	return d, nil
}

// Load parses src, checks apiVersion and kind, and decodes everything else of
// the root into out, a pointer to a struct (see Node.Decode). With findings, out
// holds what could be read. The document is nil where positions are not known.
func Load(file string, src []byte, kind string, out any) (*Document, []Finding) {
	d, findings := Parse(file, src)
	if d == nil {
		return nil, findings
	}
	root := d.Root()
	if root.yaml.Kind != yaml.MappingNode {
		root.Fail("yaml.type", "", "the file is no mapping of keys to values")
		return d, d.Findings()
	}
	d.header("apiVersion", APIVersion)
	d.header("kind", kind)
	root.decode(out, "apiVersion", "kind")
	return d, d.Findings()
}

func (d *Document) header(key, want string) {
	n, ok := d.Root().Get(key)
	switch {
	case !ok:
		d.fail("yaml.header", "", fmt.Sprintf("add %s: %s", key, want), "%s is missing", key)
	case n.yaml.Value != want || n.yaml.Kind != yaml.ScalarNode:
		n.Fail("yaml.header", fmt.Sprintf("want %s: %s", key, want), "%s is %q", key, clip(n.yaml.Value))
	}
}

// Kind returns the document's kind, "" if it states none.
func (d *Document) Kind() string {
	n, ok := d.Root().Get("kind")
	if !ok {
		return ""
	}
	return n.yaml.Value
}

// Root returns the outermost node.
func (d *Document) Root() Node { return Node{doc: d, yaml: d.root} }

// Get returns the node at path.
func (d *Document) Get(path string) (Node, bool) {
	n := d.Root()
	for _, part := range strings.Split(path, "/")[1:] {
		next, ok := n.Get(strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
		if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.Items()) {
			next, ok = n.Items()[i], true
		}
		if !ok {
			return Node{}, false
		}
		n = next
	}
	return n, true
}

// Findings returns what was found so far, in the order of the file.
func (d *Document) Findings() []Finding { return slices.Clone(Sort(slices.Clone(d.findings))) }

// At returns the position of the node at path: of a scalar its own, otherwise
// that of its key. A path that does not exist has the position of its nearest
// ancestor.
func (d *Document) At(path string) Position {
	for {
		if p, ok := d.positions[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
}

// Fail adds a finding at path (see At): how semantic checks report.
func (d *Document) Fail(code, path, suggestion, format string, args ...any) {
	d.fail(code, path, suggestion, format, args...)
}

func (d *Document) fail(code, path, suggestion, format string, args ...any) {
	if len(d.findings) >= findingsMax {
		return
	}
	d.findings = append(d.findings, d.Finding(code, path, suggestion, format, args...))
}

// Finding makes a finding at path (see At) without adding it: for checks that
// run later, perhaps concurrently.
func (d *Document) Finding(code, path, suggestion, format string, args ...any) Finding {
	at := d.At(path)
	return Finding{
		Code: code, File: d.File, Line: at.Line, Column: at.Column,
		Path: path, Message: fmt.Sprintf(format, args...), Suggestion: suggestion,
	}
}

// Join appends one key to a path, escaped as in a JSON pointer.
func Join(path, key string) string {
	return path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// walk records positions and refuses what no file of ours needs.
func (d *Document) walk(n, key *yaml.Node, path string, depth int) {
	at := n
	if key != nil && n.Kind != yaml.ScalarNode {
		at = key
	}
	d.positions[path] = Position{at.Line, at.Column}
	switch {
	case depth > DepthMax:
		d.fail("yaml.depth", path, "", "nested deeper than %d levels", DepthMax)
		return
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail("yaml.alias", path, "write the value out", "anchors and aliases are not read")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.fail("yaml.tag", path, "quote the value if it is text", "tags such as %s are not read", clip(n.Tag))
		return
	}
	if n.Kind == yaml.SequenceNode {
		for i, e := range n.Content {
			d.walk(e, nil, path+"/"+strconv.Itoa(i), depth+1)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		keyPath := Join(path, k.Value)
		if k.Kind != yaml.ScalarNode || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 {
			d.positions[path+"/?"] = Position{k.Line, k.Column}
			d.fail("yaml.key", path+"/?", "", "a key is a plain word or text")
			continue
		}
		if line, twice := seen[k.Value]; twice {
			first := d.positions[keyPath]
			d.positions[keyPath] = Position{k.Line, k.Column}
			d.fail("yaml.duplicate_key", keyPath, "keep one of them", "the key %q is also in line %d", clip(k.Value), line)
			d.positions[keyPath] = first
			continue
		}
		seen[k.Value] = k.Line
		d.keys[keyPath] = Position{k.Line, k.Column}
		d.walk(n.Content[i+1], k, keyPath, depth+1)
	}
}

// syntax turns a parser's error, which names a line at best, into a finding.
func (d *Document) syntax(err error) Finding {
	f := Finding{Code: "yaml.syntax", File: d.File, Line: 1, Column: 1, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	m := regexp.MustCompile(`^(?:unmarshal errors:\s*)?line (\d+): (.*)`).FindStringSubmatch(f.Message)
	if m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		f.Message = m[2]
	}
	f.Message = clip(strings.ToValidUTF8(f.Message, "\uFFFD"))
	return f
}
