package yamlfile

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Node is one part of a document. As the type of a struct field it takes
// whatever stands there, for values of several shapes. The zero Node is absent.
type Node struct {
	Path string
	doc  *Document
	yaml *yaml.Node
}

// Shape is what a node is.
type Shape uint8

// Shapes.
const (
	Absent  Shape = iota
	Null          // empty, ~ or null
	Scalar        // text, number, boolean
	List          // [a, b]
	Mapping       // {key: value}
)

func (s Shape) String() string {
	return [...]string{"nothing", "nothing", "a single value", "a list", "a mapping"}[s]
}

// Shape returns what the node is.
func (n Node) Shape() Shape {
	switch {
	case n.yaml == nil:
		return Absent
	case n.yaml.Kind == yaml.SequenceNode:
		return List
	case n.yaml.Kind == yaml.MappingNode:
		return Mapping
	case n.yaml.ShortTag() == "!!null":
		return Null
	}
	return Scalar
}

// Text returns a scalar that is text, quoted or not.
func (n Node) Text() (string, bool) {
	if n.Shape() != Scalar || n.yaml.ShortTag() != "!!str" && n.yaml.ShortTag() != "!!timestamp" {
		return "", false
	}
	return n.yaml.Value, true
}

// Scalar returns a scalar as string, int64, float64 or bool: text unless it is
// written as a number or boolean. ok is false for other shapes.
func (n Node) Scalar() (v any, ok bool) {
	if n.Shape() != Scalar {
		return nil, false
	}
	switch n.yaml.ShortTag() {
	case "!!int":
		i, err := strconv.ParseInt(n.yaml.Value, 0, 64)
		return i, err == nil
	case "!!float":
		f, err := strconv.ParseFloat(n.yaml.Value, 64)
		return f, err == nil
	case "!!bool":
		var b bool
		err := n.yaml.Decode(&b)
		return b, err == nil
	}
	return n.yaml.Value, true
}

// Items returns the elements of a list, nil for another shape.
func (n Node) Items() []Node {
	if n.Shape() != List {
		return nil
	}
	items := make([]Node, len(n.yaml.Content))
	for i, e := range n.yaml.Content {
		items[i] = Node{Path: n.Path + "/" + strconv.Itoa(i), doc: n.doc, yaml: e}
	}
	return items
}

// Entry is one key of a mapping.
type Entry struct {
	Key   string // as written, whatever it looks like
	Value Node
}

// Entries returns the keys of a mapping in the order of the file, nil for
// another shape.
func (n Node) Entries() []Entry {
	if n.Shape() != Mapping {
		return nil
	}
	entries := make([]Entry, 0, len(n.yaml.Content)/2)
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		key := n.yaml.Content[i].Value
		entries = append(entries, Entry{key, Node{Path: Join(n.Path, key), doc: n.doc, yaml: n.yaml.Content[i+1]}})
	}
	return entries
}

// Get returns the value under key of a mapping.
func (n Node) Get(key string) (Node, bool) {
	for _, e := range n.Entries() {
		if e.Key == key {
			return e.Value, true
		}
	}
	return Node{}, false
}

// Position returns where the node stands.
func (n Node) Position() Position { return n.doc.At(n.Path) }

// Inner returns the position of a place inside a text scalar, for errors in
// expressions: line counts from 1, column from 0. Where escapes or folding hide
// the place it is the scalar's own.
func (n Node) Inner(line, column int) Position {
	at := Position{n.yaml.Line, n.yaml.Column}
	block := n.yaml.Style&yaml.LiteralStyle != 0
	switch {
	case line < 1 || column < 0:
		return at
	case block && at.Line+line <= len(n.doc.lines):
		text := n.doc.lines[at.Line+line-1]
		indent := len(text) - len(strings.TrimLeft(text, " "))
		return Position{at.Line + line, indent + column + 1}
	case block || line > 1 || n.yaml.Style&yaml.FoldedStyle != 0:
		return at
	case n.yaml.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		column++
	}
	return Position{at.Line, at.Column + column}
}

// Fail adds a finding at the node to its document.
func (n Node) Fail(code, suggestion, format string, args ...any) {
	n.doc.fail(code, n.Path, suggestion, format, args...)
}

// FailAt adds a finding about the node at a position of its own.
func (n Node) FailAt(at Position, code, suggestion, format string, args ...any) {
	before := len(n.doc.findings)
	n.doc.fail(code, n.Path, suggestion, format, args...)
	for i := before; i < len(n.doc.findings); i++ {
		n.doc.findings[i].Line, n.doc.findings[i].Column = at.Line, at.Column
	}
}
