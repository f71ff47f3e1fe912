package conformance

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

func transportCases() []Case {
	return []Case{
		{
			Name: "lost-answer", Run: lostAnswer, Needs: isHTTP,
			Why: "a write that happened and is reported as failed is made twice",
		},
		{
			Name: "unreachable", Run: unreachable, Needs: isHTTP,
			Why: "an outage must not look like doubt, or every write waits for a look-up",
		},
		{
			Name: "throttled", Run: throttled, Needs: isHTTP,
			Why: "a system that asks for patience and does not get it locks the account",
		},
		{
			Name: "malformed-answer", Run: malformedAnswer, Needs: isHTTP,
			Why: "what is no listing must not read as an empty system, nor as the absence that lets a create be repeated",
		},
	}
}

func isHTTP(_ connectors.Capabilities, e *Env) bool { return e.Scope.Settings.URL != "" }

// tamper is a line between connector and system that breaks on demand.
type tamper struct {
	next   http.RoundTripper
	strike func(r *http.Request, next http.RoundTripper) (*http.Response, error)
	writes atomic.Int32 // requests that could change something
}

func (t *tamper) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isRead(r) {
		t.writes.Add(1)
	}
	return t.strike(r, t.next)
}

func isRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// behind opens a fresh instance behind a tampered line.
func (e *Env) behind(t T, strike func(*http.Request, http.RoundTripper) (*http.Response, error)) (connectors.Connector, *tamper) {
	t.Helper()
	settings := e.Scope.Settings
	line := &tamper{next: settings.Transport, strike: strike}
	if line.next == nil {
		line.next = &http.Transport{DisableKeepAlives: true}
	}
	settings.Transport = line
	c, err := e.Driver.Spec.Open(settings)
	if err != nil {
		t.Fatalf("opening with Settings.Transport: %v", err)
	}
	t.Cleanup(func() { closeConnector(c) })
	return c, line
}

func lostAnswer(t T, e *Env) {
	endings := map[string]func(*http.Response) (*http.Response, error){
		"the line is cut after the system worked": func(*http.Response) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"a proxy answers 502 after the system worked": func(resp *http.Response) (*http.Response, error) {
			return answer(resp.Request, http.StatusBadGateway, nil, "<html>bad gateway</html>"), nil
		},
	}
	for name, end := range endings {
		c, line := e.behind(t, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err != nil || isRead(r) {
				return resp, err
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return end(resp)
		})
		correlation := e.correlation()
		_, err := c.Write(e.context(t), connectors.Write{Kind: connectors.WriteCreate, Correlation: correlation, Fields: e.draft("lost")})
		wantClass(t, e, err, connectors.ClassUnknown, "create while "+name)
		if n := line.writes.Load(); n != 1 {
			t.Errorf("create while %s: %d writing requests, want 1: nothing in doubt may be repeated", name, n)
		}
		if !e.Caps.Correlation {
			continue
		}
		time.Sleep(e.Caps.StaleMax)
		keys, err := e.C.(connectors.Finder).Find(e.context(t), correlation)
		if err != nil || len(keys) != 1 {
			t.Errorf("create while %s: Find returns %v, %v; want the one record that exists", name, keys, err)
		}
	}
}

func unreachable(t T, e *Env) {
	c, _ := e.behind(t, func(*http.Request, http.RoundTripper) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	})
	_, err := c.Write(e.context(t), connectors.Write{Kind: connectors.WriteCreate, Fields: e.draft("unreachable")})
	wantClass(t, e, err, connectors.ClassUnavailable, "create while nothing listens")
	_, err = c.Changes(e.context(t), nil, 1)
	wantClass(t, e, err, connectors.ClassUnavailable, "Changes while nothing listens")
}

func throttled(t T, e *Env) {
	const wait = 30 * time.Second
	c, _ := e.behind(t, func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
		return answer(r, http.StatusTooManyRequests, http.Header{"Retry-After": {"30"}}, `{"error":"slow down"}`), nil
	})
	_, err := c.Changes(e.context(t), nil, 1)
	if got := refusal(t, e, err, connectors.ClassThrottled, "Changes answered with 429").RetryAfter; got < wait-time.Second {
		t.Errorf("Error.RetryAfter is %s, the system said %s", got, wait)
	}
	_, err = c.Write(e.context(t), connectors.Write{Kind: connectors.WriteCreate, Fields: e.draft("throttled")})
	wantClass(t, e, err, connectors.ClassThrottled, "create while told to wait")
}

func malformedAnswer(t T, e *Env) {
	key := e.create(t, "malformed", "", nil)
	for name, body := range map[string]string{
		"a page": "<html>Please log in</html>", "half an answer": `{"tickets":[{"key":`, "an answer without content": `{}`,
	} {
		c, _ := e.behind(t, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			if isRead(r) {
				return answer(r, http.StatusOK, nil, body), nil
			}
			return next.RoundTrip(r)
		})
		_, err := c.Changes(e.context(t), nil, 1)
		wantClass(t, e, err, connectors.ClassMalformed, "Changes answered with "+name)
		_, err = c.Read(e.context(t), key)
		wantClass(t, e, err, connectors.ClassMalformed, "Read answered with "+name)
		if finder, ok := c.(connectors.Finder); ok && e.Caps.Correlation {
			_, err = finder.Find(e.context(t), e.correlation())
			wantClass(t, e, err, connectors.ClassMalformed, "Find answered with "+name)
		}
	}
	c, _ := e.behind(t, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil || isRead(r) {
			return resp, err
		}
		resp.Body.Close()
		return answer(r, resp.StatusCode, nil, `{"half":`), nil
	})
	if receipt, err := c.Write(e.context(t), connectors.Write{Kind: connectors.WriteCreate, Fields: e.draft("malformed")}); err != nil {
		wantClass(t, e, err, connectors.ClassUnknown, "create whose answer is malformed")
	} else if receipt.Key == "" {
		t.Error("a create whose answer is malformed reports success without a key")
	}
	// An update needs nothing from the answer; done or in doubt are both honest.
	if _, err := c.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteUpdate, Key: key,
		Fields: map[string]value.Value{e.Driver.Fields.Text: e.unique("malformed")},
	}); err != nil {
		wantClass(t, e, err, connectors.ClassUnknown, "update whose answer is malformed")
	}
}

func answer(r *http.Request, status int, h http.Header, body string) *http.Response {
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", "application/json")
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}
