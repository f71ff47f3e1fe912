package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entente-sync/entente/bench/report"
)

func TestTable(t *testing.T) {
	load, peers := &report.Run{}, &report.Run{}
	load.Add("ceiling", "ops/s", 400)
	load.Add("merged", "ops/s", 100)
	load.Add("p99 at 1 k ops/s, leader", "ms", 1.5)
	load.Add("restart after kill -9 until ready", "s", 3.1)
	peers.Add("ours, batches of 256", "ops/s", 100)
	peers.Add("etcd, put", "ops/s", 5)
	peers.Add("etcd, transactions", "ops/s", 20)
	got := map[string]string{}
	for line := range strings.Lines(Table(load, peers)) {
		cells := strings.Split(line, "|")
		got[strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[5]) + " " + strings.TrimSpace(cells[6])
	}
	for what, want := range map[string]string{
		"merged ops/s, 256-op batches, 4 publishers, 1 subscriber, 1 M registers": "0.25 gate",
		"ratio to etcd's best":                            "5 gate",
		"publish to subscriber, p99 at 1 k ops/s, leader": "1.50 goal",
		"restart to serving, 1 M registers":               "3.10 **missed**",
		"ratio to PostgreSQL with standby":                " not measured",
	} {
		if got[what] != want {
			t.Errorf("%s: %q, want %q", what, got[what], want)
		}
	}
}

func TestPage(t *testing.T) {
	dir := t.TempDir()
	page, load := filepath.Join(dir, "p.md"), filepath.Join(dir, "load.json")
	if err := os.WriteFile(page, []byte("<!-- goals -->\n<!-- end goals -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &report.Run{}
	r.Add("restart after kill -9 until ready", "s", 0.5)
	if err := r.WriteJSON(load); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{load, filepath.Join(dir, "none.json"), page}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "| 0.50 ") {
		t.Errorf("%v\n%s", err, text)
	}
	if run(nil) == nil {
		t.Error("no arguments are accepted")
	}
}
