package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/load/client"
	"github.com/entente-sync/entente/bench/report"
)

// TestSmall runs every part over real processes, small: the figures mean
// nothing, and every register holds what it must.
func TestSmall(t *testing.T) {
	dir := t.TempDir()
	doc, figures := filepath.Join(dir, "doc.md"), filepath.Join(dir, "figures.json")
	if err := os.WriteFile(doc, []byte("before\n<!-- load -->\nold\n<!-- end load -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), setupMax)
	defer cancel()
	err = run(ctx, []string{
		"-dir", dir, "-rounds", "1", "-registers", "2000", "-window", "100ms", "-warm-up", "100ms", "-checkpoint", "200ms",
		"-parts", strings.TrimPrefix(allParts, "core,"), "-scale", "3000", "-json", figures, "-markdown", doc,
	}, out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	var r report.Run
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"ceiling", "fill", "merged", "p99 at half of maximum, follower", "catch-up of a newcomer", "burst to 100 subscribers",
		"restart after kill -9 until ready", "restore, from the file to disk and memory", "merged, 3000 registers",
	} {
		if f := r.Figure(name); f == nil || f.Median <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if text, err = os.ReadFile(doc); err != nil {
		t.Fatal(err)
	}
	if got := string(text); !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "after\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "| merged ") {
		t.Errorf("the page became\n%s", got)
	}
	left, err := filepath.Glob(filepath.Join(dir, "entente-load-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A window lasts until everybody has got something, however slow the load is.
func TestWindowLastsUntilSomethingArrived(t *testing.T) {
	var early, late client.Latencies
	early.Add(time.Millisecond)
	go func() {
		time.Sleep(50 * time.Millisecond)
		late.Add(time.Millisecond)
	}()
	if err := gather(t.Context(), time.Millisecond, &early, &late); err != nil || late.Count() == 0 {
		t.Errorf("%v, %d samples", err, late.Count())
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := gather(ended, 0, &client.Latencies{}); err == nil {
		t.Error("nothing arrived, and nobody says so")
	}
}
