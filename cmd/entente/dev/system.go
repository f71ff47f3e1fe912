package dev

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/sandbox"
)

// ErrSystem is wrapped when a ticket system cannot be as it was asked for.
var ErrSystem = errors.New("no such ticket system")

// System is the ticket system of one company alone, empty, for an agent that runs
// as a process of its own.
type System struct {
	listener net.Listener
	handler  http.Handler
}

// OpenSystem listens at address, which must be on loopback: its page asks for no
// password. The token lets the agent in.
func OpenSystem(site, address string, token connectors.Secret) (*System, error) {
	for _, c := range []company{acme(), globex()} {
		if string(c.site) != site {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
			return nil, errors.Join(fmt.Errorf("%w: %s is not on loopback, and whoever reaches the page may write", ErrSystem, address), listener.Close())
		}
		return &System{listener, sandbox.New(sandbox.Config{
			Company: c.name, Vocabulary: c.vocabulary, Token: token, People: c.people,
		})}, nil
	}
	return nil, fmt.Errorf("%w: there are acme's and globex's, not %q", ErrSystem, site)
}

// URL is where it is reached.
func (s *System) URL() string { return "http://" + s.listener.Addr().String() }

// Run answers until ctx ends, which is no error.
func (s *System) Run(ctx context.Context) error {
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
