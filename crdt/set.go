package crdt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt/value"
)

// A set is one register per element, named by the element's hash: adding and
// removing different elements never conflicts. The register holds the element's
// text while it is present and null when it is absent.

const elementHexDigits = 32

// ElementField names the register of one element of a set. The hash covers the
// pact, so that one element has unrelated names in two pacts.
func ElementField(pact Pact, set Field, element string) Field {
	b := append(make([]byte, 0, 256), "entente set element 1\x00"...)
	b = appendString(b, string(pact))
	b = appendString(b, string(set))
	b = appendString(b, element)
	sum := sha256.Sum256(b)
	return set + "/" + Field(hex.EncodeToString(sum[:elementHexDigits/2]))
}

// ElementOf returns the set whose element f names. It looks at the shape only:
// the pact says which fields are sets.
func (f Field) ElementOf() (set Field, ok bool) {
	name, digits, ok := strings.Cut(string(f), "/")
	if !ok || name == "" || f.Reserved() || !isLowerHex(digits, elementHexDigits) {
		return "", false
	}
	return Field(name), true
}

// Present is the value of an element that is in the set.
func Present(element string) value.Value { return value.Text(element) }

// Absent is the value of an element that was taken out.
func Absent() value.Value { return value.Null() }

// ElementValue reads the register of one element: its text, and whether it is
// in the set. A text under another element's name, and any other kind, is refused
// with ErrMalformed.
func ElementValue(key Key, v value.Value) (element string, present bool, err error) {
	set, ok := key.Field.ElementOf()
	switch {
	case !ok:
		return "", false, fmt.Errorf("set element: %w: field %s", ErrMalformed, key.Field)
	case v.IsNull():
		return "", false, nil
	case v.Kind() != value.KindText || ElementField(key.Pact, set, v.AsText()) != key.Field:
		return "", false, fmt.Errorf("set element %s: %w: value under a wrong name", key.Field, ErrMalformed)
	}
	return v.AsText(), true, nil
}

// SetChange returns what turns the set `from` into `to`, each sorted and without
// repetition.
func SetChange(from, to []string) (added, removed []string) {
	return without(to, from), without(from, to)
}

// without returns the elements of a that are not in b, sorted, each once.
func without(a, b []string) []string {
	skip := make(map[string]bool, len(b))
	for _, e := range b {
		skip[e] = true
	}
	var out []string
	for _, e := range a {
		if !skip[e] {
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func isLowerHex(s string, digits int) bool {
	if len(s) != digits {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !contains("0123456789abcdef", s[i]) {
			return false
		}
	}
	return true
}
