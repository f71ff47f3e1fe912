package binding

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// canonical is the form in which pact values are compared: empty text is null,
// lines end with LF, whole decimals stay decimals. canonical(canonical(v)) = canonical(v).
func canonical(v value.Value) value.Value {
	if v.Kind() != value.KindText {
		return v
	}
	text := v.AsText()
	if text == "" {
		return value.Null()
	}
	if strings.Contains(text, "\r") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
		return value.Text(text)
	}
	return v
}

// coerce reads a local value as one of type t, without loss.
func coerce(t pact.FieldType, v value.Value) (value.Value, *Problem) {
	v = canonical(v)
	if v.IsNull() {
		return v, nil
	}
	switch t {
	case pact.TypeText, pact.TypeRichText, pact.TypeEnum:
		if v.Kind() == value.KindText {
			return v, nil
		}
	case pact.TypePerson:
		if v.Kind() == value.KindText {
			return person(v.AsText())
		}
	case pact.TypeNumber:
		if n, ok := whole(v); ok {
			return n, nil
		}
	case pact.TypeDecimal:
		if v.Kind() == value.KindInt {
			d, _ := value.ParseDecimal(v.String())
			return d, nil
		}
		if v.Kind() == value.KindDecimal {
			return v, nil
		}
	case pact.TypeBool:
		if v.Kind() == value.KindBool {
			return v, nil
		}
	case pact.TypeDate:
		if v.Kind() == value.KindDate {
			return v, nil
		}
		if day, err := time.Parse(time.DateOnly, v.AsText()); err == nil {
			return value.Date(day), nil
		}
	case pact.TypeDateTime:
		if v.Kind() == value.KindTime {
			return v, nil
		}
		if at, err := time.Parse(time.RFC3339, v.AsText()); err == nil {
			return value.Time(at), nil
		}
	}
	return value.Null(), &Problem{Code: CodeType, Message: fmt.Sprintf("%s cannot be read as %s", v.Kind(), t)}
}

// person reads an e-mail address; what is none names nobody.
func person(text string) (value.Value, *Problem) {
	text = strings.ToLower(strings.TrimSpace(text))
	if at := strings.IndexByte(text, '@'); at < 1 || at == len(text)-1 {
		return value.Null(), &Problem{Code: CodeUnmapped, Message: "the person has no e-mail address"}
	}
	return value.Text(text), nil
}

// whole returns the integer that v is, written as an integer or as a decimal.
func whole(v value.Value) (value.Value, bool) {
	if v.Kind() == value.KindInt {
		return v, true
	}
	if v.Kind() != value.KindDecimal {
		return value.Null(), false
	}
	n, err := strconv.ParseInt(v.AsDecimal(), 10, 64)
	return value.Int(n), err == nil
}

// same compares local values: canonically, and numbers by what they are.
func same(a, b value.Value) bool {
	a, b = canonical(a), canonical(b)
	if a.Equal(b) {
		return true
	}
	x, xOK := whole(a)
	y, yOK := whole(b)
	return xOK && yOK && x.Equal(y)
}
