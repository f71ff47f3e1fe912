package value

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits of a decoded value. What an author may write is smaller: see
// crdt.ValueBytesMax; a conflict record holds a whole op.
const (
	DepthMax = 32
	BytesMax = 68 << 10
)

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed value")

// Append appends the canonical bytes of v to b: the kind, then its content.
// There is exactly one encoding of a value.
func (v Value) Append(b []byte) []byte {
	b = append(b, byte(v.kind))
	switch v.kind {
	case KindBool:
		b = append(b, byte(v.num))
	case KindInt, KindTime, KindDate:
		b = binary.AppendVarint(b, v.num)
	case KindText, KindDecimal, KindBytes:
		b = appendText(b, v.text)
	case KindList:
		b = binary.AppendUvarint(b, uint64(len(v.list)))
		for _, e := range v.list {
			b = e.Append(b)
		}
	case KindMap:
		b = binary.AppendUvarint(b, uint64(len(v.list)))
		for i, e := range v.list {
			b = appendText(b, v.keys[i])
			b = e.Append(b)
		}
	}
	return b
}

// Canonical returns the canonical bytes of v.
func (v Value) Canonical() []byte { return v.Append(nil) }

// Decode reads the canonical bytes of one value, all of b. It refuses every
// other encoding, depth beyond DepthMax, length beyond BytesMax, and kinds that it
// does not know. It never panics.
func Decode(b []byte) (Value, error) {
	if len(b) > BytesMax {
		return Value{}, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(b), BytesMax)
	}
	v, rest, ok := decode(b, 0)
	if !ok || len(rest) != 0 {
		return Value{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	return v, nil
}

func decode(b []byte, depth int) (v Value, rest []byte, ok bool) {
	if len(b) == 0 || depth > DepthMax {
		return v, nil, false
	}
	v.kind, b = Kind(b[0]), b[1:]
	switch v.kind {
	case KindNull:
		return v, b, true
	case KindBool:
		if len(b) == 0 || b[0] > 1 {
			return v, nil, false
		}
		v.num = int64(b[0])
		return v, b[1:], true
	case KindInt, KindTime, KindDate:
		n, size := binary.Varint(b)
		if size <= 0 || size > 1 && b[size-1] == 0 {
			return v, nil, false
		}
		v.num = n
		return v, b[size:], true
	case KindText, KindDecimal, KindBytes:
		v.text, b, ok = text(b)
		return v, b, ok && validText(v)
	case KindList, KindMap:
		return decodeMany(v, b, depth)
	}
	return v, nil, false
}

func decodeMany(v Value, b []byte, depth int) (Value, []byte, bool) {
	n, b, ok := uvarint(b)
	if !ok || n > uint64(len(b)) { // each element takes a byte or more
		return v, nil, false
	}
	for i := range n {
		if v.kind == KindMap {
			var key string
			if key, b, ok = text(b); !ok || !utf8.ValidString(key) || i > 0 && key <= v.keys[i-1] {
				return v, nil, false
			}
			v.keys = append(v.keys, key)
		}
		var e Value
		if e, b, ok = decode(b, depth+1); !ok {
			return v, nil, false
		}
		v.list = append(v.list, e)
	}
	return v, b, true
}

func validText(v Value) bool {
	switch v.kind {
	case KindText:
		return utf8.ValidString(v.text)
	case KindDecimal:
		c, ok := ParseDecimal(v.text)
		return ok && c.text == v.text
	}
	return true
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func text(b []byte) (string, []byte, bool) {
	n, b, ok := uvarint(b)
	if !ok || n > uint64(len(b)) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}

func uvarint(b []byte) (uint64, []byte, bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}
