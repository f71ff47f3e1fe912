package binding

import (
	"slices"
	"strconv"

	"cel.dev/cel-go/cel"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/yamlfile"
)

type fieldFile struct {
	Field     string        `yaml:"field"`
	Fields    []string      `yaml:"fields"`
	Direction Direction     `yaml:"direction"`
	Map       yamlfile.Node `yaml:"map"`
	Unmapped  string        `yaml:"unmapped"`
	With      yamlfile.Node `yaml:"with"`
	MatchBy   string        `yaml:"match_by"`
	Format    string        `yaml:"format"`
	Read      yamlfile.Node `yaml:"read"`
	Write     yamlfile.Node `yaml:"write"`
	// Of comments.
	Send   yamlfile.Node `yaml:"send"`
	Byline yamlfile.Node `yaml:"byline"`
	// Of the language, but not available yet.
	Via       yamlfile.Node `yaml:"via"`
	People    yamlfile.Node `yaml:"people"`
	Except    yamlfile.Node `yaml:"except"`
	Default   yamlfile.Node `yaml:"default"`
	Transform yamlfile.Node `yaml:"transform"`
}

func (l *loader) fields(n yamlfile.Node) {
	if n.Shape() != yamlfile.Mapping {
		n.Fail("yaml.type", "", "is %s, want a mapping", n.Shape())
		return
	}
	if len(n.Entries()) == 0 {
		n.Fail("binding.empty", "", "the binding maps no field")
	}
	for _, e := range n.Entries() {
		f, ok := l.pact.Field(crdt.Field(e.Key))
		if !ok {
			e.Value.FailKey("binding.unknown_field", yamlfile.DidYouMean(e.Key, l.fieldNames()),
				"pact %s has no field %q", l.pact.Name, e.Key)
			continue
		}
		var in fieldFile
		if text, short := e.Value.Text(); short {
			in.Field = text
		} else if !e.Value.Decode(&in) {
			continue
		}
		if l.common(e.Value, f, &in) {
			l.field(e.Value, f, &in)
		}
	}
}

// common checks what all kinds of fields share.
func (l *loader) common(n yamlfile.Node, f *pact.Field, in *fieldFile) bool {
	for _, later := range []struct {
		key  string
		node yamlfile.Node
	}{{"via", in.Via}, {"people", in.People}, {"except", in.Except}, {"default", in.Default}, {"transform", in.Transform}} {
		if later.node.Shape() != yamlfile.Absent {
			later.node.Fail("binding.unsupported", "remove the key", "%s is not available yet", later.key)
		}
	}
	if in.Format != "" && in.Format != "plain" {
		l.doc.Fail("binding.format", n.Path+"/format", "supported: plain", "format %q is not available", in.Format)
	}
	if f.Type == pact.TypeTextSet {
		n.Fail("binding.unsupported", "leave the field out; its registers stay untouched", "fields of type %s are not available yet", f.Type)
		return false
	}
	if (in.Field == "") == (len(in.Fields) == 0) {
		n.Fail("binding.local_field", "", "names no local field: give either field or fields")
		return false
	}
	l.direction(n, f, in)
	switch in.Unmapped {
	case "", "hold", "keep":
	default:
		l.doc.Fail("binding.unmapped", n.Path+"/unmapped", "hold or keep", "unmapped is %q", in.Unmapped)
	}
	return true
}

// direction applies law 5: a one-way field names its writer in the pact.
func (l *loader) direction(n yamlfile.Node, f *pact.Field, in *fieldFile) {
	path := n.Path + "/direction"
	switch in.Direction {
	case Both, Send, Receive:
	case "":
		if len(f.Writers) > 0 && len(f.Writers) < len(l.pact.Members) {
			n.Fail("binding.one_writer", "state direction: send where the writer is you, otherwise direction: receive",
				"the pact lets only %v write this field", f.Writers)
		}
		in.Direction = Both
		return
	default:
		l.doc.Fail("binding.direction", path, yamlfile.DidYouMean(string(in.Direction), []string{"send", "receive", "both"}),
			"direction is %q", in.Direction)
		return
	}
	if in.Direction != Both && len(f.Writers) == 0 {
		l.doc.Fail("binding.one_writer", path, "name a writer in the pact, or let it travel both ways",
			"the field is one-way here, but the pact lets every member write it")
	}
}

func (l *loader) field(n yamlfile.Node, f *pact.Field, in *fieldFile) {
	if f.Type == pact.TypeComments {
		l.comments(n, f, in)
		return
	}
	for _, only := range []yamlfile.Node{in.Send, in.Byline} {
		if only.Shape() != yamlfile.Absent {
			only.Fail("binding.comments", "remove the key", "only a field of comments has it")
		}
	}
	check, err := pact.NewChecker(f)
	if err != nil {
		n.Fail("binding.pact", "", "%s", err)
		return
	}
	r := &rule{
		field: f, check: check, path: n.Path, direction: in.Direction, locals: in.Fields,
		keep: in.Unmapped == "keep" || in.Unmapped == "" && f.Type == pact.TypePerson,
	}
	if in.Field != "" {
		r.locals = []string{in.Field}
	}
	for i, name := range r.locals {
		if name == "" || slices.Contains(r.locals[:i], name) {
			n.Fail("binding.local_field", "", "names local field %q twice or not at all", name)
			return
		}
	}
	if (f.Type == pact.TypePerson) != (in.MatchBy == "email") {
		n.Fail("binding.match_by", "state match_by: email for a person, and for nothing else", "a person is matched by email")
		return
	}
	mapped, computed := in.Map.Shape() != yamlfile.Absent, in.Read.Shape() != yamlfile.Absent || in.Write.Shape() != yamlfile.Absent
	switch {
	case mapped && computed:
		in.Map.Fail("binding.map", "keep one of them", "map and read/write are both given")
		return
	case mapped:
		l.table(r, in)
	case computed:
		l.expressions(n, r, in)
	case len(r.locals) > 1:
		n.Fail("binding.local_field", "give a map, or read and write", "several local fields need a rule")
	case f.Type == pact.TypeEnum:
		r.table = identity(f, n.Path)
	}
	if in.With.Shape() != yamlfile.Absent {
		r.with = l.with(f, in.With)
	}
	l.b.addField(f.Name, r)
}

// identity is the table of an enum whose local labels are the pact's own.
func identity(f *pact.Field, path string) *table {
	var rows []row
	for _, v := range f.Values {
		rows = append(rows, row{value: value.Text(v), tuples: [][]value.Value{{value.Text(v)}}, path: path})
	}
	return newTable(rows)
}

func (l *loader) expressions(n yamlfile.Node, r *rule, in *fieldFile) {
	if in.Read.Shape() == yamlfile.Absent {
		n.Fail("binding.expression", "add read: the agent compares what is shown before it writes", "write has no read")
		return
	}
	r.read = l.compiler.compile(in.Read, "read", nil)
	switch {
	case in.Write.Shape() != yamlfile.Absent:
		r.write = l.compiler.compile(in.Write, "write", nil)
	case r.direction != Send:
		n.Fail("binding.expression", "add write, or state direction: send", "read has no write")
	}
}

// table reads rows: value: cell, value: [cells], value: {write: cell}; with
// several local fields a cell is a list with one element for each.
func (l *loader) table(r *rule, in *fieldFile) {
	if in.Map.Shape() != yamlfile.Mapping {
		in.Map.Fail("yaml.type", "", "is %s, want a mapping of pact values to local ones", in.Map.Shape())
		return
	}
	var rows []row
	for _, e := range in.Map.Entries() {
		v, ok := l.key(r.field, e)
		if !ok {
			continue
		}
		line := row{value: v, path: e.Value.Path}
		cells := []yamlfile.Node{e.Value}
		if write, special := e.Value.Get("write"); special {
			line.writeOnly = true
			cells[0] = write
			for _, other := range e.Value.Entries() {
				if other.Key != "write" {
					other.Value.UnknownKey(other.Key, []string{"write"})
				}
			}
		} else if e.Value.Shape() == yamlfile.List {
			cells = e.Value.Items()
		}
		for _, cell := range cells {
			if tuple, ok := l.cell(cell, len(r.locals)); ok {
				line.tuples = append(line.tuples, tuple)
			}
		}
		if len(line.tuples) == 0 {
			if len(cells) == 0 {
				e.Value.Fail("binding.map", "", "the row is empty")
			}
			continue
		}
		rows = append(rows, line)
	}
	r.table = newTable(rows)
}

// key reads a row's pact value by the field's type.
func (l *loader) key(f *pact.Field, e yamlfile.Entry) (value.Value, bool) {
	v := value.Text(e.Key)
	switch f.Type {
	case pact.TypeNumber:
		if n, err := strconv.ParseInt(e.Key, 10, 64); err == nil {
			v = value.Int(n)
		}
	case pact.TypeBool:
		if e.Key == "true" || e.Key == "false" {
			v = value.Bool(e.Key == "true")
		}
	}
	if f.Type == pact.TypeEnum && !slices.Contains(f.Values, e.Key) {
		e.Value.FailKey("binding.enum_value", yamlfile.DidYouMean(e.Key, f.Values), "the pact's %s has no value %q", f.Name, e.Key)
		return v, false
	}
	if err := pact.CheckValue(f, v); err != nil {
		e.Value.FailKey("binding.enum_value", "", "the pact does not allow this value: %s", err)
		return v, false
	}
	return v, true
}

func (l *loader) cell(n yamlfile.Node, width int) ([]value.Value, bool) {
	if width == 1 {
		if s := n.Shape(); s != yamlfile.Scalar && s != yamlfile.Null {
			n.Fail("binding.map", "", "is %s, want one local value", s)
			return nil, false
		}
		return []value.Value{l.value(n)}, true
	}
	if items := n.Items(); len(items) != width {
		n.Fail("binding.map", "write it as [[a, b], [c, d]]: one inner list for each way to say it",
			"want a list of %d local values, one for each of fields", width)
		return nil, false
	}
	tuple := make([]value.Value, width)
	for i, item := range n.Items() {
		tuple[i] = l.value(item)
	}
	return tuple, true
}

// with reads the extra local fields that go along with a row's write.
func (l *loader) with(f *pact.Field, n yamlfile.Node) map[string]map[string]value.Value {
	if f.Type != pact.TypeEnum {
		n.Fail("binding.with", "", "only rows of an enum have extras")
		return nil
	}
	out := map[string]map[string]value.Value{}
	for _, e := range n.Entries() {
		if !slices.Contains(f.Values, e.Key) {
			e.Value.FailKey("binding.enum_value", yamlfile.DidYouMean(e.Key, f.Values), "the pact's %s has no value %q", f.Name, e.Key)
			continue
		}
		out[e.Key] = l.values(e.Value)
	}
	return out
}

func (l *loader) comments(n yamlfile.Node, f *pact.Field, in *fieldFile) {
	for _, other := range []yamlfile.Node{in.Map, in.With, in.Read, in.Write} {
		if other.Shape() != yamlfile.Absent {
			other.Fail("binding.comments", "remove the key", "a field of comments has no such rule")
		}
	}
	if in.Field == "" {
		n.Fail("binding.local_field", "state field: comments", "comments are one local field")
		return
	}
	if l.b.comments != nil {
		n.Fail("binding.comments", "keep one of them", "comments are bound twice: also to %s", l.b.comments.field)
		return
	}
	rule := &CommentRule{field: f.Name, local: in.Field, direction: in.Direction}
	if in.Send.Shape() != yamlfile.Absent {
		rule.send = l.compiler.compile(in.Send, "send", cel.BoolType)
		rule.internal = rule.send != nil && rule.send.selects("internal")
	}
	if in.Byline.Shape() != yamlfile.Absent {
		rule.byline = l.compiler.compile(in.Byline, "byline", cel.StringType)
		if rule.byline != nil {
			sample := value.Map(map[string]value.Value{
				"site":   value.Text("acme"),
				"author": value.Map(map[string]value.Value{"name": value.Text("Ann")}),
			})
			if v, p := rule.byline.eval(sample); p != nil || v.Kind() != value.KindText {
				in.Byline.Fail("binding.expression", "use it.author.name and it.site", "byline gives no text")
			}
		}
	}
	l.b.comments = rule
}
