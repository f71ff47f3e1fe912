package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/sandbox"
	"github.com/entente-sync/entente/crdt/value"
)

const (
	waitMax = 60 * time.Second
	token   = "token-of-the-account"

	hubText = `apiVersion: entente/v1
kind: Hub
dir: hub
tls: {cert: certs/n1.crt, key: certs/n1.key, ca: certs/ca.crt}
listen: {agents: "127.0.0.1:0"}
pacts: [%s/pact.yaml]
`
	agentText = `apiVersion: entente/v1
kind: Agent
metadata: {site: %[1]s, name: main}
dir: %[1]s
hub:
  addresses: ["%[2]s"]
  tls: {cert: certs/%[1]s-main.crt, key: certs/%[1]s-main.key, ca: certs/ca.crt}
pacts: [%[3]s/pact.yaml]
bindings: [%[3]s/%[1]s.yaml]
systems:
  %[4]s: {connector: sandbox, url: "%[5]s", credential: {file: token}, poll: 50ms}
`
)

// TestFromFiles runs a hub and two agents as administrators do: certificates
// and configuration files, one command each. An agent that was away catches up.
func TestFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared, err := filepath.Abs("../dev/files")
	if err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(dir, "certs")
	for _, words := range [][]string{{"init"}, {"node", "n1", "127.0.0.1"}, {"agent", "acme", "main"}, {"agent", "globex", "main"}} {
		if code := Run(t.Context(), append([]string{"cert", "--dir", certs}, words...), quiet()); code != ExitDone {
			t.Fatalf("cert %v: exit code %d", words, code)
		}
	}
	write(t, filepath.Join(dir, "token"), token+"\n")
	write(t, filepath.Join(dir, "hub.yaml"), fmt.Sprintf(hubText, shared))

	log, lines := io.Pipe()
	start(t, Streams{Out: io.Discard, Err: lines}, "hub", "run", "-f", filepath.Join(dir, "hub.yaml"), "--log-format", "json")
	address := hubAddress(t, log)

	tracker, desk := system(t, sandbox.Tracker()), system(t, sandbox.Desk())
	for site, s := range map[string]*ticketSystem{"acme": tracker, "globex": desk} {
		write(t, filepath.Join(dir, site+".yaml"), fmt.Sprintf(agentText, site, address, shared, s.name, s.url))
	}
	stopAcme := start(t, quiet(), "agent", "run", "-f", filepath.Join(dir, "acme.yaml"))
	start(t, quiet(), "agent", "run", "-f", filepath.Join(dir, "globex.yaml"))

	first := tracker.Seed("ana@acme.example", fields("title", "from the tracker"))
	eventually(t, "a ticket at the desk", func() bool { return desk.shows("subject", "from the tracker", 1) })
	for _, site := range []string{"acme", "globex"} {
		eventually(t, site+" to be ready", func() bool {
			st, err := admin.NewClient(filepath.Join(dir, site, "admin.sock")).Status(t.Context())
			return err == nil && st.Ready && st.Systems[0].Linked == 1
		})
	}

	stopAcme()
	if err := tracker.System().Edit("ana@acme.example", first, fields("status", "Closed"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	desk.Seed("kim@globex.example", fields("subject", "from the desk"))
	start(t, quiet(), "agent", "run", "-f", filepath.Join(dir, "acme.yaml"))
	eventually(t, "what happened meanwhile", func() bool {
		return tracker.shows("title", "from the desk", 2) && desk.shows("status", "closed", 2)
	})
	for _, s := range []*ticketSystem{tracker, desk} {
		if vain := s.System().Counts().Vain; len(vain) > 0 {
			t.Errorf("%s: writes that changed nothing: %v", s.name, vain)
		}
	}
}

// start runs a command until the test or stop ends it, which must be graceful.
func start(t *testing.T, streams Streams, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- Run(ctx, args, streams) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if code := <-done; code != ExitDone {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	t.Cleanup(stop)
	return stop
}

func quiet() Streams { return Streams{Out: io.Discard, Err: io.Discard} }

// hubAddress reads where the hub listens from its log, and goes on reading.
func hubAddress(t *testing.T, log io.Reader) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Msg, Agents string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "hub node runs" {
				found <- line.Agents
			}
		}
	}()
	select {
	case address := <-found:
		return address
	case <-time.After(waitMax):
		t.Fatal("the hub does not run")
		return ""
	}
}

type ticketSystem struct {
	*sandbox.Server
	name, url string
}

func system(t *testing.T, v sandbox.Vocabulary) *ticketSystem {
	s := sandbox.New(sandbox.Config{Company: v.Name, Vocabulary: v, Token: connectors.NewSecret(token)})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &ticketSystem{s, v.Name, server.URL}
}

// shows reports whether one of its n tickets has that text in a field.
func (s *ticketSystem) shows(field, text string, n int) bool {
	keys := s.System().Keys()
	found := false
	for _, k := range keys {
		r, _ := s.System().Get(k)
		found = found || r.Fields[field].Equal(value.Text(text))
	}
	return found && len(keys) == n
}

func fields(name, text string) map[string]value.Value {
	return map[string]value.Value{name: value.Text(text)}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitMax); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, waitMax)
		}
	}
}
