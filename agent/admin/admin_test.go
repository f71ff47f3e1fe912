package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/proto/adminhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type agent struct {
	status   admin.Status
	holds    []admin.Hold
	released []admin.Release
	polls    int

	conflicts []admin.Conflict
	err       error
}

func (a *agent) Status() (admin.Status, error) { return a.status, a.err }
func (a *agent) Holds() ([]admin.Hold, error)  { return a.holds, a.err }
func (a *agent) Poll()                         { a.polls++ }

func (a *agent) Release(r admin.Release) error {
	a.released = append(a.released, r)
	return a.err
}

func (a *agent) Conflicts(admin.ConflictsAsked) ([]admin.Conflict, error) { return a.conflicts, a.err }

func (a *agent) Restore(r admin.Restore) (admin.Restoration, error) {
	return admin.Restoration{Record: r.Record, Field: r.Field}, a.err
}

func (a *agent) Causes() ([]admin.Cause, error) { return nil, a.err }

func (a *agent) HoldsOf(admin.HoldsPicked) ([]admin.Hold, error) { return a.holds, a.err }

func (a *agent) HandleHolds(admin.HoldVerb) (admin.HoldsHandled, error) {
	return admin.HoldsHandled{}, a.err
}

func (a *agent) Jobs() ([]admin.Job, error) { return nil, a.err }

func (a *agent) StartJob(admin.JobStart) ([]admin.Job, error) { return nil, a.err }

func (a *agent) TellJob(admin.JobTell) ([]admin.Job, error) { return nil, a.err }

// socket returns a path that is short enough whatever the test is called.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "adm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "sub", "admin.sock")
}

// serve runs a server until the test ends, and waits until it answers.
func serve(t *testing.T, path string, a admin.Agent) *admin.Client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- admin.Serve(ctx, path, a) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return admin.NewClient(path)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nobody answers at the socket")
	return nil
}

func TestRoundTrip(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	a := &agent{
		status: admin.Status{
			Site: "acme", Agent: "main", Incarnation: 3, Software: "x", Problems: []string{"p"}, Holds: 1,
			Hub:     admin.HubStatus{Connected: true, Address: "h:1", ID: "aa", Epoch: "1", Problem: "q"},
			Pacts:   []admin.PactStatus{{Pact: "helpdesk", Version: 2, Refused: "r", Cursor: 3, Head: 4, Outbox: 5}},
			Systems: []admin.SystemStatus{{System: "desk", Pact: "helpdesk", Listed: &at, Linked: 1, Reads: 2, Intents: 3, InDoubt: 4}},
		},
		holds: []admin.Hold{{System: "desk", Pact: "helpdesk", Record: "00", Key: "7", Field: "status", Code: "value.unmapped", Message: "m", Since: at, Keep: true}},
	}
	path := socket(t)
	c := serve(t, path, a)
	status, err := c.Status(t.Context())
	if err != nil || !reflect.DeepEqual(status, a.status) {
		t.Errorf("status %+v, %v, want %+v", status, err, a.status)
	}
	holds, err := c.Holds(t.Context())
	if err != nil || !reflect.DeepEqual(holds, a.holds) {
		t.Errorf("holds %+v, %v", holds, err)
	}
	release := admin.Release{System: "desk", Record: "00", Field: "status"}
	if err := c.Release(t.Context(), release); err != nil || len(a.released) != 1 || a.released[0] != release {
		t.Errorf("released %+v, %v", a.released, err)
	}
	if err := c.Poll(t.Context()); err != nil || a.polls != 1 {
		t.Errorf("%d polls, %v", a.polls, err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v, want %o", filepath.Base(name), info.Mode(), err, want)
		}
	}
}

func TestErrorsReachTheCaller(t *testing.T) {
	a := &agent{err: fmt.Errorf("%w: no system %q", admin.ErrInvalid, "desk")}
	c := serve(t, socket(t), a)
	if err := c.Release(t.Context(), admin.Release{}); err == nil || err.Error() != `admin: admin.invalid: invalid request: no system "desk"` {
		t.Errorf("got %v", err)
	}
	a.err = errors.New("no space left")
	if _, err := c.Status(t.Context()); err == nil || err.Error() != "admin: admin.failed: no space left" {
		t.Errorf("got %v", err)
	}
}

func TestRequests(t *testing.T) {
	for name, c := range map[string]struct {
		method, path, body string
		code               int
		want               string
	}{
		"no holds":      {"GET", "/v1/holds", "", 200, "[]\n"},
		"poll":          {"POST", "/v1/poll", "", 204, ""},
		"release":       {"POST", "/v1/holds/release", `{"system":"a","record":"b"}`, 204, ""},
		"empty body":    {"POST", "/v1/holds/release", "", 400, "admin.invalid"},
		"no JSON":       {"POST", "/v1/holds/release", "system=a", 400, "admin.invalid"},
		"two bodies":    {"POST", "/v1/holds/release", `{"system":"a"}{"system":"b"}`, 400, "admin.invalid"},
		"unknown key":   {"POST", "/v1/holds/release", `{"sytem":"a"}`, 400, "sytem"},
		"wrong type":    {"POST", "/v1/holds/release", `{"system":1}`, 400, "admin.invalid"},
		"long body":     {"POST", "/v1/holds/release", `{"system":"` + strings.Repeat("a", 70<<10) + `"}`, 400, "too large"},
		"wrong method":  {"GET", "/v1/poll", "", 404, "no GET /v1/poll in version 1"},
		"newer version": {"GET", "/v2/status", "", 404, "admin.unknown"},
		"another place": {"GET", "/", "", 404, "admin.unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &agent{}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(c.method, "http://agent"+c.path, strings.NewReader(c.body))
			admin.Handler(a).ServeHTTP(w, r)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.code, c.want)
			}
			if c.code >= 400 && (w.Header().Get("Content-Type") != "application/json" || len(a.released) != 0) {
				t.Errorf("type %q, released %v", w.Header().Get("Content-Type"), a.released)
			}
		})
	}
}

// A socket that a dead agent left behind is replaced.
func TestStaleSocket(t *testing.T) {
	path := socket(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	if _, err := serve(t, path, &agent{}).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// A socket that somebody answers at stays his.
func TestLiveSocket(t *testing.T) {
	path := socket(t)
	c := serve(t, path, &agent{})
	err := admin.Serve(t.Context(), path, &agent{})
	if err == nil || !strings.Contains(err.Error(), "another agent answers at "+path) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the first agent lost its socket: %v", err)
	}
}

// Whatever a mistaken path names is never removed.
func TestNoSocket(t *testing.T) {
	path := socket(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := admin.Serve(t.Context(), path, &agent{})
	if err == nil || !strings.Contains(err.Error(), "exists and is no socket") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestLongPath(t *testing.T) {
	path := "/" + strings.Repeat("a", adminhttp.PathBytesMax)
	if err := admin.Serve(t.Context(), path, &agent{}); err == nil || !strings.Contains(err.Error(), "choose a shorter one") {
		t.Errorf("got %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	path := socket(t)
	_, err := admin.NewClient(path).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no agent answers at "+path+": is it running?") {
		t.Errorf("got %v", err)
	}
}

// An answer that is none of this API's is an error that says what came.
func TestForeignServer(t *testing.T) {
	path := socket(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	code := http.StatusTeapot
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>")
	}))
	s.Listener = l
	s.Start()
	defer s.Close()
	c := admin.NewClient(path)
	if _, err := c.Status(t.Context()); err == nil || err.Error() != "admin: HTTP 418" {
		t.Errorf("got %v", err)
	}
	code = http.StatusOK
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "malformed answer") {
		t.Errorf("got %v", err)
	}
}
