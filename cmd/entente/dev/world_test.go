package dev

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run opens a world of its own and lets it work until the test ends.
func run(t *testing.T, poll time.Duration) *World {
	t.Helper()
	w, err := Open(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "state"), Sockets: sockets(t), Poll: poll})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		began := time.Now()
		stop()
		if err := errors.Join(<-done, w.Close()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %s, want less than 5 s", took)
		}
	})
	return w
}

// sockets is a directory whose path is short, whatever the test is called.
func sockets(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	report := run(t, 0).Check(t.Context())
	if !report.OK {
		b, _ := json.MarshalIndent(report, "", "  ")
		t.Fatalf("%s", b)
	}
	for _, s := range report.Steps {
		t.Logf("%5d ms  %s: %s", s.Millis, s.Name, s.Detail)
	}
}

// Without agents nothing crosses, and the report says what is missing.
func TestCheckFindsAnAgentThatIsDown(t *testing.T) {
	t.Parallel()
	w, err := Open(t.Context(), Config{Sockets: sockets(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	report := w.Check(ctx) // nobody called Run
	if report.OK || len(report.Steps) != 1 || !strings.Contains(report.Steps[0].Detail, "has 10 tickets, want 20") {
		t.Errorf("report %+v", report)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

func TestMetricsAndHealth(t *testing.T) {
	t.Parallel()
	w := run(t, 0)
	c := &checker{world: w, users: []*user{newUser(w.Sides[0]), newUser(w.Sides[1])}, gone: map[string]pair{}}
	ctx, cancel := context.WithTimeout(t.Context(), stepMax)
	defer cancel()
	if _, err := c.backfill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.idle(ctx); err != nil {
		t.Fatal(err)
	}
	metrics := get(t, w.Metrics)
	for _, want := range []string{`entente_agent_linked_records{site="acme",system="tracker"} 20`, `site="globex"`, "entente_hub_raft_is_leader 1"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	base := strings.TrimSuffix(w.Metrics, "/metrics")
	for _, path := range []string{"/hub/healthz", "/hub/readyz", "/acme/healthz", "/acme/readyz", "/globex/readyz"} {
		if got := get(t, base+path); got != "ok\n" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: full, Sockets: sockets(t)}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a directory with a file: %v", err)
	}
	w := run(t, 0)
	c := &checker{world: w}
	ctx, cancel := context.WithTimeout(t.Context(), stepMax)
	defer cancel()
	if err := c.until(ctx, func() string {
		if _, err := w.Sides[1].Admin().Status(ctx); err != nil {
			return err.Error()
		}
		return ""
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Sockets: w.cfg.Sockets}); !errors.Is(err, ErrRunning) {
		t.Errorf("the same sockets: %v", err)
	}
}

func TestCrossedFindsMistakes(t *testing.T) {
	t.Parallel()
	person := func(name, body string, internal bool) comment {
		c := comment{Body: body, Internal: internal}
		c.Author.Name = name
		return c
	}
	from := ticket{Comments: []comment{person(ana, "hello", false), person(ana, "secret", true)}}
	good := person(syncAccount, ana+" (acme):\n\nhello", false)
	for name, c := range map[string]struct {
		there []comment
		want  string
	}{
		"good":       {[]comment{person(kim, "own", false), good}, ""},
		"missing":    {nil, "shown 0 times"},
		"twice":      {[]comment{good, good}, "shown 2 times"},
		"no byline":  {[]comment{person(syncAccount, "hello", false)}, "byline"},
		"wrong name": {[]comment{person(syncAccount, "ben (acme):\n\nhello", false)}, "byline"},
		"internal":   {[]comment{good, person(syncAccount, "ana:\n\nsecret", false)}, "internal"},
		"extra":      {[]comment{good, person(syncAccount, "ana:\n\nother", false)}, "2 comments for 1"},
	} {
		if got := crossed(from, ticket{Comments: c.there}); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestOutOfStepFindsMistakes(t *testing.T) {
	t.Parallel()
	here := ticket{Key: "1", Fields: map[string]text{"title": "t", "status": "New", "priority": "Low"}}
	twin := ticket{Key: "7", Fields: map[string]text{"subject": "t", "status": "open", "priority": "4"}}
	other := ticket{Key: "8", Fields: map[string]text{"subject": "t", "status": "solved", "priority": "4"}}
	deleted := ticket{Key: "9", Fields: twin.Fields, Deleted: true}
	for name, c := range map[string]struct {
		there []ticket
		want  string
	}{
		"good":     {[]ticket{twin, deleted}, ""},
		"no twin":  {[]ticket{deleted}, "Globex has no ticket"},
		"twice":    {[]ticket{twin, other}, "twice"},
		"differs":  {[]ticket{other}, `status: "new" at Acme, "resolved" at Globex`},
		"unmapped": {[]ticket{{Key: "7", Fields: map[string]text{"subject": "t", "status": "odd", "priority": "4"}}}, "unmapped: odd"},
	} {
		w := &World{Sides: []*Side{{company: acme()}, {company: globex()}}}
		k := &checker{world: w, users: []*user{{shown: map[string]ticket{"1": here}}, {shown: map[string]ticket{}}}}
		for _, there := range c.there {
			k.users[1].shown[there.Key] = there
		}
		if got := k.outOfStep(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
