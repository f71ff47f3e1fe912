// Package promrules reads the alert rules as Prometheus does. It is a module of
// its own, so that Prometheus' parser does not come with the product.
package promrules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// Every rule file is one that Prometheus takes, every expression is PromQL, and
// asks only for metrics that docs/metrics.md lists, with labels that they have.
func TestRules(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "deploy", "prometheus", "*.rules.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rule files: %v", err)
	}
	served := page(t)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range check(text, served) {
			t.Errorf("%s: %s", filepath.Base(file), problem)
		}
	}
}

// What is wrong in a rule is found, and where.
func TestBadRules(t *testing.T) {
	served := map[string]metric{
		"entente_lag_seconds":             {labels: []string{"pact"}},
		"entente_hub_fsync_seconds":       {},
		"entente_hub_fsync_seconds_total": {},
	}
	for expr, want := range map[string]string{
		`max by (pact) (entente_lag_seconds) > 1`:                                          "",
		`histogram_quantile(0.9, rate(entente_hub_fsync_seconds_bucket{job="a"}[1m])) > 1`: "",
		`max by (pact (entente_lag_seconds) > 1`:                                           "could not parse expression",
		`rate(entente_lag_seconds) > 1`:                                                    "expected type range vector",
		`maximum(entente_lag_seconds) > 1`:                                                 "unknown function",
		`entente_lag_second > 1`:                                                           "entente_lag_second is not in docs/metrics.md",
		`entente_lag_seconds{site="acme"} > 1`:                                             "entente_lag_seconds has no label site",
		`sum by (site) (entente_lag_seconds) > 1`:                                          "no metric of it has the label site",
		`vector(1) > 2`: "asks for no metric",
	} {
		rules := "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '" + expr + "'\n"
		problems := check([]byte(rules), served)
		if got := strings.Join(problems, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
	if problems := check([]byte("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    when: 1m\n"), served); len(problems) == 0 {
		t.Error("an unknown key is taken")
	}
}

// metric is one row of docs/metrics.md.
type metric struct{ labels []string }

var row = regexp.MustCompile("(?m)^\\| `(entente_[a-z_]+)` \\| ([a-z_, ]*) \\|")

// page reads docs/metrics.md.
func page(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]metric{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		served[m[1]] = metric{strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })}
	}
	if len(served) < 20 {
		t.Fatalf("docs/metrics.md has %d metrics that could be read", len(served))
	}
	return served
}
