package connectors_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/entente-sync/entente/connectors"
)

// TestSecretHides: every way in which Go turns a value into text.
func TestSecretHides(t *testing.T) {
	const canary = "canary-4711"
	s := connectors.NewSecret(canary)
	settings := connectors.Settings{Name: "x", Credential: s}
	var out bytes.Buffer
	hidden := struct{ s connectors.Secret }{s} // fmt cannot call methods of unexported fields
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+verb+"\n", s, &s, settings, hidden, &hidden)
	}
	for _, v := range []any{s, &s, struct{ S connectors.Secret }{s}, map[string]any{"s": s}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "secret", s, "settings", settings.Credential)
	}
	hex := fmt.Sprintf("%x", canary)
	if text := out.String(); strings.Contains(text, canary) || strings.Contains(text, hex) {
		t.Errorf("the credential shows:\n%s", text)
	}
	if s.Reveal() != canary || s.IsZero() || !(connectors.Secret{}).IsZero() {
		t.Error("Reveal or IsZero is wrong")
	}
}

func TestClassOf(t *testing.T) {
	e := &connectors.Error{Class: connectors.ClassConflict, System: "desk", Op: "update ticket 1", Field: "status", Status: 412, Message: "moved", Err: errors.New("cause")}
	for _, c := range []struct {
		err  error
		want connectors.Class
	}{
		{nil, ""},
		{e, connectors.ClassConflict},
		{fmt.Errorf("outer: %w", e), connectors.ClassConflict},
		{errors.New("from elsewhere"), connectors.ClassUnknown},
	} {
		if got := connectors.ClassOf(c.err); got != c.want {
			t.Errorf("ClassOf(%v) = %q, want %q", c.err, got, c.want)
		}
	}
	if got, want := e.Error(), "desk: update ticket 1: conflict (field status) [HTTP 412]: moved: cause"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNotWritten(t *testing.T) {
	for class, want := range map[connectors.Class]connectors.Class{
		connectors.ClassMalformed: connectors.ClassUnavailable, connectors.ClassUnknown: connectors.ClassUnavailable,
		connectors.ClassDenied: connectors.ClassDenied, connectors.ClassThrottled: connectors.ClassThrottled,
	} {
		err := connectors.NotWritten(fmt.Errorf("outer: %w", &connectors.Error{Class: class}))
		if got := connectors.ClassOf(err); got != want {
			t.Errorf("%s became %s, want %s", class, got, want)
		}
	}
	if connectors.NotWritten(nil) != nil {
		t.Error("no error became one")
	}
}
