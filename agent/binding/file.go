package binding

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/yamlfile"
)

const (
	meetNewest   = "newest"
	meetHold     = "hold"
	preferPrefix = "prefer "
)

type file struct {
	Metadata struct {
		Name string `yaml:"name,required"`
	} `yaml:"metadata,required"`
	Pact     string        `yaml:"pact,required"`
	System   systemFile    `yaml:"system,required"`
	Match    yamlfile.Node `yaml:"match"`
	OnLeave  string        `yaml:"on_leave"`
	OnCreate yamlfile.Node `yaml:"on_create"`
	OnMeet   string        `yaml:"on_meet"`
	Fields   yamlfile.Node `yaml:"fields,required"`
	Tests    yamlfile.Node `yaml:"tests"`
}

type systemFile struct {
	Name      string            `yaml:"name,required"`
	Connector string            `yaml:"connector"`
	Object    string            `yaml:"object"`
	Scope     map[string]string `yaml:"scope"`
}

// loader compiles one file; it collects findings in the document.
type loader struct {
	doc      *yamlfile.Document
	compiler compiler
	pact     *pact.Pact
	b        *Binding
}

// Load compiles the binding in src, the content of the file called name, for
// that one of pacts which it names. The binding is nil if there are findings.
func Load(name string, src []byte, pacts ...*pact.Pact) (*Binding, []Finding) {
	var in file
	doc, findings := yamlfile.Load(name, src, Kind, &in)
	if len(findings) > 0 {
		return nil, findings
	}
	c, err := newCompiler()
	if err != nil {
		doc.Fail("binding.expression", "", "", "%s", err)
		return nil, doc.Findings()
	}
	sum := sha256.Sum256(src)
	l := &loader{doc: doc, compiler: c, b: &Binding{
		doc: doc, name: in.Metadata.Name, system: in.System,
		revision: max(binary.BigEndian.Uint32(sum[:]), 1), meet: in.OnMeet, fields: map[crdt.Field]*rule{},
	}}
	if l.choosePact(in.Pact, pacts) {
		l.header(&in)
		l.fields(in.Fields)
		l.tests(in.Tests)
		l.lint()
	}
	if findings = doc.Findings(); len(findings) > 0 {
		return nil, findings
	}
	return l.b, nil
}

// choosePact reads "name" or "name@version".
func (l *loader) choosePact(text string, pacts []*pact.Pact) bool {
	name, version, stated := strings.Cut(text, "@")
	var known []string
	for _, p := range pacts {
		known = append(known, string(p.Name))
		if string(p.Name) != name {
			continue
		}
		if stated && version != strconv.FormatUint(uint64(p.Version), 10) {
			l.doc.Fail("binding.pact", "/pact", "check the fields against the new version, then state @"+
				strconv.FormatUint(uint64(p.Version), 10), "the binding is for version %s of the pact, in force is %d", version, p.Version)
			return false
		}
		l.pact, l.b.pact = p, p
		return true
	}
	l.doc.Fail("binding.pact", "/pact", yamlfile.DidYouMean(name, known), "no pact %q is known here", name)
	return false
}

func (l *loader) header(in *file) {
	if in.Match.Shape() != yamlfile.Absent {
		l.b.match = l.compiler.compile(in.Match, "match", cel.BoolType)
	}
	if in.OnLeave != "" && in.OnLeave != "detach" {
		l.doc.Fail("binding.on_leave", "/on_leave", "state detach or remove the key", "only detach is available: nothing is deleted")
	}
	l.b.onCreate = l.values(in.OnCreate)
	site, prefers := strings.CutPrefix(in.OnMeet, preferPrefix)
	switch {
	case in.OnMeet == "", in.OnMeet == meetNewest, in.OnMeet == meetHold:
	case !prefers:
		l.doc.Fail("binding.on_meet", "/on_meet", "newest, prefer <site>, or hold", "on_meet is %q", in.OnMeet)
	case !l.pact.IsMember(crdt.Site(site)):
		var members []string
		for _, m := range l.pact.Members {
			members = append(members, string(m))
		}
		l.doc.Fail("binding.on_meet", "/on_meet", yamlfile.DidYouMean(site, members), "%q is no member of the pact", site)
	}
}

// values reads a mapping of local fields to values, empty if absent.
func (l *loader) values(n yamlfile.Node) map[string]value.Value {
	out := map[string]value.Value{}
	if n.Shape() != yamlfile.Absent && n.Shape() != yamlfile.Mapping {
		n.Fail("yaml.type", "", "is %s, want a mapping", n.Shape())
	}
	for _, e := range n.Entries() {
		out[e.Key] = l.value(e.Value)
	}
	return out
}

// value reads what stands at n, of any shape.
func (l *loader) value(n yamlfile.Node) value.Value {
	switch n.Shape() {
	case yamlfile.Null, yamlfile.Absent:
		return value.Null()
	case yamlfile.Mapping:
		return value.Map(l.values(n))
	case yamlfile.List:
		var list []value.Value
		for _, item := range n.Items() {
			list = append(list, l.value(item))
		}
		return value.List(list...)
	}
	scalar, ok := n.Scalar()
	switch s := scalar.(type) {
	case string:
		return value.Text(s)
	case int64:
		if ok {
			return value.Int(s)
		}
	case bool:
		return value.Bool(s)
	case float64:
		if v, fits := value.Float(s); fits && ok {
			return v
		}
	}
	n.Fail("yaml.range", "", "the number is out of range")
	return value.Null()
}

// fieldNames lists the pact's fields, for hints.
func (l *loader) fieldNames() []string {
	names := make([]string, len(l.pact.Fields))
	for i, f := range l.pact.Fields {
		names[i] = string(f.Name)
	}
	return slices.Clip(names)
}
