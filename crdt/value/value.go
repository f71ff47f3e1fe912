// Package value holds the values that travel between systems, and their
// canonical bytes: equal values have equal bytes, so that content can be
// compared and hashed without knowing its type.
package value

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind says what a Value holds.
type Kind uint8

// Kinds. The numbers are part of the canonical bytes and never change.
const (
	KindNull    Kind = 0 // no value; what an emptied field holds
	KindBool    Kind = 1
	KindInt     Kind = 2 // 64 bits, signed
	KindDecimal Kind = 3 // exact; see Decimal
	KindText    Kind = 4 // valid UTF-8
	KindBytes   Kind = 5
	KindTime    Kind = 6 // Unix milliseconds, UTC
	KindDate    Kind = 7 // days since 1970-01-01, no zone
	KindList    Kind = 8
	KindMap     Kind = 9 // text keys, sorted, unique
)

func (k Kind) String() string {
	names := [...]string{"null", "bool", "int", "decimal", "text", "bytes", "time", "date", "list", "map"}
	if int(k) < len(names) {
		return names[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Value is one immutable value. The zero Value is null. Treat slices that it
// was built from, or that it hands out, as read-only.
type Value struct {
	kind Kind
	num  int64   // bool, int, time, date
	text string  // text, decimal, bytes
	list []Value // list; the values of a map
	keys []string
}

// Null returns the value of an empty field.
func Null() Value { return Value{} }

// Bool returns a boolean.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.num = 1
	}
	return v
}

// Int returns an integer.
func Int(n int64) Value { return Value{kind: KindInt, num: n} }

// Text returns s as text. Invalid UTF-8 is replaced by U+FFFD.
func Text(s string) Value {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return Value{kind: KindText, text: s}
}

// Bytes returns a copy of b.
func Bytes(b []byte) Value { return Value{kind: KindBytes, text: string(b)} }

// Time returns t at millisecond precision, UTC.
func Time(t time.Time) Value { return Value{kind: KindTime, num: t.UnixMilli()} }

// Millis returns the time that lies ms milliseconds after 1970.
func Millis(ms int64) Value { return Value{kind: KindTime, num: ms} }

// Date returns the calendar date of t in t's own zone.
func Date(t time.Time) Value {
	y, m, d := t.Date()
	days := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400
	return Value{kind: KindDate, num: days}
}

// List returns a list of vs.
func List(vs ...Value) Value { return Value{kind: KindList, list: slices.Clone(vs)} }

// Map returns a map with the given entries; the order of m does not matter.
// Invalid UTF-8 in keys is replaced as in Text; of two keys that become one, the
// lesser original stays.
func Map(m map[string]Value) Value {
	names := make([]string, 0, len(m))
	clean := true
	for k := range m {
		names = append(names, k)
		clean = clean && utf8.ValidString(k)
	}
	slices.Sort(names)
	if !clean {
		return cleanMap(m, names)
	}
	v := Value{kind: KindMap, keys: names, list: make([]Value, len(names))}
	for i, k := range names {
		v.list[i] = m[k]
	}
	return v
}

func cleanMap(m map[string]Value, names []string) Value {
	cleaned := make(map[string]Value, len(names))
	for _, k := range names {
		name := Text(k).text
		if _, taken := cleaned[name]; !taken {
			cleaned[name] = m[k]
		}
	}
	return Map(cleaned)
}

// Kind returns what v holds.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is the value of an empty field.
func (v Value) IsNull() bool { return v.kind == KindNull }

// AsBool returns the boolean, or false for another kind.
func (v Value) AsBool() bool { return v.kind == KindBool && v.num == 1 }

// AsInt returns the integer, or 0 for another kind.
func (v Value) AsInt() int64 {
	if v.kind != KindInt {
		return 0
	}
	return v.num
}

// AsText returns the text, or "" for another kind.
func (v Value) AsText() string {
	if v.kind != KindText {
		return ""
	}
	return v.text
}

// AsDecimal returns the decimal's canonical text, or "" for another kind.
func (v Value) AsDecimal() string {
	if v.kind != KindDecimal {
		return ""
	}
	return v.text
}

// AsBytes returns a copy of the bytes, or nil for another kind.
func (v Value) AsBytes() []byte {
	if v.kind != KindBytes {
		return nil
	}
	return []byte(v.text)
}

// AsTime returns the time in UTC, or the zero time for another kind. A date is
// its midnight.
func (v Value) AsTime() time.Time {
	switch v.kind {
	case KindTime:
		return time.UnixMilli(v.num).UTC()
	case KindDate:
		return time.Unix(v.num*86400, 0).UTC()
	}
	return time.Time{}
}

// Len returns the number of elements of a list or map, 0 for another kind.
func (v Value) Len() int { return len(v.list) }

// At returns element i of a list; it panics outside 0..Len-1.
func (v Value) At(i int) Value { return v.list[i] }

// Keys returns the sorted keys of a map; read-only.
func (v Value) Keys() []string { return v.keys }

// Get returns the entry of a map under key, and whether there is one.
func (v Value) Get(key string) (Value, bool) {
	if i, ok := slices.BinarySearch(v.keys, key); ok && v.kind == KindMap {
		return v.list[i], true
	}
	return Value{}, false
}

// Equal reports whether v and w have the same canonical bytes.
func (v Value) Equal(w Value) bool {
	return v.kind == w.kind && v.num == w.num && v.text == w.text &&
		slices.Equal(v.keys, w.keys) && slices.EqualFunc(v.list, w.list, Value.Equal)
}

// String is for people: it is not parsed again. Field values are never logged.
func (v Value) String() string {
	switch v.kind {
	case KindNull:
		return "null"
	case KindBool:
		return strconv.FormatBool(v.num == 1)
	case KindInt:
		return strconv.FormatInt(v.num, 10)
	case KindDecimal:
		return v.text
	case KindText:
		return strconv.Quote(v.text)
	case KindBytes:
		return "bytes(" + strconv.Itoa(len(v.text)) + ")"
	case KindTime:
		return v.AsTime().Format(time.RFC3339Nano)
	case KindDate:
		return v.AsTime().Format(time.DateOnly)
	}
	parts := make([]string, len(v.list))
	for i, e := range v.list {
		parts[i] = e.String()
		if v.kind == KindMap {
			parts[i] = v.keys[i] + ": " + parts[i]
		}
	}
	if v.kind == KindMap {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// ParseDecimal reads an exact decimal such as "-12.50" into its canonical form
// ("-12.5"): no exponent, no leading or trailing zeros, no "-0". At most 64
// digits.
func ParseDecimal(s string) (Value, bool) {
	body, sign := s, ""
	if strings.HasPrefix(body, "-") {
		body, sign = body[1:], "-"
	}
	whole, frac, dotted := strings.Cut(body, ".")
	if whole == "" || dotted && frac == "" || len(whole)+len(frac) > 64 || !digits(whole) || !digits(frac) {
		return Value{}, false
	}
	whole = strings.TrimLeft(whole, "0")
	frac = strings.TrimRight(frac, "0")
	if whole == "" {
		whole = "0"
	}
	text := whole
	if frac != "" {
		text += "." + frac
	}
	if text == "0" {
		sign = ""
	}
	return Value{kind: KindDecimal, text: sign + text}, true
}

// Float returns the decimal nearest to f, or false for NaN and infinities.
func Float(f float64) (Value, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}, false
	}
	return ParseDecimal(strconv.FormatFloat(f, 'f', -1, 64))
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
