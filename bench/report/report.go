// Package report holds the figures of a measurement in rounds, and says them as
// tables and JSON: medians, with the spread of the rounds beside them.
package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// Figure is one measure, once for each round.
type Figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Rounds []float64 `json:"rounds"`
	Median float64   `json:"median"`
	// Spread is how far the farthest round is from the median, as a share of it.
	Spread float64 `json:"spread"`
}

// Run is one measurement.
type Run struct {
	What       string    `json:"what"`
	Machine    Machine   `json:"machine"`
	Durability string    `json:"durability"` // what had to be on which disks before an ack
	Settings   any       `json:"settings"`
	Figures    []*Figure `json:"figures"`
	// Notes tell what was not measured, and why.
	Notes []string `json:"notes,omitempty"`
}

// Add appends one round's value of a figure.
func (r *Run) Add(name, unit string, value float64) {
	f := r.Figure(name)
	if f == nil {
		f = &Figure{Name: name, Unit: unit}
		r.Figures = append(r.Figures, f)
	}
	f.Rounds = append(f.Rounds, value)
	f.Median, f.Spread = summary(f.Rounds)
}

// Merge adds everything that another run measured.
func (r *Run) Merge(other *Run) {
	for _, f := range other.Figures {
		for _, v := range f.Rounds {
			r.Add(f.Name, f.Unit, v)
		}
	}
	for _, note := range other.Notes {
		r.Note("%s", note)
	}
}

// Figure returns the figure of that name, or nil.
func (r *Run) Figure(name string) *Figure {
	for _, f := range r.Figures {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Note adds a note once.
func (r *Run) Note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, note) {
		r.Notes = append(r.Notes, note)
	}
}

func summary(rounds []float64) (median, spread float64) {
	sorted := slices.Sorted(slices.Values(rounds))
	n := len(sorted)
	median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	if median == 0 {
		return 0, 0
	}
	return median, max(median-sorted[0], sorted[n-1]-median) / math.Abs(median)
}

// WriteJSON writes the run to file.
func (r *Run) WriteJSON(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// Table returns rows as a Markdown table; the first row is its head.
func Table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	line := func(row []string, pad string) {
		for i, width := range widths {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			b.WriteString("| " + cell + strings.Repeat(pad, width-len([]rune(cell))) + " ")
		}
		b.WriteString("|\n")
	}
	line(rows[0], " ")
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	line(rule, "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
	return b.String()
}

// Short says a value with three digits or so, and k or M.
func Short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 999_500:
		return digits(v/1e6) + " M"
	case a >= 9_995:
		return digits(v/1e3) + " k"
	default:
		return digits(v)
	}
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95 || v == math.Trunc(v) && a >= 1:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// String says the median with its unit.
func (f *Figure) String() string { return Short(f.Median) + " " + f.Unit }

// Around says the spread, "± 7 %"; nothing of a single round.
func (f *Figure) Around() string {
	if len(f.Rounds) < 2 {
		return "one round"
	}
	return fmt.Sprintf("± %.0f %%", 100*f.Spread)
}

// Insert puts text between the lines <!-- name --> and <!-- end name --> of a
// Markdown file, which must be there.
func Insert(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end "+name+" -->\n"
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", file, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(file, []byte(before+begin+"\n"+strings.TrimSpace(text)+"\n\n"+end+after), 0o644)
}
