// Package sandbox is a ticket system to try Entente with: an http.Handler with
// a small JSON API (API.md) and a plain page for people, over a store in memory,
// and the connector that speaks that API. Nothing survives the process.
package sandbox

import (
	"crypto/subtle"
	_ "embed"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt/value"
)

// Account is who a connector with Config.Token writes as.
const Account = "sync"

const bodyBytesMax = 1 << 20

// Config makes a Server.
type Config struct {
	// Company is shown on the page.
	Company    string
	Vocabulary Vocabulary
	// Token lets a connector in; without one the API refuses everybody.
	Token connectors.Secret
	// UserTokens let people use the API too: token to name.
	UserTokens map[string]string
	// People can be chosen as the author on the page, which asks for no password:
	// serve it on loopback only. Nil means one person.
	People []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is one ticket system. It is safe for concurrent use.
type Server struct {
	cfg     Config
	system  *memory.System
	handler http.Handler
}

// New returns an empty ticket system.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.People) == 0 {
		cfg.People = []string{"jane@example.com"}
	}
	s := &Server{cfg: cfg, system: memory.New(memory.Config{
		Name: cfg.Vocabulary.Name, Schema: cfg.Vocabulary.Fields, Now: cfg.Now, Account: Account, CommentKeys: true,
	})}
	api, page := http.NewServeMux(), http.NewServeMux()
	s.routeAPI(api)
	s.routePage(page)
	root := http.NewServeMux()
	root.Handle("/api/", s.authenticated(api))
	root.Handle("/", http.NewCrossOriginProtection().Handler(guarded(page)))
	s.handler = root
	return s
}

// ServeHTTP serves API and page.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
	s.handler.ServeHTTP(w, r)
}

// System is the store behind the server: the users' side of tests and demos,
// and the counts of what the connector wrote.
func (s *Server) System() *memory.System { return s.system }

// Seed adds a ticket as user, with the vocabulary's defaults.
func (s *Server) Seed(user string, fields map[string]value.Value) connectors.Key {
	return s.system.Create(user, s.withDefaults(fields), time.Time{})
}

func (s *Server) withDefaults(fields map[string]value.Value) map[string]value.Value {
	full := map[string]value.Value{}
	for name, v := range s.cfg.Vocabulary.Defaults {
		full[name] = v
	}
	for name, v := range fields {
		full[name] = v
	}
	return full
}

// as returns the store as user sees it.
func (s *Server) as(user string) *memory.Connector { return s.system.ConnectorOf(user) }

type userKey struct{}

// authenticated lets requests with a known token through.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		user := ""
		if !s.cfg.Token.IsZero() && equal(token, s.cfg.Token.Reveal()) {
			user = Account
		}
		for t, name := range s.cfg.UserTokens {
			if t != "" && equal(token, t) {
				user = name
			}
		}
		if user == "" {
			writeError(w, http.StatusUnauthorized, "denied", "", "unknown token")
			return
		}
		next.ServeHTTP(w, r.WithContext(withUser(r.Context(), user)))
	})
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// guarded sets the headers that keep a page from running or leaking anything.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// statusOf is the HTTP status for an error of the store.
func statusOf(err error) (int, *connectors.Error) {
	var e *connectors.Error
	if !errors.As(err, &e) {
		return http.StatusInternalServerError, &connectors.Error{Class: connectors.ClassUnknown}
	}
	switch e.Class {
	case connectors.ClassInvalid:
		return http.StatusUnprocessableEntity, e
	case connectors.ClassDenied:
		return http.StatusForbidden, e
	case connectors.ClassNotFound:
		return http.StatusNotFound, e
	case connectors.ClassConflict:
		return http.StatusPreconditionFailed, e
	case connectors.ClassThrottled:
		return http.StatusTooManyRequests, e
	case connectors.ClassUnavailable:
		return http.StatusServiceUnavailable, e
	}
	return http.StatusInternalServerError, e
}
