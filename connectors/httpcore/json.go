package httpcore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// DepthMax bounds the nesting of a JSON answer.
const DepthMax = 32

// Decode reads the body as exactly one JSON value into out. Numbers in
// untyped places become json.Number. Its errors name places, never values.
func (r *Response) Decode(out any) error { return DecodeJSON(r.Body, out) }

// DecodeJSON is Decode for bytes from elsewhere.
func DecodeJSON(b []byte, out any) error {
	if depth(b) > DepthMax {
		return fmt.Errorf("JSON nested deeper than %d", DepthMax)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return describe(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("JSON is followed by more at byte %d", d.InputOffset())
	}
	return nil
}

// depth is the deepest nesting of brackets outside strings.
func depth(b []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// describe says what is wrong without quoting content.
func describe(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("unexpected kind of JSON value at %q, byte %d, want %s", kind.Field, kind.Offset, kind.Type)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("JSON ends too early")
	}
	return errors.New("JSON does not have the expected shape")
}
