package hub_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
)

var updateMetrics = flag.Bool("update-metrics", false, "rewrite docs/metrics.md")

// described maps each metric of a node to its row of the page.
func described(t *testing.T) map[string]string {
	t.Helper()
	rows := map[string]string{}
	c := hubtest.Start(t, 1, tickets(), nil)
	for _, collector := range hub.Collectors(c.Leader().Hub()) {
		describe(rows, collector)
	}
	return rows
}

var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "([^"]*)", unit: "[^"]*", constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

func describe(rows map[string]string, c prometheus.Collector) {
	descs := make(chan *prometheus.Desc)
	go func() { defer close(descs); c.Describe(descs) }()
	for d := range descs {
		m := descText.FindStringSubmatch(d.String())
		labels := regexp.MustCompile(`="[^"]*"`).ReplaceAllString(m[3], "")
		if labels != "" && m[4] != "" {
			labels += ","
		}
		rows[m[1]] = fmt.Sprintf("| `%s` | %s | %s |", m[1], strings.ReplaceAll(labels+m[4], ",", ", "), m[2])
	}
}

// The page lists what a node serves, each with its sentence.
func TestMetricsPage(t *testing.T) {
	rows := described(t)
	var b strings.Builder
	b.WriteString("# Metrics of a hub node\n\nGenerated from the code (`go test ./hub -run TestMetricsPage -update-metrics`); a test compares. Labels come from bounded sets.\n\n| metric | labels | what it says |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		b.WriteString(rows[name] + "\n")
	}
	page := filepath.Join("..", "docs", "metrics.md")
	if *updateMetrics {
		if err := os.WriteFile(page, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != b.String() {
		t.Errorf("docs/metrics.md is not what the code says (%v): run the command in its first line", err)
	}
	rules, err := os.ReadFile(filepath.Join("..", "deploy", "prometheus", "entente-hub.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`entente_[a-z_]+`).FindAllString(string(rules), -1) {
		if base := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, ""); rows[base] == "" {
			t.Errorf("a rule uses %s, which no node serves", name)
		}
	}
	runbooks, err := os.ReadFile(filepath.Join("..", "docs", "runbooks-hub.md"))
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	for _, a := range alerts {
		if !strings.Contains(string(runbooks), "\n## "+a[1]+"\n") {
			t.Errorf("alert %s has no runbook", a[1])
		}
		if !strings.Contains(string(rules), "runbooks-hub.md#"+strings.ToLower(a[1])) {
			t.Errorf("alert %s does not name its runbook", a[1])
		}
	}
	if n := strings.Count(string(rules), "next: "); n != len(alerts) || n == 0 {
		t.Errorf("%d alerts, %d next steps", len(alerts), n)
	}
}
