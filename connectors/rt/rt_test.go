package rt

import (
	"context"
	"testing"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/conformance"
	"github.com/entente-sync/entente/connectors/realtest"
	"github.com/entente-sync/entente/crdt/value"
)

func settings(s *realtest.RTServer, who realtest.Account) connectors.Settings {
	return connectors.Settings{
		Name: "rt", URL: s.URL, Scope: map[string]string{"queue": s.Queue},
		Options:    map[string]string{"correlation_field": s.KeyField},
		Credential: connectors.NewSecret(who.Token), RatePerSecond: 1000,
	}
}

// users edit through the bare API, so that no mistake hides behind its twin.
func users(s *realtest.RTServer) conformance.Users {
	fields := func(local map[string]value.Value) map[string]any {
		out := map[string]any{}
		for name, v := range local {
			out[name] = v.AsText()
		}
		return out
	}
	return conformance.Users{
		Create: func(ctx context.Context, local map[string]value.Value) (connectors.Key, error) {
			id, err := s.Create(ctx, s.Human, fields(local))
			return connectors.Key(id), err
		},
		Edit: func(ctx context.Context, key connectors.Key, local map[string]value.Value) error {
			return s.Edit(ctx, s.Human, string(key), fields(local))
		},
		Comment: func(ctx context.Context, key connectors.Key, body string, internal bool) error {
			return s.Comment(ctx, s.Human, string(key), body, internal)
		},
		Delete: func(ctx context.Context, key connectors.Key) error {
			return s.Edit(ctx, s.Admin, string(key), map[string]any{"Status": "deleted"})
		},
	}
}

// TestReal runs everything against one real RT: a start takes seconds.
func TestReal(t *testing.T) {
	t.Parallel()
	s := realtest.RT(t)
	t.Run("conformance", func(t *testing.T) { conform(t, s) })
	t.Run("beyond", func(t *testing.T) { beyond(t, s) })
}

func conform(t *testing.T, s *realtest.RTServer) {
	conformance.Run(t, conformance.Driver{
		Spec: Spec(),
		Open: func(*testing.T) conformance.Scope {
			bad := settings(s, realtest.Account{Token: "1-27-0123456789abcdef0123456789abcdef"})
			return conformance.Scope{Settings: settings(s, s.Service), BadCredential: &bad, Users: users(s)}
		},
		Fields: conformance.Fields{
			Text: "Subject", Long: "Description", Enum: "Status", EnumValues: [2]string{"new", "open"},
		},
	})
}
