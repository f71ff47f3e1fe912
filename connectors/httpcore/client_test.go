package httpcore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/entente-sync/entente/connectors"
)

// world is a clock that moves only when the client sleeps or a server says so.
type world struct {
	mu  sync.Mutex
	now time.Time
}

func newWorld() *world { return &world{now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)} }

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) Sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(max(0, d))
	return ctx.Err()
}

const secret = "s3cr3t-token"

func newClient(t *testing.T, url string, w *world, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Settings: connectors.Settings{Name: "desk", URL: url, Credential: connectors.NewSecret(secret), Timeout: 5 * time.Second, Now: w.Now},
		Sleep:    w.Sleep, Random: func() float64 { return 0.5 }, Authorize: Bearer, RatePerSecond: 1000,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestClassOfStatus(t *testing.T) {
	const (
		unavailable = connectors.ClassUnavailable
		unknown     = connectors.ClassUnknown
		invalid     = connectors.ClassInvalid
		denied      = connectors.ClassDenied
	)
	for _, c := range []struct {
		status      int
		read, write connectors.Class
	}{
		{200, "", ""},
		{201, "", ""},
		{204, "", ""},
		{304, "", ""},
		{301, invalid, unknown},
		{302, invalid, unknown},
		{303, invalid, unknown},
		{307, invalid, invalid},
		{308, invalid, invalid},
		{400, invalid, invalid},
		{401, denied, denied},
		{402, denied, denied},
		{403, denied, denied},
		{404, connectors.ClassNotFound, connectors.ClassNotFound},
		{410, connectors.ClassNotFound, connectors.ClassNotFound},
		{405, invalid, invalid},
		{408, unavailable, unknown},
		{409, connectors.ClassConflict, connectors.ClassConflict},
		{412, connectors.ClassConflict, connectors.ClassConflict},
		{413, invalid, invalid},
		{415, invalid, invalid},
		{422, invalid, invalid},
		{423, unavailable, unavailable},
		{429, connectors.ClassThrottled, connectors.ClassThrottled},
		{500, unavailable, unknown},
		{501, invalid, invalid},
		{502, unavailable, unknown},
		{503, unavailable, unknown},
		{504, unavailable, unknown},
		{599, unavailable, unknown},
		{700, unavailable, unknown},
		{100, unavailable, unknown},
	} {
		if got := Class(c.status, true); got != c.read {
			t.Errorf("read %d: %q, want %q", c.status, got, c.read)
		}
		if got := Class(c.status, false); got != c.write {
			t.Errorf("write %d: %q, want %q", c.status, got, c.write)
		}
	}
}

// TestOutcomes: what the server does, what the caller is told, how often it was
// asked.
func TestOutcomes(t *testing.T) {
	post := Request{Op: "create", Method: "POST", Path: "x", Body: map[string]string{"title": "hello"}}
	get := Request{Op: "read", Path: "x"}
	put := Request{Op: "update", Method: "PUT", Path: "x", Body: map[string]string{}, Repeatable: true}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	cut := func(answer string) http.HandlerFunc { // the write was processed, then the line breaks
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	half := "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":"
	for _, c := range []struct {
		name    string
		request Request
		server  http.HandlerFunc
		want    connectors.Class
		calls   int32
	}{
		{"read ok", get, body(`{"a":1}`), "", 1},
		{"read 503 is repeated", get, status(503), connectors.ClassUnavailable, 3},
		{"read cut is repeated", get, cut(""), connectors.ClassUnavailable, 3},
		{"read half is repeated", get, cut(half), connectors.ClassUnavailable, 3},
		{"read 404 is not", get, status(404), connectors.ClassNotFound, 1},
		{"read malformed", get, body(`{"a":`), connectors.ClassMalformed, 1},
		{"read a page", get, body(`<html>login</html>`), connectors.ClassMalformed, 1},
		{"read trailing", get, body(`{} {}`), connectors.ClassMalformed, 1},
		{"read empty", get, body(``), connectors.ClassMalformed, 1},
		{"read wrong kind", get, body(`{"a":"x"}`), connectors.ClassMalformed, 1},
		{"read huge", get, body(`{"b":"` + strings.Repeat("x", 2000) + `"}`), connectors.ClassMalformed, 1},
		{"read deep", get, body(strings.Repeat("[", 33) + strings.Repeat("]", 33)), connectors.ClassMalformed, 1},
		{"write ok", post, body(`{"a":1}`), "", 1},
		{"write 500", post, status(500), connectors.ClassUnknown, 1},
		{"write 503", post, status(503), connectors.ClassUnknown, 1},
		{"write cut after processing", post, cut(""), connectors.ClassUnknown, 1},
		{"write half answer", post, cut(half), connectors.ClassUnknown, 1},
		{"write malformed answer", post, body(`oops`), connectors.ClassUnknown, 1},
		{"write huge answer", post, body(`{"b":"` + strings.Repeat("x", 2000) + `"}`), connectors.ClassUnknown, 1},
		{"write half refusal", post, cut(strings.Replace(half, "200 OK", "422 No", 1)), connectors.ClassInvalid, 1},
		{"write 429", post, status(429), connectors.ClassThrottled, 1},
		{"write 412", post, status(412), connectors.ClassConflict, 1},
		{"repeatable write", put, status(502), connectors.ClassUnknown, 3},
		{"repeatable write cut", put, cut(""), connectors.ClassUnknown, 3},
		{"search by POST", Request{Op: "search", Method: "POST", Path: "x", Safe: true}, status(502), connectors.ClassUnavailable, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); c.server(w, r) })
			client := newClient(t, s.URL, newWorld(), func(cfg *Config) { cfg.BodyBytesMax = 1000 })
			var out struct{ A int }
			_, err := client.JSON(t.Context(), c.request, &out)
			if got := connectors.ClassOf(err); got != c.want {
				t.Errorf("class %q, want %q: %v", got, c.want, err)
			}
			if calls.Load() != c.calls {
				t.Errorf("%d calls, want %d", calls.Load(), c.calls)
			}
		})
	}
}

// TestStorm: a server with a strict budget, and callers without mercy.
func TestStorm(t *testing.T) {
	const perSecond, seconds = 10, 60
	for _, header := range []bool{true, false} {
		w := newWorld()
		start := w.Now()
		window, used, refused, total := start, 0, 0, 0
		var mu sync.Mutex
		s := serve(t, func(rw http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			total++
			if now := w.Now(); now.Sub(window) >= time.Second {
				window, used = now, 0
			}
			if used++; used > perSecond/2 { // half of what the client was told it may use
				refused++
				if header {
					rw.Header().Set("Retry-After", "2")
				}
				rw.WriteHeader(429)
			}
		})
		c := newClient(t, s.URL, w, func(cfg *Config) { cfg.RatePerSecond = 0; cfg.Settings.RatePerSecond = perSecond })
		done := 0
		for w.Now().Sub(start) < seconds*time.Second {
			_, err := c.Do(t.Context(), Request{Op: "read", Path: "x"})
			switch class := connectors.ClassOf(err); class {
			case "":
				done++
			case connectors.ClassThrottled:
				var e *connectors.Error
				if errors.As(err, &e); e.RetryAfter <= 0 {
					t.Fatal("throttled without RetryAfter")
				}
				_ = w.Sleep(t.Context(), e.RetryAfter)
			default:
				t.Fatalf("class %s", class)
			}
		}
		budget := w.Now().Sub(start).Seconds() * perSecond
		if float64(total) > budget*1.05 {
			t.Errorf("header %t: %d calls, budget %.0f", header, total, budget)
		}
		if refused == 0 || done == 0 || refused*2 > total {
			t.Errorf("header %t: %d calls, %d refused, %d done", header, total, refused, done)
		}
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for _, c := range []struct {
		name, value, date string
		status            int
		ok                bool
		want              time.Duration
	}{
		{"seconds", "7", "", 429, false, 7 * time.Second},
		{"date by the server's own clock", "Mon, 23 Nov 2026 12:00:09 GMT", "Mon, 23 Nov 2026 12:00:00 GMT", 429, false, 9 * time.Second},
		{"503", "3", "", 503, false, 3 * time.Second},
		{"on success where asked", "5", "", 200, true, 5 * time.Second},
		{"on success unasked", "5", "", 200, false, 0},
		{"nonsense", "soon", "", 503, false, 0},
		{"past", "Mon, 23 Nov 2020 12:00:09 GMT", "", 503, false, 0},
		{"negative", "-5", "", 503, false, 0},
		{"NaN", "NaN", "", 503, false, 0},
		{"huge is capped", "1e300", "", 429, false, retryAfterMax},
	} {
		t.Run(c.name, func(t *testing.T) {
			var times []time.Time
			w := newWorld()
			s := serve(t, func(rw http.ResponseWriter, _ *http.Request) {
				times = append(times, w.Now())
				if len(times) == 1 {
					rw.Header().Set("Retry-After", c.value)
					if c.date != "" {
						rw.Header().Set("Date", c.date)
					}
					rw.WriteHeader(c.status)
				}
			})
			client := newClient(t, s.URL, w, func(cfg *Config) { cfg.WaitMax = 48 * time.Hour })
			for len(times) < 2 {
				if _, err := client.Do(t.Context(), Request{Op: "read", Path: "x", RetryAfterOnOK: c.ok}); err != nil {
					t.Fatal(err)
				}
			}
			if got := times[1].Sub(times[0]); got < c.want || got > c.want+time.Second {
				t.Errorf("waited %s, want %s", got, c.want)
			}
		})
	}
}

// TestLongWaitIsHandedBack: nobody sits in a call for minutes.
func TestLongWaitIsHandedBack(t *testing.T) {
	var calls atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(429)
	})
	c := newClient(t, s.URL, newWorld())
	for range 5 {
		_, err := c.Do(t.Context(), Request{Op: "read", Path: "x"})
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassThrottled || e.RetryAfter != 600*time.Second {
			t.Fatalf("%v, want throttled for 600 s", err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls while told to stay away, want 1", calls.Load())
	}
}

func TestErrorsHideSecretsAndValues(t *testing.T) {
	const value = "Müller has a secret illness"
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(422)
		fmt.Fprintf(w, `{"errors":["Subject %s is odd\nfor %s", "%s"]}`, value, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), strings.Repeat("y", 5000))
	})
	c := newClient(t, s.URL, newWorld())
	_, err := c.Do(t.Context(), Request{
		Op: "create", Method: "POST", Path: "x", Query: map[string][]string{"q": {value}},
		Body: map[string]any{"issue": map[string]any{"subject": value, "tags": []string{value}}},
	})
	text := err.Error()
	if strings.Contains(text, secret) || strings.Contains(text, "illness") || strings.ContainsAny(text, "\n\r") {
		t.Errorf("leaks or breaks lines: %s", text)
	}
	if !strings.Contains(text, "is odd") || len(text) > 1000 {
		t.Errorf("the system's words are lost or not clipped: %s", text)
	}
	// Errors of the transport carry the address with its query.
	_, err = newClient(t, "http://host.invalid", newWorld()).Do(t.Context(), Request{Op: "find", Path: "x", Query: map[string][]string{"q": {value}}})
	if strings.Contains(err.Error(), "illness") || strings.Contains(err.Error(), "ller+has") {
		t.Errorf("the query leaks: %v", err)
	}
	if strings.Contains(fmt.Sprintf("%+v %#v", c.cfg.Settings, c.cfg.Settings), secret) {
		t.Error("settings print the credential")
	}
}

func TestClassifyHook(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"code":"STALE"}`)
	})
	c := newClient(t, s.URL, newWorld(), func(cfg *Config) {
		cfg.Classify = func(r *Response, e *connectors.Error) {
			if strings.Contains(string(r.Body), "STALE") {
				e.Class, e.Field = connectors.ClassConflict, "status"
			}
		}
	})
	_, err := c.Do(t.Context(), Request{Op: "update", Method: "PUT", Path: "x"})
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != connectors.ClassConflict || e.Field != "status" || e.Status != 400 {
		t.Errorf("%v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "x", "ftp://h/", "http://", "http://u:p@h/", "http://h/?q=1", "http://h/#f", "http://[::1", "//h"} {
		if _, err := New(Config{Settings: connectors.Settings{Name: "x", URL: bad}}); connectors.ClassOf(err) != connectors.ClassInvalid {
			t.Errorf("URL %q: %v", bad, err)
		}
	}
	var got string
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.URL.RequestURI() })
	c := newClient(t, s.URL+"/base/", newWorld())
	for path, want := range map[string]string{
		"issues.json":                              "/base/issues.json?a=1",
		"/issues.json":                             "/base/issues.json?a=1",
		Path("ticket", "a/b c?d"):                  "/base/ticket/a%2Fb%20c%3Fd?a=1",
		s.URL + "/base/next?page=2":                "/base/next?a=1&page=2",
		"../other":                                 "",
		Path("x", "..", "..", "admin"):             "",
		"http://elsewhere.example/base/x":          "",
		strings.Replace(s.URL, "http", "https", 1): "",
	} {
		got = ""
		_, err := c.Do(t.Context(), Request{Op: "read", Path: path, Query: map[string][]string{"a": {"1"}}})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q asked %q, want %q (%v)", path, got, want, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	var elsewhere atomic.Int32
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/final", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}
	})
	c := newClient(t, s.URL, newWorld())
	for _, x := range []struct {
		method, path string
		want         connectors.Class
	}{
		{"GET", "same", ""},
		{"GET", "loop", connectors.ClassInvalid},
		{"GET", "other", connectors.ClassInvalid},
		{"POST", "same", connectors.ClassUnknown},
		{"POST", "other", connectors.ClassInvalid},
	} {
		_, err := c.Do(t.Context(), Request{Op: "x", Method: x.method, Path: x.path})
		if connectors.ClassOf(err) != x.want {
			t.Errorf("%s %s: %v, want %q", x.method, x.path, err, x.want)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect reached another host")
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("s"))
		w.WriteHeader(code)
	})
	registry := prometheus.NewRegistry()
	w := newWorld()
	change := func(cfg *Config) { cfg.Settings.Metrics, cfg.Settings.RatePerSecond = registry, 1 }
	first, second := newClient(t, s.URL, w, change), newClient(t, s.URL, w, change)
	for i, c := range []*Client{first, second, first} {
		_, _ = c.Do(t.Context(), Request{Op: "x", Method: "POST", Path: fmt.Sprintf("p%d?s=%d", i, []int{200, 500, 404}[i])})
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"entente_connector_requests_total ok desk write":        1,
		"entente_connector_requests_total unknown desk write":   1,
		"entente_connector_requests_total not_found desk write": 1,
		"entente_ratelimit_wait_seconds_total desk":             1,
	} {
		if d := got[name] - want; d > 0.1 || d < -0.1 {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
