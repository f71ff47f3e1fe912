package conformance

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

func textCases() []Case {
	return []Case{
		{
			Name: "text-unicode", Run: textUnicode,
			Why: "a text that comes back changed looks like an edit",
		},
		{
			Name: "text-large", Run: textLarge, Needs: hasLong,
			Why: "a cut text would be synced back as the shorter one",
		},
		{
			Name: "text-shapes", Run: textShapes, Needs: hasLong,
			Why: "what a system does to line ends, space and markup must be declared in Normalises, or be undone by the connector",
		},
	}
}

func hasLong(_ connectors.Capabilities, e *Env) bool { return e.Driver.Fields.Long != "" }

// roundTrip writes text to field and returns what a read shows. It checks that
// the system's rewriting is declared, and that writing the result again settles.
func roundTrip(t T, e *Env, key connectors.Key, field, text string) string {
	t.Helper()
	e.update(t, key, map[string]value.Value{field: value.Text(text)})
	got := e.read(t, key).Fields[field].AsText()
	if got == text {
		return got
	}
	if !slices.Contains(e.Caps.Normalises, field) {
		t.Errorf("a text of %d bytes comes back with %d bytes, first difference at byte %d: declare %q in Normalises, or undo it in the connector",
			len(text), len(got), difference(text, got), field)
		return got
	}
	e.update(t, key, map[string]value.Value{field: value.Text(got)})
	if again := e.read(t, key).Fields[field].AsText(); again != got {
		t.Errorf("writing back what %q shows changes it again: a normaliser must settle after one round", field)
	}
	return got
}

func difference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func textUnicode(t T, e *Env) {
	const text = "Grüße 你好 𝄞😀 e\u0301 <b>&amp;</b> \"quoted\" \\n %s {{x}}"
	f := e.Driver.Fields
	key := e.create(t, "unicode", "", nil)
	got := roundTrip(t, e, key, f.Text, text)
	if !strings.Contains(got, "𝄞😀") || !utf8.ValidString(got) {
		t.Errorf("field %q loses characters outside the basic plane", f.Text)
	}
	if e.Caps.Comments {
		e.comment(t, key, text, false)
		comments := e.read(t, key).Comments
		if len(comments) != 1 || comments[0].Body != text && !slices.Contains(e.Caps.Normalises, "comments") {
			t.Error("a comment's text comes back changed, and Normalises does not name \"comments\"")
		}
	}
}

func textLarge(t T, e *Env) {
	size := 32 << 10
	if most := e.Driver.Fields.LongBytesMax; most > 0 {
		size = min(size, most)
	}
	text := strings.Repeat("0123456789 abcde\n", size/17) + "end"
	key := e.create(t, "large", "", nil)
	got := roundTrip(t, e, key, e.Driver.Fields.Long, text)
	if !strings.HasSuffix(strings.TrimSpace(got), "end") {
		t.Errorf("field %q cuts a text of %d bytes without an error", e.Driver.Fields.Long, len(text))
	}
}

func textShapes(t T, e *Env) {
	key := e.create(t, "shapes", "", nil)
	roundTrip(t, e, key, e.Driver.Fields.Long, "one\r\ntwo\nthree\n\n  indented\ttab\n* item\n**bold** _em_ `code`\n| a | b |\n")
}
