package binding

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/entente-sync/entente/crdt/value"
)

// Maps of expressions iterate in the order of their keys, so that a result never
// depends on Go's order of maps: those that come in are made so by toCEL, those
// that an expression writes down by sortMaps.

// sortMaps decorates what a program constructs, except lists.
func sortMaps(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if c, ok := i.(interpreter.InterpretableConstructor); ok && c.Type() != types.ListType {
		return mapLiteral{i}, nil
	}
	return i, nil
}

type mapLiteral struct{ interpreter.InterpretableV2 }

// Exec implements interpreter.InterpretableV2.
func (m mapLiteral) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return sorted(m.InterpretableV2.Exec(frame))
}

// Eval implements interpreter.Interpretable.
func (m mapLiteral) Eval(a interpreter.Activation) ref.Val {
	return sorted(m.InterpretableV2.Eval(a))
}

func sorted(v ref.Val) ref.Val {
	m, ok := v.(traits.Mapper)
	if !ok {
		return v
	}
	var keys []ref.Val
	for it := m.Iterator(); it.HasNext() == types.True; {
		keys = append(keys, it.Next())
	}
	slices.SortFunc(keys, func(a, b ref.Val) int {
		return cmp.Or(cmp.Compare(a.Type().TypeName(), b.Type().TypeName()), cmp.Compare(keyText(a), keyText(b)))
	})
	return sortedMap{m, keys}
}

func keyText(k ref.Val) string { return fmt.Sprint(k.Value()) }

// sortedMap is a map with an order. It hides the fold of the map inside, so that
// comprehensions use Iterator.
type sortedMap struct {
	traits.Mapper
	keys []ref.Val
}

// Iterator implements traits.Iterable.
func (m sortedMap) Iterator() traits.Iterator {
	return types.NewRefValList(types.DefaultTypeAdapter, m.keys).Iterator()
}

// toCEL is total: a decimal becomes the nearest double, a date its text.
func toCEL(v value.Value) ref.Val {
	switch v.Kind() {
	case value.KindBool:
		return types.Bool(v.AsBool())
	case value.KindInt:
		return types.Int(v.AsInt())
	case value.KindDecimal:
		f, _ := strconv.ParseFloat(v.AsDecimal(), 64)
		return types.Double(f)
	case value.KindText:
		return types.String(v.AsText())
	case value.KindBytes:
		return types.Bytes(v.AsBytes())
	case value.KindTime:
		return types.Timestamp{Time: v.AsTime()}
	case value.KindDate:
		return types.String(v.AsTime().Format(time.DateOnly))
	case value.KindList:
		elems := make([]ref.Val, v.Len())
		for i := range elems {
			elems[i] = toCEL(v.At(i))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, elems)
	case value.KindMap:
		keys, m := make([]ref.Val, v.Len()), make(map[string]any, v.Len())
		for i, k := range v.Keys() {
			keys[i], m[k] = types.String(k), toCEL(v.At(i))
		}
		return sortedMap{types.NewStringInterfaceMap(types.DefaultTypeAdapter, m), keys}
	}
	return types.NullValue
}

var errResult = errors.New("the result is of a type that no field holds")

// fromCEL reads a result. Types, durations and what is too deep have no value.
func fromCEL(v ref.Val, depth int) (value.Value, error) {
	if depth > value.DepthMax {
		return value.Null(), errResult
	}
	switch v := v.(type) {
	case types.Null:
		return value.Null(), nil
	case types.Bool:
		return value.Bool(bool(v)), nil
	case types.Int:
		return value.Int(int64(v)), nil
	case types.Uint:
		if uint64(v) > math.MaxInt64 {
			return value.Null(), errResult
		}
		return value.Int(int64(v)), nil
	case types.Double:
		d, ok := value.Float(float64(v))
		if !ok {
			return value.Null(), errResult
		}
		return d, nil
	case types.String:
		return value.Text(string(v)), nil
	case types.Bytes:
		return value.Bytes(v), nil
	case types.Timestamp:
		return value.Time(v.Time), nil
	case *types.Optional:
		if !v.HasValue() {
			return value.Null(), nil
		}
		return fromCEL(v.GetValue(), depth+1)
	case traits.Lister:
		return fromList(v, depth)
	case traits.Mapper:
		return fromMap(v, depth)
	}
	return value.Null(), errResult
}

func fromList(l traits.Lister, depth int) (value.Value, error) {
	var out []value.Value
	for it := l.Iterator(); it.HasNext() == types.True; {
		e, err := fromCEL(it.Next(), depth+1)
		if err != nil {
			return value.Null(), err
		}
		out = append(out, e)
	}
	return value.List(out...), nil
}

func fromMap(m traits.Mapper, depth int) (value.Value, error) {
	out := map[string]value.Value{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		k := it.Next()
		key, ok := k.(types.String)
		if !ok {
			return value.Null(), errResult
		}
		e, err := fromCEL(m.Get(k), depth+1)
		if err != nil {
			return value.Null(), err
		}
		out[string(key)] = e
	}
	return value.Map(out), nil
}
