package httpcore

import (
	"net/http"
	"strings"

	"github.com/entente-sync/entente/connectors"
)

// Header returns a Config.Authorize that sends prefix and credential as the
// named header: Header("X-Redmine-API-Key", ""), Header("Authorization", "token ").
func Header(name, prefix string) func(*http.Request, connectors.Secret) {
	return func(r *http.Request, s connectors.Secret) {
		if !s.IsZero() {
			r.Header.Set(name, prefix+s.Reveal())
		}
	}
}

// Bearer sends "Authorization: Bearer <credential>".
func Bearer(r *http.Request, s connectors.Secret) { Header("Authorization", "Bearer ")(r, s) }

// Basic sends a credential of the form user:password.
func Basic(r *http.Request, s connectors.Secret) {
	if user, password, ok := strings.Cut(s.Reveal(), ":"); ok {
		r.SetBasicAuth(user, password)
	}
}
