package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const (
		pass  = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
		skip  = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: no system\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}` + "\n"
		fail  = `{"Action":"output","Package":"p","Test":"TestC","Output":"broken\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestC"}` + "\n"
		build = `{"Action":"build-output","ImportPath":"p","Output":"syntax error\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"p"}` + "\n"
		quiet = `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}` + "\n"
		empty = `{"Action":"skip","Package":"q"}` + "\n" // a package without tests
	)
	for name, c := range map[string]struct {
		in             string
		lenient        bool
		strict         bool
		says, keepsOff string
	}{
		"pass":     {quiet + pass + empty, true, true, "1 passed, 0 failed, 0 skipped", "chatter"},
		"skip":     {pass + skip, true, false, "SKIPPED p TestB: b_test.go:3: no system", "chatter"},
		"fail":     {pass + fail, false, false, "broken", "chatter"},
		"build":    {pass + build, false, false, "syntax error", "chatter"},
		"crash":    {`{"Action":"output","Package":"p","Test":"TestD","Output":"goroutine 1"}` + "\n" + fail, false, false, "goroutine 1", "chatter"},
		"nothing":  {"", false, false, "0 passed", "chatter"},
		"not JSON": {"go: no module\n", false, false, "go: no module", "chatter"},
	} {
		var out strings.Builder
		s, err := summarize(strings.NewReader(c.in), &out)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.ok(false) != c.lenient || s.ok(true) != c.strict {
			t.Errorf("%s: ok %v, strict %v", name, s.ok(false), s.ok(true))
		}
		if !strings.Contains(out.String(), c.says) || strings.Contains(out.String(), c.keepsOff) {
			t.Errorf("%s: printed %q", name, out.String())
		}
	}
}
