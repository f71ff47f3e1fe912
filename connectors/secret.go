package connectors

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a credential. It prints, logs and encodes as ***; only Reveal
// shows it. The zero Secret is empty.
//
// The text lies behind a pointer, since fmt prints what unexported fields hold
// without asking their methods.
type Secret struct{ text *string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the credential, for the one line that sends it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no credential.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String hides the credential.
func (Secret) String() string { return "***" }

// Format hides it from every verb of fmt.
func (Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "***") }

// MarshalText hides it from JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// LogValue hides it from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }
