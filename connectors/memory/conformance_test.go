package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/conformance"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt/value"
)

func driver(s *memory.System) conformance.Driver {
	return conformance.Driver{
		Spec: s.Spec(),
		Open: func(*testing.T) conformance.Scope {
			return conformance.Scope{
				Users: conformance.Users{
					Create: func(_ context.Context, fields map[string]value.Value) (connectors.Key, error) {
						return s.Create("jane@example.com", fields, time.Time{}), nil
					},
					Edit: func(_ context.Context, key connectors.Key, fields map[string]value.Value) error {
						return s.Edit("jane@example.com", key, fields, time.Time{})
					},
					Comment: func(_ context.Context, key connectors.Key, body string, internal bool) error {
						_, err := s.AddComment("jane@example.com", key, body, internal, time.Time{})
						return err
					},
					Delete: func(_ context.Context, key connectors.Key) error { return s.Delete(key) },
				},
			}
		},
		Fields: conformance.Fields{Text: "title", Long: "description", Enum: "status", EnumValues: [2]string{"new", "open"}},
	}
}

// TestConformance runs the suite against every switch of the capabilities.
func TestConformance(t *testing.T) {
	without := func(change func(*connectors.Capabilities)) *connectors.Capabilities {
		caps := memory.All()
		change(&caps)
		return &caps
	}
	worlds := map[string]memory.Config{
		"all":            {},
		"no revisions":   {Capabilities: without(func(c *connectors.Capabilities) { c.Revisions, c.Conditional, c.WriteRevision = false, false, false })},
		"no conditional": {Capabilities: without(func(c *connectors.Capabilities) { c.Conditional = false })},
		"no receipt":     {Capabilities: without(func(c *connectors.Capabilities) { c.WriteRevision = false })},
		"no history":     {Capabilities: without(func(c *connectors.Capabilities) { c.History = false })},
		"some history":   {Capabilities: without(func(c *connectors.Capabilities) { c.HistoryFields = []string{"status"} })},
		"no correlation": {Capabilities: without(func(c *connectors.Capabilities) { c.Correlation = false })},
		"no visibility":  {Capabilities: without(func(c *connectors.Capabilities) { c.InternalComments = false })},
		"no comments":    {Capabilities: without(func(c *connectors.Capabilities) { c.Comments, c.InternalComments = false, false })},
		"no deletes":     {Capabilities: without(func(c *connectors.Capabilities) { c.Deletes = false })},
		"no evidence":    {Capabilities: without(func(c *connectors.Capabilities) { c.DeleteEvidence = false })},
		"coarse clock":   {Faults: []memory.Fault{{Kind: memory.ClockCoarse, Duration: time.Second}}},
		"skewed clock":   {Faults: []memory.Fault{{Kind: memory.ClockSkew, Duration: -10 * time.Minute}}},
		"normaliser": {Faults: []memory.Fault{
			{Kind: memory.Normalise, Field: "description", Form: memory.FormCRLF},
			{Kind: memory.Normalise, Field: "description", Form: memory.FormTrim},
			{Kind: memory.Normalise, Field: "description", Form: memory.FormMarkup},
			{Kind: memory.Normalise, Field: "comments", Form: memory.FormTrim},
		}},
		"pages move": {
			Faults: []memory.Fault{{Kind: memory.Touch, Calls: []memory.Call{memory.CallList}, Times: 50}},
			Capabilities: without(func(c *connectors.Capabilities) {
				c.Revisions, c.Conditional, c.WriteRevision = false, false, false
			}),
		},
		"lag": {
			Faults:       []memory.Fault{{Kind: memory.Lag, Duration: 50 * time.Millisecond}},
			Capabilities: without(func(c *connectors.Capabilities) { c.StaleMax = 50 * time.Millisecond }),
		},
	}
	for name, cfg := range worlds {
		t.Run(name, func(t *testing.T) {
			cfg.Now = time.Now
			conformance.Run(t, driver(memory.New(cfg)))
		})
	}
}
