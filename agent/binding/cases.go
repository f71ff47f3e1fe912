package binding

import (
	"fmt"
	"maps"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// testCase is one entry of tests: what the system shows, what arrives, and what
// is to come of it.
type testCase struct {
	name    string
	path    string
	local   map[string]value.Value
	receive map[crdt.Field]value.Value
	sent    map[crdt.Field]value.Value // nil: not asked
	writes  map[string]value.Value     // nil: not asked
	enters  *bool
}

type caseFile struct {
	Name    string        `yaml:"name,required"`
	Local   yamlfile.Node `yaml:"local"`
	Receive yamlfile.Node `yaml:"receive"`
	Expect  struct {
		Sent   yamlfile.Node `yaml:"sent"`
		Writes yamlfile.Node `yaml:"writes"`
		Enters *bool         `yaml:"enters"`
	} `yaml:"expect,required"`
}

func (l *loader) tests(n yamlfile.Node) {
	if n.Shape() != yamlfile.Absent && n.Shape() != yamlfile.List {
		n.Fail("yaml.type", "", "is %s, want a list", n.Shape())
	}
	for _, item := range n.Items() {
		var in caseFile
		if !item.Decode(&in) {
			continue
		}
		c := testCase{
			name: in.Name, path: item.Path, local: l.values(in.Local), enters: in.Expect.Enters,
			receive: l.pactValues(in.Receive), sent: l.pactValues(in.Expect.Sent),
		}
		if in.Expect.Writes.Shape() != yamlfile.Absent {
			c.writes = l.values(in.Expect.Writes)
		}
		if c.sent == nil && c.writes == nil && c.enters == nil {
			item.Fail("binding.test", "sent, writes or enters", "the case expects nothing")
		}
		l.b.tests = append(l.b.tests, c)
	}
}

// pactValues reads a mapping of the pact's fields to values; nil if absent.
func (l *loader) pactValues(n yamlfile.Node) map[crdt.Field]value.Value {
	if n.Shape() == yamlfile.Absent {
		return nil
	}
	out := map[crdt.Field]value.Value{}
	for name, v := range l.values(n) {
		f, ok := l.pact.Field(crdt.Field(name))
		if !ok || l.b.fields[f.Name] == nil {
			l.doc.Fail("binding.unknown_field", yamlfile.Join(n.Path, name), yamlfile.DidYouMean(name, l.fieldNames()),
				"the binding maps no field %q", name)
			continue
		}
		fit, p := coerce(f.Type, v)
		if err := pact.CheckValue(f, fit); p != nil || err != nil {
			l.doc.Fail("binding.test", yamlfile.Join(n.Path, name), "", "the value does not fit the pact's field %s", name)
		}
		out[f.Name] = fit
	}
	return out
}

// RunTests runs the cases of the binding's file and reports those that fail.
func (b *Binding) RunTests() []Finding {
	var out []Finding
	for _, c := range b.tests {
		fail := func(part, format string, args ...any) {
			out = append(out, b.finding("binding.test", c.path+part, "", "%s: %s", c.name, fmt.Sprintf(format, args...)))
		}
		enters, p := b.Enters(c.local)
		switch {
		case p != nil && (c.enters != nil || len(c.sent) > 0):
			fail("/expect", "match: %s", p.Message)
		case c.enters != nil && *c.enters != enters:
			fail("/expect/enters", "got %t, want %t", enters, *c.enters)
		case len(c.sent) > 0 && !enters:
			fail("/expect/sent", "nothing is sent: match keeps the record out")
		}
		for _, f := range slices.Sorted(maps.Keys(c.sent)) {
			got, p := b.Get(f, c.local)
			if path := yamlfile.Join("/expect/sent", string(f)); !b.Sends(f) {
				fail(path, "the field is not sent")
			} else if p != nil {
				fail(path, "%s", p.Message)
			} else if !got.Equal(c.sent[f]) {
				fail(path, "got %s, want %s", got, c.sent[f])
			}
		}
		if c.writes == nil {
			continue
		}
		writes := map[string]value.Value{}
		for _, f := range slices.Sorted(maps.Keys(c.receive)) {
			w, p := b.Put(f, c.receive[f], c.local)
			if p != nil {
				fail("/receive", "%s: %s", f, p.Message)
			} else if b.Receives(f) {
				maps.Copy(writes, w)
			}
		}
		if !maps.EqualFunc(writes, c.writes, asWritten) {
			fail("/expect/writes", "got %s, want %s", value.Map(writes), value.Map(c.writes))
		}
	}
	return yamlfile.Sort(out)
}

// asWritten compares a write with what the file says; YAML has no dates or
// times, so there they are text.
func asWritten(got, want value.Value) bool {
	if k := got.Kind(); k == value.KindDate || k == value.KindTime {
		return got.String() == want.AsText()
	}
	return same(got, want)
}
