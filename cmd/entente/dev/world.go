// Package dev runs a small world in one process, to try Entente and to check
// it: two companies with a ticket system and an agent each, and the hub between
// them. Everything speaks over loopback as it would over the Internet; the
// certificates come from an authority that nobody keeps.
package dev

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/agent"
	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/sandbox"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
	"github.com/entente-sync/entente/proto/pact"
)

// Config of a world.
type Config struct {
	// Dir keeps the state and must be empty; "" means a temporary directory that
	// Close removes.
	Dir string
	// Sockets is the directory of the agents' admin sockets; its path must be short
	// enough for one (104 bytes on some systems).
	Sockets string
	Ports   Ports
	// Poll is the pause between two looks at a ticket system; 0 means 250 ms.
	Poll     time.Duration
	Software string
	Log      *slog.Logger
}

// Ports on loopback; 0 means a free one.
type Ports struct{ Tracker, Desk, Hub, Metrics int }

// ErrRunning is wrapped when the agents of another world answer at the sockets.
var ErrRunning = errors.New("another `entente dev` is running")

// World is an open world. Open it, Run it once, Close it.
type World struct {
	Dir     string
	Metrics string // URL
	Hub     *hub.Hub
	HubAt   string // host:port
	Sides   []*Side

	cfg      Config
	pact     *pact.Pact
	registry *prometheus.Registry
	mux      *http.ServeMux
	failed   chan error
	closers  []func() error // run in reverse
}

// Side is one company at work.
type Side struct {
	company
	Sandbox *sandbox.Server
	URL     string // of the ticket system
	Token   string // lets people use its API, as the first of them
	Socket  string // of the agent's admin API

	agent *agent.Agent
}

// Site returns the company's name in the pact.
func (s *Side) Site() string { return string(s.site) }

// Admin returns a client for the agent's socket.
func (s *Side) Admin() *admin.Client { return admin.NewClient(s.Socket) }

// Open starts the hub and the ticket systems, filled with tickets; agents begin
// with Run.
func Open(ctx context.Context, cfg Config) (w *World, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 250 * time.Millisecond
	}
	w = &World{cfg: cfg, registry: prometheus.NewRegistry(), mux: http.NewServeMux(), failed: make(chan error, 4)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	dir, release, err := stateDir(cfg.Dir)
	if err != nil {
		return w, err
	}
	w.Dir = dir
	w.onClose(release)
	w.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if w.pact, err = loadPact(); err != nil {
		return w, err
	}
	if err := errors.Join(copyFiles(dir), w.openSockets()); err != nil {
		return w, err
	}
	ca, err := authority.New("entente dev", time.Now)
	if err != nil {
		return w, err
	}
	if err := w.openHub(ctx, ca); err != nil {
		return w, err
	}
	for i, c := range []company{acme(), globex()} {
		if err := w.openSide(ca, c, []int{cfg.Ports.Tracker, cfg.Ports.Desk}[i]); err != nil {
			return w, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	w.mux.Handle("GET /metrics", promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{}))
	if w.Metrics, err = w.serve(cfg.Ports.Metrics, w.mux); err != nil {
		return w, fmt.Errorf("metrics: %w", err)
	}
	w.Metrics += "/metrics"
	return w, nil
}

func (w *World) onClose(closer func() error) { w.closers = append(w.closers, closer) }

// openSockets makes the directory of the sockets, nobody else's.
func (w *World) openSockets() error {
	dir := w.cfg.Sockets
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // fails if it is another user's
		return err
	}
	for _, c := range []company{acme(), globex()} {
		path := socketOf(dir, c)
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			return errors.Join(fmt.Errorf("%w; its agent answers at %s", ErrRunning, path), conn.Close())
		}
	}
	w.onClose(func() error {
		_ = os.Remove(dir) // stays if something else is in it
		return nil
	})
	return nil
}

func socketOf(dir string, c company) string { return filepath.Join(dir, string(c.site)+".sock") }

// listen takes a port on loopback: the pages ask for no password.
func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// serve answers HTTP until Close and returns the URL.
func (w *World) serve(port int, handler http.Handler) (string, error) {
	listener, err := listen(port)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			w.fail(err)
		}
	}()
	w.onClose(server.Close)
	return "http://" + listener.Addr().String(), nil
}

// fail ends Run; only the first failures matter.
func (w *World) fail(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

func (w *World) openHub(ctx context.Context, ca *authority.Authority) error {
	id, err := hub.NewID(rand.Reader)
	if err != nil {
		return err
	}
	pair, err := ca.Issue(identity.Node{Hub: id.String(), Name: "n1"}, "127.0.0.1")
	if err != nil {
		return err
	}
	secure, err := authority.Peer(pair, ca.CertPEM())
	if err != nil {
		return err
	}
	listener, err := listen(w.cfg.Ports.Hub)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	w.HubAt = listener.Addr().String()
	w.Hub, err = hub.Open(ctx, hub.Config{
		Dir: filepath.Join(w.Dir, "hub"), TLS: secure, Agents: listener, Pacts: []*pact.Pact{w.pact},
		Log: w.cfg.Log.With("part", "hub"), Metrics: w.registry,
		Exit:   func(err error) { w.fail(fmt.Errorf("hub: %w", err)) },
		Timing: hub.Timing{Heartbeat: 300 * time.Millisecond, Drain: time.Second},
		Sizes:  hub.Sizes{Segment: 4 << 20, MemTable: 4 << 20, Reserve: 64 << 20, Ballast: -1},
	})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	w.onClose(w.Hub.Close)
	w.mux.Handle("/hub/", http.StripPrefix("/hub", w.Hub.Handler()))
	return w.hubReady(ctx)
}

// hubReadyMax bounds the founding of the hub.
const hubReadyMax = 30 * time.Second

// hubReady waits until agents may come.
func (w *World) hubReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hubReadyMax)
	defer cancel()
	for {
		err := w.Hub.Readyz()
		if err == nil {
			return nil
		}
		timer := time.NewTimer(10 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("the hub is not ready: %w", errors.Join(err, ctx.Err()))
		case <-timer.C:
		}
	}
}

// openSide opens one company: ticket system first, then the agent beside it.
func (w *World) openSide(ca *authority.Authority, c company, port int) error {
	s := &Side{company: c, Socket: socketOf(w.cfg.Sockets, c)}
	account, err := randomToken()
	if err != nil {
		return err
	}
	if s.Token, err = randomToken(); err != nil {
		return err
	}
	s.Sandbox = sandbox.New(sandbox.Config{
		Company: c.name, Vocabulary: c.vocabulary, Token: connectors.NewSecret(account),
		UserTokens: map[string]string{s.Token: c.people[0]}, People: c.people,
	})
	if err := plant(s.Sandbox, c, c.seeds); err != nil {
		return err
	}
	if s.URL, err = w.serve(port, s.Sandbox); err != nil {
		return err
	}
	if s.agent, err = w.openAgent(ca, s, connectors.NewSecret(account)); err != nil {
		return err
	}
	w.onClose(s.agent.Close)
	w.mux.Handle("/"+s.Site()+"/", http.StripPrefix("/"+s.Site(), s.agent.Handler(w.registry)))
	w.Sides = append(w.Sides, s)
	return nil
}

func (w *World) openAgent(ca *authority.Authority, s *Side, account connectors.Secret) (*agent.Agent, error) {
	who := identity.Agent{Site: s.site, Name: "main"}
	pair, err := ca.Issue(who)
	if err != nil {
		return nil, err
	}
	dial, err := config.Dialer(pair, ca.CertPEM())
	if err != nil {
		return nil, err
	}
	bound, err := loadBinding(s.bindings, w.pact)
	if err != nil {
		return nil, err
	}
	log := w.cfg.Log.With("part", "agent", "site", s.Site())
	metrics := prometheus.WrapRegistererWith(prometheus.Labels{"site": s.Site()}, w.registry)
	spec := sandbox.Spec()
	connector, err := spec.Open(connectors.Settings{
		Name: s.system, URL: s.URL, Scope: bound.Scope(), Credential: account,
		Log: log, Metrics: metrics,
	})
	if err != nil {
		return nil, err
	}
	if closer, ok := connector.(io.Closer); ok {
		w.onClose(closer.Close)
	}
	return agent.Open(agent.Config{
		Site: who.Site, Name: who.Name, Dir: filepath.Join(w.Dir, s.Site()), Hub: []string{w.HubAt}, Dial: dial,
		Pacts: []*pact.Pact{w.pact}, Admin: s.Socket, Software: w.cfg.Software, Log: log, Metrics: metrics,
		Systems: []agent.System{{
			Name: s.system, Connector: connector, Capabilities: spec.Capabilities, Binding: bound,
			Poll: w.cfg.Poll,
		}},
	})
}

// Run lets the agents work until ctx ends, which is a graceful stop and returns
// nil, or until something fails for good.
func (w *World) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range w.Sides {
		group.Go(func() error { return s.agent.Run(ctx) })
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.failed:
			return err
		}
	})
	return group.Wait()
}

// Close stops everything and removes what was temporary. Run must have returned.
func (w *World) Close() error {
	var errs []error
	for _, closer := range slices.Backward(w.closers) {
		errs = append(errs, closer())
	}
	w.closers = nil
	return errors.Join(errs...)
}

func randomToken() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}
