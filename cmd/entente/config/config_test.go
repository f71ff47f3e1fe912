package config_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

var update = flag.Bool("update", false, "rewrite the findings in testdata")

// canary is every credential of the examples.
const canary = "canary-4711"

// runtime knows one connector, which refuses one address.
func runtime() config.Runtime {
	spec := memory.New(memory.Config{}).Spec()
	open := spec.Open
	spec.Open = func(s connectors.Settings) (connectors.Connector, error) {
		if s.URL == "refuse" {
			return nil, fmt.Errorf("%v: %+v and %#v do not fit", s.URL, s.Credential, s.Credential)
		}
		return open(s)
	}
	return config.Runtime{
		Specs: map[string]connectors.Spec{spec.Name: spec},
		Log:   slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Software: "test",
	}
}

// unpack makes the files of an example the current directory, with a hub's
// certificates in certs.
func unpack(t *testing.T, a *txtar.Archive) {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, content []byte) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range a.Files {
		put(f.Name, f.Data)
	}
	ca, err := authority.New("test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	put("certs/ca.crt", ca.CertPEM())
	for name, id := range map[string]identity.Identity{
		"agent": identity.Agent{Site: "acme", Name: "main"},
		"node":  identity.Node{Hub: strings.Repeat("a", 32), Name: "n1"},
	} {
		pair, err := ca.Issue(id, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		put("certs/"+name+".crt", pair.CertPEM)
		put("certs/"+name+".key", pair.KeyPEM)
	}
	t.Chdir(dir)
}

// TestFindings loads each example and compares what is found with what stands
// under "findings" in it: file, line, column, code, path, and what to do.
func TestFindings(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		path, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if n := len(a.Files) - 1; a.Files[n].Name == "findings" {
				want = string(a.Files[n].Data)
				a.Files = a.Files[:n]
			}
			unpack(t, a)
			got := load(t)
			if strings.Contains(got, canary) {
				t.Errorf("a secret shows:\n%s", got)
			}
			if *update {
				a.Files = append(a.Files, txtar.File{Name: "findings", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("found\n%swant\n%s", got, want)
			}
		})
	}
}

// load reads the example in the current directory and returns its findings.
func load(t *testing.T) string {
	t.Helper()
	var err error
	if _, missing := os.Stat("agent.yaml"); missing == nil {
		_, err = config.LoadAgent("agent.yaml", runtime())
	} else {
		_, err = config.LoadHub("hub.yaml", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	}
	if err == nil {
		return ""
	}
	if !errors.Is(err, config.ErrInvalid) {
		t.Errorf("not marked as a mistake in a file: %v", err)
	}
	return err.Error() + "\n"
}

func example(t *testing.T, name string) {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	unpack(t, a)
}

func TestLoadAgent(t *testing.T) {
	example(t, "agent-good")
	rt := runtime()
	var given connectors.Settings
	spec := rt.Specs["memory"]
	open := spec.Open
	spec.Open = func(s connectors.Settings) (connectors.Connector, error) {
		given = s
		return open(s)
	}
	rt.Specs["memory"] = spec
	a, err := config.LoadAgent("agent.yaml", rt)
	if err != nil {
		t.Fatal(err)
	}
	c := a.Config
	if c.Site != "acme" || c.Name != "main" || c.Dir != "store" || c.Admin != "store/admin.sock" || a.Metrics != "127.0.0.1:9000" ||
		len(c.Hub) != 2 || len(c.Pacts) != 1 || c.Dial == nil || c.Software != "test" {
		t.Errorf("loaded %+v", c)
	}
	s := c.Systems[0]
	if s.Name != "desk" || s.Poll != 3*time.Second || s.Binding.Name() != "desk" || !s.Capabilities.History {
		t.Errorf("system %+v", s)
	}
	if given.Name != "desk" || given.URL != "http://127.0.0.1:1" || given.Credential.Reveal() != canary || given.Options["b"] != "c" {
		t.Errorf("the connector was given %+v", given)
	}
	if text := fmt.Sprintf("%+v %#v", given, given); strings.Contains(text, canary) {
		t.Error("the settings show the credential")
	}
	conn, err := c.Dial(c.Hub[0])
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestLoadHub(t *testing.T) {
	example(t, "hub-good")
	h, err := config.LoadHub("hub.yaml", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c := h.Config
	if c.Dir != "store" || len(c.Peers) != 2 || c.Peers[1].Node != "n2" || c.Peers[1].Nodes != "b:2" || c.Limits.OpsPerSecond != 100 || c.TLS == nil {
		t.Errorf("loaded %+v", c)
	}
	if c.Timing.Heartbeat != time.Second || c.Timing.Message != 5*time.Second || c.Timing.Audit != 30*time.Second || c.Timing.Scrub != 6*time.Hour ||
		c.Timing.Checkpoint != 10*time.Second || c.Timing.FeedBeat != 5*time.Second || c.Timing.Drain != 2*time.Second ||
		c.Sizes.Checkpoint != 1<<20 || c.Sizes.Trailing != 2<<20 || c.Sizes.Segment != 4<<20 || c.Sizes.MemTable != 8<<20 {
		t.Errorf("loaded %+v, %+v", c.Timing, c.Sizes)
	}
	if want := (hub.Limits{
		OpsPerSecond: 100, BytesPerSecond: 1 << 20, PactOpsPerSecond: 300, PactBytesPerSecond: 2 << 20, QueueBytes: 4 << 20, PactQueueBytes: 3 << 20,
	}); c.Limits != want {
		t.Errorf("loaded %+v", c.Limits)
	}
	if err := h.Listen(); err != nil {
		t.Fatal(err)
	}
	taken := *h
	taken.Agents = h.Config.Agents.Addr().String()
	if err := taken.Listen(); err == nil || !strings.Contains(err.Error(), "listen for agents") {
		t.Errorf("a taken address: %v", err)
	}
	taken.Agents, taken.Nodes = "127.0.0.1:0", h.Config.Nodes.Addr().String()
	if err := taken.Listen(); err == nil || !strings.Contains(err.Error(), "listen for nodes") {
		t.Errorf("a taken address: %v", err)
	}
	if err := errors.Join(h.Config.Agents.Close(), h.Config.Nodes.Close()); err != nil {
		t.Error(err)
	}
}

func TestMissingFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := config.LoadAgent("agent.yaml", runtime()); !errors.Is(err, config.ErrInvalid) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir("agent.yaml", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := config.LoadAgent("agent.yaml", runtime()); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("a directory: %v", err)
	}
}
