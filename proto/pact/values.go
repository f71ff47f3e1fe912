package pact

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// ValueError says why a value does not fit its field. It never repeats the
// value, except enum labels, which are part of a pact's vocabulary.
type ValueError struct {
	Field   crdt.Field
	Message string
}

func (e *ValueError) Error() string { return fmt.Sprintf("field %s: %s", e.Field, e.Message) }

// Checker checks values of one field. Safe for concurrent use.
type Checker struct {
	field   *Field
	pattern *regexp.Regexp // nil means any
}

// NewChecker prepares the check of f, a field of a valid pact.
func NewChecker(f *Field) (Checker, error) {
	c := Checker{field: f}
	if f.Pattern == "" {
		return c, nil
	}
	pattern, err := regexp.Compile(f.Pattern)
	if err != nil {
		return c, fmt.Errorf("field %s: pattern: %w", f.Name, err)
	}
	c.pattern = pattern
	return c, nil
}

// CheckValue reports a *ValueError if v does not fit f. To check many values
// of one field, keep a Checker.
func CheckValue(f *Field, v value.Value) error {
	c, err := NewChecker(f)
	if err != nil {
		return err
	}
	return c.Check(v)
}

// Check reports a *ValueError if v does not fit. Null fits every field that is
// not required. Of a set it checks one element, of a log one child's entry.
func (c Checker) Check(v value.Value) error {
	if message := c.check(v); message != "" {
		return &ValueError{Field: c.field.Name, Message: message}
	}
	return nil
}

// kind returns what values of type t hold.
func (t FieldType) kind() (value.Kind, bool) {
	switch t {
	case TypeText, TypeRichText, TypeEnum, TypePerson, TypeTextSet:
		return value.KindText, true
	case TypeNumber:
		return value.KindInt, true
	case TypeDecimal:
		return value.KindDecimal, true
	case TypeBool:
		return value.KindBool, true
	case TypeDate:
		return value.KindDate, true
	case TypeDateTime:
		return value.KindTime, true
	case TypeComments:
		return value.KindMap, true
	}
	return value.KindNull, false
}

func (c Checker) check(v value.Value) string {
	f := c.field
	if v.IsNull() {
		if f.Required {
			return "is required and would become empty"
		}
		return ""
	}
	kind, ok := f.Type.kind()
	if !ok || v.Kind() != kind {
		return fmt.Sprintf("is %s and cannot hold %s", f.Type, v.Kind())
	}
	bytesMax := f.BytesMax
	if bytesMax == 0 {
		bytesMax = crdt.ValueBytesMax
	}
	text := v.AsText()
	switch f.Type {
	case TypeText, TypeRichText, TypeTextSet:
		if len(text) > bytesMax {
			return fmt.Sprintf("has %d bytes, limit %d", len(text), bytesMax)
		}
		if c.pattern != nil && !c.pattern.MatchString(text) {
			return fmt.Sprintf("does not match the pattern %q", f.Pattern)
		}
	case TypeEnum:
		if !slices.Contains(f.Values, text) {
			return fmt.Sprintf("has no value %q", clip(text))
		}
	case TypePerson:
		if at := strings.IndexByte(text, '@'); at < 1 || at == len(text)-1 || text != strings.ToLower(text) {
			return "is not a lower-case e-mail address"
		}
	case TypeComments:
		return checkEntry(v, bytesMax)
	}
	return ""
}

// checkEntry checks map{parent, author{name, email?}, at, body, internal}.
func checkEntry(v value.Value, bytesMax int) string {
	want := map[string]value.Kind{
		"parent": value.KindBytes, "author": value.KindMap,
		"at": value.KindTime, "body": value.KindText, "internal": value.KindBool,
	}
	for _, key := range v.Keys() {
		kind, known := want[key]
		if e, _ := v.Get(key); !known || e.Kind() != kind {
			return fmt.Sprintf("has a malformed part %q", clip(key))
		}
	}
	if v.Len() != len(want) {
		return "lacks a part of a comment"
	}
	parent, _ := v.Get("parent")
	author, _ := v.Get("author")
	body, _ := v.Get("body")
	if len(parent.AsBytes()) != len(crdt.RecordID{}) || !isCommentAuthor(author) {
		return "has a malformed parent or author"
	}
	if len(body.AsText()) > bytesMax {
		return fmt.Sprintf("has %d bytes, limit %d", len(body.AsText()), bytesMax)
	}
	return ""
}

// isCommentAuthor reports whether v is map{name, email?} of texts.
func isCommentAuthor(v value.Value) bool {
	name, _ := v.Get("name")
	email, hasEmail := v.Get("email")
	if hasEmail {
		return v.Len() == 2 && name.Kind() == value.KindText && email.Kind() == value.KindText
	}
	return v.Len() == 1 && name.Kind() == value.KindText
}

// clip bounds what a message repeats of foreign input.
func clip(s string) string {
	const bytesMax = 80
	if len(s) > bytesMax {
		return strings.ToValidUTF8(s[:bytesMax], "") + "..."
	}
	return s
}
