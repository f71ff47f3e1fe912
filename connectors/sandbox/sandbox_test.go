package sandbox_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/conformance"
	"github.com/entente-sync/entente/connectors/sandbox"
	"github.com/entente-sync/entente/crdt/value"
)

const (
	token     = "connector-token"
	userToken = "jane-token"
)

func open(t *testing.T, v sandbox.Vocabulary) (*sandbox.Server, *httptest.Server) {
	t.Helper()
	s := sandbox.New(sandbox.Config{
		Company: "Acme", Vocabulary: v, Token: connectors.NewSecret(token),
		UserTokens: map[string]string{userToken: "jane@example.com"},
	})
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, h
}

func settings(url, token string) connectors.Settings {
	return connectors.Settings{Name: "sandbox", URL: url, Credential: connectors.NewSecret(token), RatePerSecond: 10000}
}

// rest is the users' side, spoken by hand so that it shares nothing with the
// connector.
func rest(t *testing.T, base string) conformance.Users {
	call := func(ctx context.Context, method, path string, body any) (map[string]any, error) {
		b, _ := json.Marshal(body)
		r, _ := http.NewRequestWithContext(ctx, method, base+"/api/v1/tickets"+path, strings.NewReader(string(b)))
		r.Header.Set("Authorization", "Bearer "+userToken)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode > 299 {
			t.Errorf("%s %s: %s %v", method, path, resp.Status, out)
		}
		return out, err
	}
	texts := func(fields map[string]value.Value) map[string]any {
		m := map[string]any{}
		for name, v := range fields {
			m[name] = v.AsText()
		}
		return map[string]any{"fields": m}
	}
	return conformance.Users{
		Create: func(ctx context.Context, fields map[string]value.Value) (connectors.Key, error) {
			out, err := call(ctx, "POST", "", texts(fields))
			key, _ := out["key"].(string)
			return connectors.Key(key), err
		},
		Edit: func(ctx context.Context, key connectors.Key, fields map[string]value.Value) error {
			_, err := call(ctx, "PATCH", "/"+string(key), texts(fields))
			return err
		},
		Comment: func(ctx context.Context, key connectors.Key, body string, internal bool) error {
			_, err := call(ctx, "POST", "/"+string(key)+"/comments", map[string]any{"body": body, "internal": internal})
			return err
		},
		Delete: func(ctx context.Context, key connectors.Key) error {
			_, err := call(ctx, "DELETE", "/"+string(key), nil)
			return err
		},
	}
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		vocabulary sandbox.Vocabulary
		fields     conformance.Fields
	}{
		"tracker": {sandbox.Tracker(), conformance.Fields{Text: "title", Long: "description", Enum: "status", EnumValues: [2]string{"New", "In Progress"}}},
		"desk":    {sandbox.Desk(), conformance.Fields{Text: "subject", Long: "details", Enum: "priority", EnumValues: [2]string{"3", "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, conformance.Driver{
				Spec: sandbox.Spec(), Fields: c.fields,
				Open: func(t *testing.T) conformance.Scope {
					_, h := open(t, c.vocabulary)
					bad := settings(h.URL, "another token")
					return conformance.Scope{Settings: settings(h.URL, token), BadCredential: &bad, Users: rest(t, h.URL)}
				},
			})
		})
	}
}

// browser posts forms and follows redirects, like a browser without scripts.
func browser(t *testing.T, base, method, path string, form url.Values, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequest(method, base+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestPage(t *testing.T) {
	s, h := open(t, sandbox.Tracker())
	const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	jane := func(pairs ...string) url.Values {
		v := url.Values{"as": {"jane@example.com"}}
		for i := 0; i+1 < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	status, body, header := browser(t, h.URL, "POST", "/tickets", jane("f-title", hostile, "f-status", "New", "f-priority", "Normal", "f-labels", "a, b"))
	if status != 200 || strings.Contains(body, "<script") || strings.Contains(body, "<img") {
		t.Errorf("status %d, or content became markup", status)
	}
	if csp := header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %q", csp)
	}
	key := s.System().Keys()[0]
	rec, _ := s.System().Get(key)
	if rec.Fields["title"].AsText() != hostile || rec.Fields["labels"].Len() != 2 || rec.CreatedBy.Name != "jane@example.com" {
		t.Errorf("stored %v by %s", rec.Fields, rec.CreatedBy.Name)
	}

	edit := jane("f-title", "calm", "f-status", "On Hold", "f-description", "one\r\ntwo", "revision", rec.Revision)
	if status, body, _ = browser(t, h.URL, "POST", "/tickets/1", edit); status != 200 || !strings.Contains(body, "On Hold") {
		t.Errorf("edit: %d", status)
	}
	if rec, _ = s.System().Get(key); rec.Fields["description"].AsText() != "one\ntwo" || len(rec.History) != 3 {
		t.Errorf("after the edit: %v, %d changes", rec.Fields, len(rec.History))
	}
	edit.Set("f-title", "mine") // still with the old revision
	if status, body, _ = browser(t, h.URL, "POST", "/tickets/1", edit); status != http.StatusPreconditionFailed || !strings.Contains(body, `value="mine"`) || !strings.Contains(body, rec.Revision) {
		t.Errorf("stale edit: %d; what was typed must be kept, with the new revision", status)
	}
	browser(t, h.URL, "POST", "/tickets/1/comments", jane("body", "for us", "internal", "1"))
	if rec, _ = s.System().Get(key); len(rec.Comments) != 1 || !rec.Comments[0].Internal {
		t.Errorf("comments %v", rec.Comments)
	}

	for name, c := range map[string]struct {
		path   string
		form   url.Values
		header []string
		want   int
	}{
		"another site's form": {"/tickets/1/delete", jane(), []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"unknown person":      {"/tickets/1/delete", url.Values{"as": {"mallory"}}, nil, 422},
		"unknown option":      {"/tickets/1", jane("f-status", "Lost", "revision", rec.Revision), nil, 422},
		"empty title":         {"/tickets", jane("f-title", ""), nil, 422},
		"empty comment":       {"/tickets/1/comments", jane("body", ""), nil, 422},
		"unknown ticket":      {"/tickets/99/delete", jane(), nil, 404},
		"huge form":           {"/tickets", jane("f-title", strings.Repeat("x", 2<<20)), nil, 400},
	} {
		if status, body, _ := browser(t, h.URL, "POST", c.path, c.form, c.header...); status != c.want || !strings.Contains(body, "alert") && c.want == 422 {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
	if status, _, _ = browser(t, h.URL, "POST", "/tickets/1/delete", jane()); status != 200 || len(s.System().Keys()) != 0 {
		t.Errorf("delete: %d", status)
	}
	if status, body, _ = browser(t, h.URL, "GET", "/tickets/1", nil); status != 200 || !strings.Contains(body, "is deleted") {
		t.Errorf("tombstone: %d", status)
	}
	if n := s.System().Counts().Writes(); n != 0 {
		t.Errorf("%d writes of people count as the connector's", n)
	}
}

func TestAPIRefusals(t *testing.T) {
	_, h := open(t, sandbox.Desk())
	bearer := []string{"Authorization", "Bearer " + token}
	post := func(path, method, body string, header ...string) int {
		r, err := http.NewRequest(method, h.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		method, path, body string
		header             []string
		want               int
	}{
		{"GET", "/api/v1/tickets", "", nil, 401},
		{"GET", "/api/v1/tickets", "", []string{"Authorization", "Bearer "}, 401},
		{"GET", "/api/v1/tickets?since=!!", "", bearer, 422},
		{"GET", "/api/v1/tickets?since=AAAA", "", bearer, 422},
		{"GET", "/api/v1/tickets?limit=-1", "", bearer, 422},
		{"GET", "/api/v1/tickets/x", "", bearer, 404},
		{"GET", "/api/v1/nothing", "", bearer, 404},
		{"PUT", "/api/v1/tickets/1", "", bearer, 405},
		{"POST", "/api/v1/tickets", "{", bearer, 400},
		{"POST", "/api/v1/tickets", strings.Repeat("[", 50), bearer, 400},
		{"POST", "/api/v1/tickets", `{"fields":{"subject":{"a":1}}}`, bearer, 422},
		{"POST", "/api/v1/tickets", `{"fields":{"tags":[1]}}`, bearer, 422},
		{"POST", "/api/v1/tickets", `{}`, bearer, 422},
		{"POST", "/api/v1/tickets", `{"fields":{"subject":"` + strings.Repeat("x", 2<<20) + `"}}`, bearer, 400},
	} {
		if got := post(c.path, c.method, c.body, c.header...); got != c.want {
			t.Errorf("%s %s %.40s: %d, want %d", c.method, c.path, c.body, got, c.want)
		}
	}
}

// TestMalformedAnswers: what lacks its parts is an error that names them, never an
// empty record, a lost cursor or the absence that lets a create be repeated.
func TestMalformedAnswers(t *testing.T) {
	answer := ""
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(h.Close)
	c, err := sandbox.Open(settings(h.URL, token))
	if err != nil {
		t.Fatal(err)
	}
	for _, answer = range []string{`{}`, `null`, `{"key":"7","tickets":null}`, `[]`, `<html>`} {
		_, listing := c.Changes(t.Context(), nil, 0)
		_, finding := c.(connectors.Finder).Find(t.Context(), "abc")
		_, reading := c.Read(t.Context(), "1")
		_, updating := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteUpdate, Key: "1"})
		for what, err := range map[string]error{"list": listing, "find": finding, "read": reading} {
			if connectors.ClassOf(err) != connectors.ClassMalformed {
				t.Errorf("%s of %s: %v", what, answer, err)
			}
		}
		if connectors.ClassOf(updating) != connectors.ClassUnknown {
			t.Errorf("update answered %s: %v", answer, updating)
		}
	}
	answer = `{}`
	if _, err := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteCreate}); connectors.ClassOf(err) != connectors.ClassUnknown {
		t.Errorf("create: %v", err)
	}
}
