package binding

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// rule maps one field of the pact. Exactly one of table, expressions (read,
// write) and plain conversion is in force.
type rule struct {
	field     *pact.Field
	check     pact.Checker
	path      string // of the field in the file
	locals    []string
	direction Direction
	keep      bool // unmapped values ask nobody
	table     *table
	read      *program
	write     *program
	with      map[string]map[string]value.Value // by pact value
}

func (r *rule) blame(p *Problem) *Problem {
	if p == nil {
		return nil
	}
	out := *p
	out.Field = r.field.Name
	if out.Local == "" && len(r.locals) == 1 {
		out.Local = r.locals[0]
	}
	return &out
}

func (r *rule) get(local map[string]value.Value) (value.Value, *Problem) {
	shown := make([]value.Value, 0, 4)
	for _, name := range r.locals {
		v, ok := local[name]
		if !ok {
			return value.Null(), &Problem{
				Code: CodeNotShown, Local: name, Keep: true,
				Message: fmt.Sprintf("the system did not show %q", name),
			}
		}
		shown = append(shown, v)
	}
	v, p := r.decode(shown)
	if p != nil {
		return value.Null(), p
	}
	if err := r.check.Check(v); err != nil {
		return value.Null(), &Problem{Code: CodeInvalid, Message: err.Error()}
	}
	return v, nil
}

// decode turns what the local fields show into the pact's value.
func (r *rule) decode(shown []value.Value) (value.Value, *Problem) {
	switch {
	case r.table != nil:
		if v, ok := r.table.read(shown); ok {
			return v, nil
		}
		if allNull(shown) {
			return value.Null(), nil
		}
		return value.Null(), r.unmapped("no row of the table reads " + labels(shown))
	case r.read != nil:
		v, p := r.read.evalExact(r.it(shown))
		if p != nil {
			return value.Null(), p
		}
		return coerce(r.field.Type, v)
	}
	v, p := coerce(r.field.Type, shown[0])
	if p != nil && p.Code == CodeUnmapped {
		return v, r.unmapped(p.Message)
	}
	return v, p
}

func (r *rule) unmapped(message string) *Problem {
	p := &Problem{Code: CodeUnmapped, Message: message, Keep: r.keep}
	if !r.keep {
		p.Suggestion = "add a row, or state unmapped: keep"
	}
	return p
}

// it is what a read expression sees: {value: shown}, without the key where the
// field is empty; of several fields each under its name.
func (r *rule) it(shown []value.Value) value.Value {
	m := make(map[string]value.Value, len(shown))
	for i, v := range shown {
		name := "value"
		if len(shown) > 1 {
			name = r.locals[i]
		}
		if v = canonical(v); !v.IsNull() {
			m[name] = v
		}
	}
	return value.Map(m)
}

// put says what to write: only what differs from local, and nothing where local
// already reads as v.
func (r *rule) put(v value.Value, local map[string]value.Value) (map[string]value.Value, *Problem) {
	v = canonical(v)
	if err := r.check.Check(v); err != nil {
		return nil, &Problem{Code: CodeInvalid, Message: err.Error()}
	}
	if shown, p := r.get(local); p == nil && shown.Equal(v) {
		return map[string]value.Value{}, nil
	}
	out, p := r.encode(v)
	if p != nil {
		return nil, p
	}
	writes := make(map[string]value.Value, len(out))
	for i, name := range r.locals {
		if local == nil && out[i].IsNull() {
			continue // a create has nothing to clear
		}
		if shown, ok := local[name]; !ok || !same(shown, out[i]) {
			writes[name] = out[i]
		}
	}
	if len(writes) > 0 && v.Kind() == value.KindText {
		for name, extra := range r.with[v.AsText()] {
			if shown, ok := local[name]; !ok || !same(shown, extra) {
				writes[name] = extra
			}
		}
	}
	return writes, nil
}

// encode turns a value of the pact into one for each local field. Null empties
// them, unless a row says otherwise; where a row reads empty fields as a value,
// null is like a write-only row: the reading differs, and keep if equivalent and
// the shadow absorb that.
func (r *rule) encode(v value.Value) ([]value.Value, *Problem) {
	switch {
	case r.table != nil:
		if out, ok := r.table.write(v); ok {
			return out, nil
		}
		if v.IsNull() {
			break
		}
		return nil, r.unmapped(fmt.Sprintf("no row of the table writes %s", labels([]value.Value{v})))
	case v.IsNull(): // absent stays absent
	case r.write != nil:
		return r.evalWrite(v)
	default:
		return []value.Value{v}, nil
	}
	return make([]value.Value, len(r.locals)), nil
}

func (r *rule) evalWrite(v value.Value) ([]value.Value, *Problem) {
	out, p := r.write.evalExact(v)
	if p != nil {
		return nil, p
	}
	if len(r.locals) == 1 {
		return []value.Value{out}, nil
	}
	if out.Kind() != value.KindList || out.Len() != len(r.locals) {
		return nil, &Problem{
			Code:    CodeExpression,
			Message: fmt.Sprintf("write: gives %s, want a list of %d", out.Kind(), len(r.locals)),
		}
	}
	list := make([]value.Value, out.Len())
	for i := range list {
		list[i] = out.At(i)
	}
	return list, nil
}

func allNull(vs []value.Value) bool {
	return !slices.ContainsFunc(vs, func(v value.Value) bool { return !canonical(v).IsNull() })
}

// labels shows table cells for people; long ones are clipped.
func labels(vs []value.Value) string {
	const bytesMax = 80
	parts := make([]string, len(vs))
	for i, v := range vs {
		if parts[i] = v.String(); len(parts[i]) > bytesMax {
			parts[i] = strings.ToValidUTF8(parts[i][:bytesMax], "") + "..."
		}
	}
	return strings.Join(parts, ", ")
}
