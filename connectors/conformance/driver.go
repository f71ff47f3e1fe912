// Package conformance is one test suite for all connectors. The cases are
// chosen by what a connector declares; its failure messages speak to the author
// of the connector, and an ability that works without being declared is a finding
// too. The cases make few calls, so that a slow real system can be tested as well.
package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// Driver ties the suite to one system.
type Driver struct {
	Spec connectors.Spec
	// Open gives an empty scope of a running system: a new project, queue or
	// store. It is called once a run and cleans up with t.Cleanup.
	Open func(t *testing.T) Scope
	// Fields names what the cases write.
	Fields Fields
	// Settle is how long the users' side of the test waits, at most, until what it
	// did shows in Changes, beyond Capabilities.StaleMax; 0 means 5 s.
	Settle time.Duration
	// Except says why a case cannot pass on this system; the case is reported as
	// skipped with the reason, loudly.
	Except map[string]string
}

// Scope is one place to work in.
type Scope struct {
	// Settings open the connector under test.
	Settings connectors.Settings
	// BadCredential are the same with a credential that the system refuses; nil if
	// the system has none.
	BadCredential *connectors.Settings
	// Users is the other side: people who edit under another account.
	Users Users
}

// Users does what people do, under an account that is not the connector's. Of
// WithConnector and functions of the driver's own, the latter find more: a
// connector's mistake cannot hide behind its twin. A nil function says that the
// test cannot do that; its cases are skipped.
type Users struct {
	Create  func(ctx context.Context, fields map[string]value.Value) (connectors.Key, error)
	Edit    func(ctx context.Context, key connectors.Key, fields map[string]value.Value) error
	Comment func(ctx context.Context, key connectors.Key, body string, internal bool) error
	Delete  func(ctx context.Context, key connectors.Key) error
}

// WithConnector returns users who work through a second connector, opened with
// another account.
func WithConnector(c connectors.Connector) Users {
	do := func(ctx context.Context, w connectors.Write) (connectors.Key, error) {
		receipt, err := c.Write(ctx, w)
		return receipt.Key, err
	}
	return Users{
		Create: func(ctx context.Context, fields map[string]value.Value) (connectors.Key, error) {
			return do(ctx, connectors.Write{Kind: connectors.WriteCreate, Fields: fields})
		},
		Edit: func(ctx context.Context, key connectors.Key, fields map[string]value.Value) error {
			_, err := do(ctx, connectors.Write{Kind: connectors.WriteUpdate, Key: key, Fields: fields})
			return err
		},
		Comment: func(ctx context.Context, key connectors.Key, body string, internal bool) error {
			_, err := do(ctx, connectors.Write{
				Kind: connectors.WriteComment, Key: key,
				Comment: connectors.CommentDraft{Body: body, Internal: internal},
			})
			return err
		},
		Delete: func(ctx context.Context, key connectors.Key) error {
			_, err := do(ctx, connectors.Write{Kind: connectors.WriteDelete, Key: key})
			return err
		},
	}
}

// Fields names local fields. Text is required; a case that needs another one is
// skipped where it is "".
type Fields struct {
	Text string // a short text that may be written ("subject")
	Long string // a long text that may be emptied ("description")
	Enum string // an enum that may be written ("status")
	// EnumValues: a new record may be created with the first, and can be moved
	// to the second and back.
	EnumValues [2]string
	// OnCreate is what every create needs besides Text.
	OnCreate map[string]value.Value
	// LongBytesMax is how much text Long holds; 0 means 32 kB or more.
	LongBytesMax int
}
