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

	"github.com/entente-sync/entente/crdt/value"
)

// adapter makes every map of an expression iterate in the order of its keys,
// so that a result never depends on Go's order of maps.
type adapter struct{}

// NativeToValue implements types.Adapter.
func (adapter) NativeToValue(v any) ref.Val {
	if m, ok := v.(sortedMap); ok {
		return m
	}
	out := types.DefaultTypeAdapter.NativeToValue(v)
	if native, ok := v.(map[ref.Val]ref.Val); ok {
		keys := make([]ref.Val, 0, len(native))
		for k := range native {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b ref.Val) int {
			return cmp.Or(cmp.Compare(a.Type().TypeName(), b.Type().TypeName()), cmp.Compare(keyText(a), keyText(b)))
		})
		return sortedMap{types.NewRefValMap(adapter{}, native), keys}
	}
	return out
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
	return types.NewRefValList(adapter{}, m.keys).Iterator()
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
		return types.NewRefValList(adapter{}, elems)
	case value.KindMap:
		keys, m := make([]ref.Val, v.Len()), make(map[string]any, v.Len())
		for i, k := range v.Keys() {
			keys[i], m[k] = types.String(k), toCEL(v.At(i))
		}
		return sortedMap{types.NewStringInterfaceMap(adapter{}, m), keys}
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
