package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"

	"github.com/entente-sync/entente/crdt/value"
)

// lossy is a normaliser that a system has and does not declare: a chain of rules
// drawn from a grammar. Some chains have a fixed point, some grow without end, and
// two of them need not have one in common.
type lossy []rule

// rule is one step of a chain.
type rule struct {
	kind string
	arg  string
}

var ruleKinds = []string{"upper", "squeeze", "cut", "append", "wrap", "swap"}

func drawLossy(rng *rand.Rand) lossy {
	var l lossy
	for range 1 + rng.IntN(3) {
		l = append(l, rule{ruleKinds[rng.IntN(len(ruleKinds))], []string{".", "!", " x", "\n--"}[rng.IntN(4)]})
	}
	return l
}

// String names the chain in words.
func (l lossy) String() string {
	var words []string
	for _, r := range l {
		words = append(words, fmt.Sprintf("%s %q", r.kind, r.arg))
	}
	return "lossy " + strings.Join(words, ", ")
}

// cutAt is where the rule "cut" ends a text; markers stand before it.
const cutAt = 24

func (r rule) apply(t string) string {
	switch r.kind {
	case "upper":
		return strings.ReplaceAll(t, "about", "ABOUT")
	case "squeeze":
		return strings.Join(strings.Fields(t), " ")
	case "cut":
		return t[:min(len(t), cutAt)]
	case "append":
		return t + r.arg
	case "wrap":
		return "[" + t + "]"
	}
	return strings.ReplaceAll(strings.ReplaceAll(t, "[", "("), ".", ",")
}

// apply is v as the system stores it. What was emptied is null.
func (l lossy) apply(v value.Value) value.Value {
	if len(l) == 0 || v.Kind() != value.KindText {
		return v
	}
	t := v.AsText()
	for _, r := range l {
		t = r.apply(t)
	}
	return value.Text(t)
}

// lossyHabit gives a system an undeclared normaliser, and takes away what would
// tell it from a person.
func (d *deskPlan) lossyHabit(rng *rand.Rand) {
	d.lossy = drawLossy(rng)
	d.words = append(d.words, d.lossy.String())
	if rng.IntN(2) == 0 {
		d.caps.History, d.caps.WriteRevision = false, false
		d.words = append(d.words, "without proof")
	}
}

// spelled is what the system makes of values before its declared habits see them.
func (d *desk) spelled(fields map[string]value.Value) map[string]value.Value {
	v, named := fields[d.words.description]
	if !named || len(d.plan.lossy) == 0 {
		return fields
	}
	out := maps.Clone(fields)
	out[d.words.description] = d.plan.lossy.apply(v)
	return out
}

// declared reports whether the system tells how it spells a field, or who wrote it.
func (d *desk) declared(field string) bool {
	return len(d.plan.lossy) == 0 || field != d.words.description || d.remembers(field)
}
