package connectors

import "log/slog"

// Secret is a credential. It prints, logs and encodes as ***; only Reveal
// shows it. The zero Secret is empty.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the credential, for the one line that sends it.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether there is no credential.
func (s Secret) IsZero() bool { return s.text == "" }

// String hides the credential from every format verb but %#v.
func (Secret) String() string { return "***" }

// GoString hides it from %#v.
func (Secret) GoString() string { return "***" }

// MarshalText hides it from JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// LogValue hides it from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }
