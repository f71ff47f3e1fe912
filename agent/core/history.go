package core

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

type tuple = map[string]value.Value

// tupleOf picks the local fields of one shared field; ok is false if one of
// them was not shown.
func tupleOf(shown tuple, locals []string) (t tuple, ok bool) {
	t = make(tuple, len(locals))
	for _, name := range locals {
		v, ok := shown[name]
		if !ok {
			return nil, false
		}
		t[name] = v
	}
	return t, true
}

func equalTuple(a, b tuple) bool {
	if len(a) != len(b) {
		return false
	}
	for name, v := range a {
		w, ok := b[name]
		if !ok || !v.Equal(w) {
			return false
		}
	}
	return true
}

// overlay returns base with the entries of over that base has too.
func overlay(base, over tuple) tuple {
	out := make(tuple, len(base))
	for name, v := range base {
		if w, ok := over[name]; ok {
			v = w
		}
		out[name] = v
	}
	return out
}

// sameShown compares two tuples as a system does that normalises some fields.
func sameShown(a, b tuple, normalises []string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, v := range a {
		w, ok := b[name]
		if !ok {
			return false
		}
		if slices.Contains(normalises, name) {
			v, w = spelling(v), spelling(w)
		}
		if !v.Equal(w) {
			return false
		}
	}
	return true
}

// plainText removes what systems commonly change in text: line ends, trailing
// and surrounding space. An empty text is null.
func plainText(v value.Value) value.Value {
	if v.Kind() != value.KindText {
		return v
	}
	s := trimmed(v.AsText())
	if s == "" {
		return value.Null()
	}
	return value.Text(s)
}

// spelling is what a text says whatever a system that normalises it makes of
// case, space, line ends and markup: its letters and digits.
func spelling(v value.Value) value.Value {
	if v.Kind() != value.KindText {
		return v
	}
	says := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, v.AsText())
	if says == "" {
		return plainText(v)
	}
	return value.Text(says)
}

func trimmed(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\r\u00a0")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// recorded reports whether the system's history tells every change of locals.
func recorded(c *connectors.Capabilities, locals []string) bool {
	if !c.History {
		return false
	}
	for _, name := range locals {
		if c.HistoryFields != nil && !slices.Contains(c.HistoryFields, name) {
			return false
		}
	}
	return true
}

// lastChange returns the newest history entry of locals.
func lastChange(history []connectors.Change, locals []string) (connectors.Change, bool) {
	for _, c := range slices.Backward(history) {
		if slices.Contains(locals, c.Field) {
			return c, true
		}
	}
	return connectors.Change{}, false
}

// lastMark names the newest history entry.
func lastMark(history []connectors.Change) string {
	if len(history) == 0 {
		return ""
	}
	return history[len(history)-1].ID
}

// trace is what a system's history tells of one field since a write was decided.
type trace struct {
	known bool // the history reaches back to the read before the write
	wrote bool // it shows our write
	at    time.Time
	// ran is what our write ran over, if somebody else had changed it meanwhile.
	ran     tuple
	ranWhen moment
	foreign bool // somebody changed it, before our write if that shows
	after   bool // somebody changed it after our write
}

// traceOf reads the history behind entry mark; before is what was shown then.
func traceOf(c *connectors.Capabilities, history []connectors.Change, mark string, locals []string, before tuple) trace {
	t := trace{known: recorded(c, locals)}
	start := 0
	if mark != "" {
		i := slices.IndexFunc(history, func(h connectors.Change) bool { return h.ID == mark })
		t.known = t.known && i >= 0
		start = i + 1
	}
	if !t.known {
		return t
	}
	shown := overlay(before, nil) // as it was when our write came
	var last moment
	for _, h := range history[start:] {
		if !slices.Contains(locals, h.Field) {
			continue
		}
		switch {
		case h.Actor.Self:
			if !t.wrote || h.At.Equal(t.at) {
				shown[h.Field] = h.Old
			}
			t.wrote, t.at, t.after = true, h.At, false
		case h.Actor.Automation:
			// a consequence of our write, or of nobody's
		case t.wrote:
			t.after = true
		default:
			shown[h.Field] = h.New
			t.foreign, last = true, moment{at: h.At, class: crdt.EvidenceHistory}
		}
	}
	if t.wrote && before != nil && !equalTuple(shown, before) {
		t.ran, t.ranWhen = shown, last
		if last.at.IsZero() {
			t.ranWhen = moment{at: t.at, class: crdt.EvidenceHistory}
		}
	}
	return t
}

// original is what locals held before the first change that history tells.
func original(history []connectors.Change, locals []string, shown tuple) tuple {
	out := overlay(shown, nil)
	for _, h := range slices.Backward(history) {
		if slices.Contains(locals, h.Field) {
			out[h.Field] = h.Old
		}
	}
	return out
}

// editMoment is when the shown values of locals came about, as well as the
// system tells.
func editMoment(c *connectors.Capabilities, r *connectors.Record, locals []string, shown tuple, lastUpdated int64) moment {
	if recorded(c, locals) {
		last, ok := lastChange(r.History, locals)
		if ok && last.New.Equal(shown[last.Field]) && !last.At.IsZero() {
			return moment{at: last.At, class: crdt.EvidenceHistory}
		}
		if !ok && lastUpdated == 0 && !r.Created.IsZero() {
			return moment{at: r.Created, class: crdt.EvidenceHistory} // as it was created
		}
	}
	if !r.Updated.IsZero() {
		m := moment{at: r.Updated, class: crdt.EvidenceCommit}
		if lastUpdated > 0 {
			m.uncertain = r.Updated.Sub(time.UnixMilli(lastUpdated))
		}
		return m
	}
	return moment{class: crdt.EvidencePoll}
}
