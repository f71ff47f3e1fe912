package report_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entente-sync/entente/bench/report"
)

func TestMedianAndSpread(t *testing.T) {
	var r report.Run
	for _, v := range []float64{100, 90, 130} {
		r.Add("x", "ops/s", v)
	}
	r.Add("y", "ms", 2)
	r.Add("y", "ms", 4)
	x, y := r.Figure("x"), r.Figure("y")
	if x.Median != 100 || x.Spread != 0.3 || y.Median != 3 || len(r.Figures) != 2 || r.Figure("z") != nil {
		t.Errorf("%+v, %+v", x, y)
	}
	if got := x.String() + " " + x.Around(); got != "100 ops/s ± 30 %" {
		t.Error(got)
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{
		0.004: "0.00", 1: "1", 1.234: "1.23", 12.34: "12.3", 99.96: "100", 1234: "1234", 9999: "10.0 k", 12_340: "12.3 k",
		555_555: "556 k", 999_600: "1.00 M", 1_080_000: "1.08 M",
	} {
		if got := report.Short(v); got != want {
			t.Errorf("%v is said as %q, want %q", v, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	got := report.Table([][]string{{"what", "µ"}, {"a", "10.00"}, {"long one"}})
	want := "| what     | µ     |\n| -------- | ----- |\n| a        | 10.00 |\n| long one |       |\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestInsert(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.md")
	if err := os.WriteFile(file, []byte("a\n<!-- load -->\n<!-- end load -->\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again: the same
		if err := report.Insert(file, "load", "| t |\n"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "a\n<!-- load -->\n\n| t |\n\n<!-- end load -->\nb\n" {
		t.Errorf("%q, %v", text, err)
	}
	if report.Insert(file, "peers", "x") == nil {
		t.Error("a page without the place is accepted")
	}
}
