package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of go test -json (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
	Elapsed    float64
}

type summary struct {
	passed, failed int
	skipped        []string
}

// ok reports whether the run counts as passed; strict ones bear no skip. A run
// of no test at all is a failure.
func (s *summary) ok(strict bool) bool {
	return s.failed == 0 && s.passed > 0 && (!strict || len(s.skipped) == 0)
}

// summarize prints as it reads. Output is held back until its test has ended.
func summarize(r io.Reader, w io.Writer) (*summary, error) {
	s := &summary{}
	held := map[string]*strings.Builder{} // by package and test
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(w, lines.Text()) // of the go command itself
			continue
		}
		s.add(e, held, w)
	}
	if s.failed > 0 { // what a crash cut short
		for _, key := range slices.Sorted(maps.Keys(held)) {
			fmt.Fprint(w, held[key])
		}
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
	for _, line := range s.skipped {
		fmt.Fprintln(w, "SKIPPED", line)
	}
	return s, lines.Err()
}

func (s *summary) add(e event, held map[string]*strings.Builder, w io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if held[key] == nil {
			held[key] = &strings.Builder{}
		}
		held[key].WriteString(e.Output)
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "build-fail":
		s.failed++
	case "pass", "fail", "skip":
		text := ""
		if b := held[key]; b != nil {
			text = b.String()
		}
		delete(held, key)
		s.ended(e, text, w)
	}
}

func (s *summary) ended(e event, text string, w io.Writer) {
	switch {
	case e.Action == "fail":
		s.failed++
		fmt.Fprint(w, text)
		if e.Test == "" {
			fmt.Fprintf(w, "FAIL %s %.1fs\n", e.Package, e.Elapsed)
		}
	case e.Test == "" && e.Action == "pass":
		fmt.Fprintf(w, "ok   %s %.1fs\n", e.Package, e.Elapsed)
	case e.Test != "" && e.Action == "pass":
		s.passed++
	case e.Test != "" && e.Action == "skip":
		s.skipped = append(s.skipped, e.Package+" "+e.Test+": "+reason(text))
	}
}

// reason is what a skipped test said, in one line.
func reason(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}
