package binding

import (
	"regexp/syntax"
	"strings"
	"time"

	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// samples are values that a field of the pact may carry, to try expressions on.
// They are made up; where the pact has a pattern they follow it.
func samples(f *pact.Field) []value.Value {
	var out []value.Value
	switch f.Type {
	case pact.TypeEnum:
		for _, v := range f.Values {
			out = append(out, value.Text(v))
		}
	case pact.TypeText, pact.TypeRichText:
		if f.Pattern != "" {
			return patternSamples(f.Pattern)
		}
		for _, s := range []string{"a", "Alpha beta", "0", "12", "Größe 日本", "a, b; c", `"quoted"`} {
			out = append(out, value.Text(s))
		}
	case pact.TypePerson:
		out = append(out, value.Text("ann@example.com"))
	case pact.TypeNumber:
		for _, n := range []int64{0, 1, -1, 42, 1_000_000} {
			out = append(out, value.Int(n))
		}
	case pact.TypeDecimal:
		for _, s := range []string{"0", "1", "-2.25", "0.5", "1000000"} {
			d, _ := value.ParseDecimal(s)
			out = append(out, d)
		}
	case pact.TypeBool:
		out = append(out, value.Bool(false), value.Bool(true))
	case pact.TypeDate:
		for _, day := range []int64{0, 19782, 20454} {
			out = append(out, value.Date(time.Unix(day*86400, 0).UTC()))
		}
	case pact.TypeDateTime:
		out = append(out, value.Millis(0), value.Millis(1_700_000_000_123))
	}
	return out
}

// patternSamples makes texts that follow pattern, each with other choices.
func patternSamples(pattern string) []value.Value {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	var out []value.Value
	for choice := range 8 {
		var b strings.Builder
		generate(&b, re, choice)
		if s := b.String(); s != "" && !seen[s] && b.Len() < celBytesMax {
			seen[s] = true
			out = append(out, value.Text(s))
		}
	}
	return out
}

const sampleBytesMax = 1 << 10

func generate(b *strings.Builder, re *syntax.Regexp, choice int) {
	if b.Len() > sampleBytesMax {
		return
	}
	repeat := func(least, most int) {
		n := least + choice%3
		if most >= 0 {
			n = min(n, most)
		}
		for i := range n {
			generate(b, re.Sub[0], choice+i)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		if ranges := len(re.Rune) / 2; ranges > 0 {
			low, high := re.Rune[2*(choice%ranges)], re.Rune[2*(choice%ranges)+1]
			b.WriteRune(low + rune(choice*7)%(high-low+1))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteRune('a' + rune(choice))
	case syntax.OpCapture:
		generate(b, re.Sub[0], choice)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			generate(b, sub, choice)
		}
	case syntax.OpAlternate:
		generate(b, re.Sub[choice%len(re.Sub)], choice)
	case syntax.OpStar:
		repeat(0, -1)
	case syntax.OpPlus:
		repeat(1, -1)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpRepeat:
		repeat(re.Min, re.Max)
	}
}
