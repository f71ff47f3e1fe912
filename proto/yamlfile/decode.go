package yamlfile

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Decode fills out, a pointer, from the node and reports every fault to the
// document; ok is false if there was one. Structs name their keys with a tag,
// `yaml:"name"` or `yaml:"name,required"`; fields without a tag are not read.
// Known are structs, pointers, slices, maps with text keys, text, booleans,
// integers, floats, time.Duration ("30s"), Node, and what unmarshals from text.
// Numbers and booleans are not taken for text, nor text for them.
func (n Node) Decode(out any) (ok bool) { return n.decode(out) }

func (n Node) decode(out any, skip ...string) bool {
	before := len(n.doc.findings)
	n.into(reflect.ValueOf(out).Elem(), skip)
	return len(n.doc.findings) == before
}

var (
	nodeType     = reflect.TypeFor[Node]()
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (n Node) into(v reflect.Value, skip []string) {
	t := v.Type()
	if t == nodeType {
		v.Set(reflect.ValueOf(n))
		return
	}
	if n.Shape() == Null {
		n.Fail("yaml.null", "give a value or remove the key", "has no value")
		return
	}
	switch {
	case t == durationType:
		n.duration(v)
		return
	case reflect.PointerTo(t).Implements(textType):
		n.unmarshal(v)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		n.into(v.Elem(), nil)
	case reflect.Struct:
		n.structure(v, skip)
	case reflect.Slice:
		n.slice(v)
	case reflect.Map:
		n.mapping(v)
	default:
		n.scalar(v)
	}
}

func (n Node) want(shape Shape) bool {
	if n.Shape() == shape {
		return true
	}
	n.Fail("yaml.type", "", "is %s, want %s", n.Shape(), shape)
	return false
}

func (n Node) structure(v reflect.Value, skip []string) {
	if !n.want(Mapping) {
		return
	}
	index, required, names := map[string]int{}, []string{}, slices.Clone(skip)
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		index[name] = i
		names = append(names, name)
		if option == "required" {
			required = append(required, name)
		}
	}
	for _, e := range n.Entries() {
		i, known := index[e.Key]
		switch {
		case known:
			e.Value.into(v.Field(i), nil)
		case !slices.Contains(skip, e.Key):
			e.Value.UnknownKey(e.Key, names)
		}
	}
	for _, name := range required {
		if _, ok := n.Get(name); !ok {
			n.Fail("yaml.missing_key", "", "lacks the key %q", name)
		}
	}
}

// UnknownKey reports that the key of this node is not among known.
func (n Node) UnknownKey(key string, known []string) {
	n.FailKey("yaml.unknown_key", DidYouMean(key, known), "unknown key %q", clip(key))
}

// FailKey adds a finding at the key of the node.
func (n Node) FailKey(code, suggestion, format string, args ...any) {
	n.FailAt(n.doc.keys[n.Path], code, suggestion, format, args...)
}

func (n Node) slice(v reflect.Value) {
	if !n.want(List) {
		return
	}
	items := n.Items()
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		item.into(v.Index(i), nil)
	}
}

func (n Node) mapping(v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("yamlfile: %s: keys must be text", v.Type())) // a mistake of the caller's type
	}
	if !n.want(Mapping) {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range n.Entries() {
		element := reflect.New(v.Type().Elem()).Elem()
		e.Value.into(element, nil)
		v.SetMapIndex(reflect.ValueOf(e.Key).Convert(v.Type().Key()), element)
	}
}

func (n Node) duration(v reflect.Value) {
	text, ok := n.Text()
	d, err := time.ParseDuration(text)
	if !ok || err != nil {
		n.Fail("yaml.type", `write it with a unit: "30s", "5m", "1h"`, "is no duration")
		return
	}
	v.SetInt(int64(d))
}

func (n Node) unmarshal(v reflect.Value) {
	text, ok := n.Text()
	if !ok {
		n.Fail("yaml.type", "", "is %s, want text", n.describe())
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
		n.Fail("yaml.value", "", "%s", err)
	}
}

func (n Node) scalar(v reflect.Value) {
	if !n.want(Scalar) {
		return
	}
	got, ok := n.Scalar()
	if text, isText := n.Text(); isText {
		got, ok = text, true
	}
	if !ok {
		n.Fail("yaml.range", "", "the number is out of range")
		return
	}
	switch v.Kind() {
	case reflect.String:
		if s, fits := got.(string); fits {
			v.SetString(s)
		} else {
			n.Fail("yaml.type", "quote it", "is %s, want text", n.describe())
		}
	case reflect.Bool:
		if b, fits := got.(bool); fits {
			v.SetBool(b)
		} else {
			n.Fail("yaml.type", "true or false", "is %s, want a boolean", n.describe())
		}
	default:
		n.number(v, got)
	}
}

func (n Node) number(v reflect.Value, got any) {
	i, isInt := got.(int64)
	f, isFloat := got.(float64)
	switch {
	case v.CanInt() && isInt:
		if v.OverflowInt(i) {
			n.Fail("yaml.range", "", "the number is out of range")
		} else {
			v.SetInt(i)
		}
	case v.CanUint() && isInt:
		if i < 0 || v.OverflowUint(uint64(i)) {
			n.Fail("yaml.range", "", "the number is out of range")
		} else {
			v.SetUint(uint64(i))
		}
	case v.CanFloat() && isFloat:
		v.SetFloat(f)
	case v.CanFloat() && isInt:
		v.SetFloat(float64(i))
	case v.CanInt() || v.CanUint():
		n.Fail("yaml.type", "", "is %s, want a whole number", n.describe())
	case v.CanFloat():
		n.Fail("yaml.type", "", "is %s, want a number", n.describe())
	default:
		panic(fmt.Sprintf("yamlfile: cannot decode into %s", v.Type())) // a mistake of the caller's type
	}
}

func (n Node) describe() string {
	if v, ok := n.Scalar(); ok {
		switch v.(type) {
		case string:
			return "text"
		case bool:
			return "a boolean"
		}
		return "a number"
	}
	return n.Shape().String()
}
