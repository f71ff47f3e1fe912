package conformance

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/sandbox"
)

// misreporter is a correct connector over HTTP whose errors go through one
// mistake.
type misreporter struct {
	connectors.Connector
	mistake func(*connectors.Error) error // nil: the error is swallowed
	again   bool                          // writes in doubt are repeated
}

func (m *misreporter) through(err error) error {
	var e *connectors.Error
	if m.mistake == nil || !errors.As(err, &e) {
		return err
	}
	return m.mistake(e)
}

func (m *misreporter) Changes(ctx context.Context, c connectors.Cursor, limit int) (connectors.Page, error) {
	page, err := m.Connector.Changes(ctx, c, limit)
	if err = m.through(err); err == nil && len(page.Next) == 0 {
		page.Next = connectors.Cursor{1}
	}
	return page, err
}

func (m *misreporter) Read(ctx context.Context, key connectors.Key) (connectors.Record, error) {
	rec, err := m.Connector.Read(ctx, key)
	return rec, m.through(err)
}

func (m *misreporter) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	receipt, err := m.Connector.Write(ctx, w)
	if m.again && connectors.ClassOf(err) == connectors.ClassUnknown {
		receipt, err = m.Connector.Write(ctx, w)
	}
	return receipt, m.through(err)
}

func (m *misreporter) Find(ctx context.Context, correlation string) ([]connectors.Key, error) {
	keys, err := m.Connector.(connectors.Finder).Find(ctx, correlation)
	return keys, m.through(err)
}

func (m *misreporter) Close() error {
	closeConnector(m.Connector)
	return nil
}

// reports returns the mistake of giving errors of one class another one; "" for
// no error.
func reports(class, as connectors.Class) func(*connectors.Error) error {
	return func(e *connectors.Error) error {
		if e.Class != class {
			return e
		}
		if as == "" {
			return nil
		}
		wrong := *e
		wrong.Class = as
		return &wrong
	}
}

// TestTransportMutants: each mistake about a call's fate is caught by the case
// that is there for it.
func TestTransportMutants(t *testing.T) {
	impatient := func(e *connectors.Error) error {
		hasty := *e
		hasty.RetryAfter = 0
		return &hasty
	}
	for name, c := range map[string]struct {
		misreporter
		want string // "" for none
	}{
		"none":                     {misreporter{}, ""},
		"doubt is repeated":        {misreporter{again: true}, "lost-answer"},
		"doubt is failure":         {misreporter{mistake: reports(connectors.ClassUnknown, connectors.ClassUnavailable)}, "lost-answer"},
		"doubt is success":         {misreporter{mistake: reports(connectors.ClassUnknown, "")}, "lost-answer"},
		"outage is doubt":          {misreporter{mistake: reports(connectors.ClassUnavailable, connectors.ClassUnknown)}, "unreachable"},
		"patience is not asked":    {misreporter{mistake: impatient}, "throttled"},
		"throttled is invalid":     {misreporter{mistake: reports(connectors.ClassThrottled, connectors.ClassInvalid)}, "throttled"},
		"nonsense is nothing":      {misreporter{mistake: reports(connectors.ClassMalformed, "")}, "malformed-answer"},
		"nonsense is an outage":    {misreporter{mistake: reports(connectors.ClassMalformed, connectors.ClassUnavailable)}, "malformed-answer"},
		"nonsense is not existing": {misreporter{mistake: reports(connectors.ClassMalformed, connectors.ClassNotFound)}, "malformed-answer"},
	} {
		t.Run(name, func(t *testing.T) {
			got := failingTransport(t, &c.misreporter)
			if c.want == "" && len(got) > 0 || c.want != "" && !slices.Contains(got, c.want) {
				t.Errorf("failing cases %v, want %q among them", got, c.want)
			}
		})
	}
}

// failingTransport runs the transport cases against m over a sandbox.
func failingTransport(t *testing.T, m *misreporter) []string {
	t.Helper()
	const token = "connector-token"
	vocabulary := sandbox.Tracker()
	server := httptest.NewServer(sandbox.New(sandbox.Config{Company: "Acme", Vocabulary: vocabulary, Token: connectors.NewSecret(token)}))
	t.Cleanup(server.Close)
	spec := sandbox.Spec()
	spec.Open = func(s connectors.Settings) (connectors.Connector, error) {
		c, err := sandbox.Open(s)
		if err != nil {
			return nil, err
		}
		laid := *m
		laid.Connector = c
		return &laid, nil
	}
	settings := connectors.Settings{Name: "sandbox", URL: server.URL, Credential: connectors.NewSecret(token), RatePerSecond: 10000}
	c, err := spec.Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConnector(c) })
	return failing(t.Context(), &Env{
		Driver: Driver{Spec: spec, Fields: Fields{Text: vocabulary.Title}}, Caps: spec.Capabilities,
		Scope: Scope{Settings: settings}, C: c,
	}, transportCases())
}
