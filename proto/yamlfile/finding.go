// Package yamlfile reads every YAML file of the project strictly: one document,
// no anchors, aliases or tags, no unknown or duplicate key, no silent change of
// type, and every fault named by file, line, column and path.
package yamlfile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Finding is one fault in a file. It carries no secrets; what it repeats of the
// file is clipped.
type Finding struct {
	Code       string `json:"code"` // stable, dotted: "yaml.unknown_key"
	File       string `json:"file"`
	Line       int    `json:"line"`   // from 1
	Column     int    `json:"column"` // from 1
	Path       string `json:"path"`   // "/fields/status/map"; "" is the document
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"` // what to do, or ""
}

// Error is one line: file:line:column: code: path: message (suggestion).
func (f Finding) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s: ", f.File, f.Line, f.Column, f.Code)
	if f.Path != "" {
		s += f.Path + ": "
	}
	s += f.Message
	if f.Suggestion != "" {
		s += " (" + f.Suggestion + ")"
	}
	return s
}

// Sort orders findings by file and position and drops repetitions.
func Sort(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(findings)
}

// Err joins findings into one error, nil if there are none.
func Err(findings []Finding) error {
	errs := make([]error, len(findings))
	for i, f := range findings {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// DidYouMean returns `did you mean "x"?` for the known word nearest to word, or
// what lists the known words if there are few, or "".
func DidYouMean(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(strings.ToLower(clip(word)), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) > 0 && len(known) <= 12:
		return "known: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
	}
	return ""
}

// distance is the Damerau-Levenshtein distance (adjacent letters may swap) over
// bytes, which is near enough for a hint.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

func clip(s string) string {
	const bytesMax = 80
	if len(s) > bytesMax {
		return strings.ToValidUTF8(s[:bytesMax], "") + "..."
	}
	return s
}
