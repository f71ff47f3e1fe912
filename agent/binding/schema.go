package binding

import (
	"maps"
	"slices"
	"strconv"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// CheckSchema compares the binding with what a system's Discover found: unknown
// and read-only local fields, kinds that do not fit, labels that do not exist, and
// what a create would lack.
func (b *Binding) CheckSchema(schema connectors.Schema) []Finding {
	c := schemaCheck{b: b, fields: map[string]connectors.FieldSchema{}, written: map[string]bool{}}
	for _, f := range schema.Fields {
		c.fields[f.Name] = f
		c.names = append(c.names, f.Name)
	}
	for _, name := range b.names {
		c.rule(b.fields[name])
	}
	for _, name := range slices.Sorted(maps.Keys(b.onCreate)) {
		c.write("/on_create", name, b.onCreate[name])
	}
	receives := slices.ContainsFunc(b.names, b.Receives)
	for _, f := range schema.Fields {
		if receives && f.Required && !f.ReadOnly && !c.written[f.Name] {
			c.fail("binding.required", "/on_create", "give it under on_create, or map it",
				"a create needs local field %q", f.Name)
		}
	}
	return yamlfile.Sort(c.out)
}

type schemaCheck struct {
	b       *Binding
	fields  map[string]connectors.FieldSchema
	names   []string
	written map[string]bool // local fields that a create sets
	out     []Finding
}

func (c *schemaCheck) fail(code, path, suggestion, format string, args ...any) {
	c.out = append(c.out, c.b.finding(code, path, suggestion, format, args...))
}

func (c *schemaCheck) known(path, name string) (connectors.FieldSchema, bool) {
	f, ok := c.fields[name]
	if !ok {
		c.fail("binding.local_field", path, yamlfile.DidYouMean(name, c.names), "the system has no field %q", name)
	}
	return f, ok
}

func (c *schemaCheck) rule(r *rule) {
	path := r.path + "/field"
	if len(r.locals) > 1 {
		path = r.path + "/fields"
	}
	for i, name := range r.locals {
		f, ok := c.known(path, name)
		if !ok {
			continue
		}
		if r.direction != Send {
			c.written[name] = true
			if f.ReadOnly {
				c.fail("binding.read_only", path, "state direction: send", "the system does not let %q be written", name)
			}
		}
		switch {
		case r.table != nil:
			c.labels(r, i, f)
		case r.read == nil && !fits(r.field.Type, f.Kind):
			c.fail("binding.kind", path, "give a map, or read and write", "%s of the pact does not fit %q, which is %s", r.field.Type, name, f.Kind)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(r.with)) {
		extras := r.with[label]
		for _, name := range slices.Sorted(maps.Keys(extras)) {
			at := yamlfile.Join(yamlfile.Join(r.path+"/with", label), name)
			if f, ok := c.known(at, name); ok && f.ReadOnly {
				c.fail("binding.read_only", at, "", "the system does not let %q be written", name)
			}
		}
	}
}

func (c *schemaCheck) write(path, name string, v value.Value) {
	at := yamlfile.Join(path, name)
	f, ok := c.known(at, name)
	if !ok {
		return
	}
	c.written[name] = true
	c.label(at, f, v)
}

// labels checks column i of a table against the values of a local enum.
func (c *schemaCheck) labels(r *rule, i int, f connectors.FieldSchema) {
	if f.Kind != connectors.FieldEnum || len(f.Values) == 0 {
		return
	}
	for _, line := range r.table.rows {
		for j, tuple := range line.tuples {
			at := line.path
			if deeper := at + "/" + strconv.Itoa(j); len(line.tuples) > 1 {
				at = deeper
			}
			c.label(at, f, tuple[i])
		}
	}
	if _, stated := c.b.doc.Get(r.path + "/unmapped"); stated || r.direction == Receive {
		return
	}
	for _, label := range f.Values {
		if !r.table.mentions(i, label) {
			c.fail("binding.unread", r.path, "add it to a row, or state unmapped: hold or unmapped: keep",
				"no row reads %q of %q", label, f.Name)
		}
	}
}

func (c *schemaCheck) label(path string, f connectors.FieldSchema, v value.Value) {
	text := labelText(v)
	if f.Kind != connectors.FieldEnum || len(f.Values) == 0 || v.IsNull() || slices.Contains(f.Values, text) {
		return
	}
	c.fail("binding.local_value", path, yamlfile.DidYouMean(text, f.Values), "%q has no value %q", f.Name, text)
}

// labelText is v as a schema lists it.
func labelText(v value.Value) string {
	if v.Kind() == value.KindText {
		return v.AsText()
	}
	return v.String()
}

// fits reports whether a local field of that kind converts without a rule.
func fits(t pact.FieldType, k connectors.FieldKind) bool {
	switch t {
	case pact.TypeText, pact.TypeRichText, pact.TypeEnum:
		return k == connectors.FieldText || k == connectors.FieldRichText || k == connectors.FieldEnum
	case pact.TypeNumber, pact.TypeDecimal:
		return k == connectors.FieldNumber
	case pact.TypeBool:
		return k == connectors.FieldBool
	case pact.TypeDate:
		return k == connectors.FieldDate
	case pact.TypeDateTime:
		return k == connectors.FieldTime
	case pact.TypePerson:
		return k == connectors.FieldPerson
	}
	return false
}
