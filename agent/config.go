// Package agent puts an agent together: the store, the pure core behind its
// engine, a capture and an apply loop per system, the uplink to the hub, and the
// admin socket. It knows no command line and no configuration file.
package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/agent/bound"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/uplink"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// Config is all that an agent needs. Dir, Site, Name, Hub, Dial, Pacts and
// Systems are required.
type Config struct {
	Site crdt.Site
	Name crdt.AgentName
	// Dir holds the agent's store; it belongs to one agent.
	Dir string
	// Hub lists addresses of the hub's nodes, Dial connects to one.
	Hub  []string
	Dial uplink.Dialer
	// Pacts that this site accepted. The hub's documents must equal them.
	Pacts   []*pact.Pact
	Systems []System
	// Admin is the path of the admin socket; "" means none.
	Admin string
	// Software goes to the hub, for people.
	Software string

	Log     *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil keeps them private
	Now     func() time.Time      // nil means time.Now
	Random  io.Reader             // nil means crypto/rand; read once, by a new agent
}

// System is one business system beside the agent.
type System struct {
	Name         string
	Connector    connectors.Connector
	Capabilities connectors.Capabilities
	Binding      *binding.Binding
	// Poll is the pause between two listings; 0 means 5 s.
	Poll time.Duration
}

// Validate reports everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	author := crdt.Author{Site: c.Site, Agent: c.Name, Incarnation: 1}
	errs = append(errs, author.Validate())
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New(what))
		}
	}
	need(c.Dir != "", "no directory for the store")
	need(len(c.Hub) > 0 && c.Dial != nil, "no hub to dial")
	need(len(c.Pacts) > 0, "no pact")
	need(len(c.Systems) > 0, "no system")
	pacts := map[crdt.Pact]bool{}
	for i, address := range c.Hub {
		need(address != "", fmt.Sprintf("address %d of the hub is empty", i))
	}
	for i, p := range c.Pacts {
		if p == nil {
			need(false, fmt.Sprintf("pact %d is nil", i))
			continue
		}
		need(!pacts[p.Name], fmt.Sprintf("pact %s is given twice", p.Name))
		need(p.IsMember(c.Site), fmt.Sprintf("site %s is no member of pact %s", c.Site, p.Name))
		pacts[p.Name] = true
	}
	names := map[string]bool{}
	for _, s := range c.Systems {
		need(s.Name != "" && !names[s.Name], fmt.Sprintf("system name %q is empty or given twice", s.Name))
		need(s.Connector != nil && s.Binding != nil, fmt.Sprintf("system %s has no connector or no binding", s.Name))
		if s.Binding != nil {
			need(pacts[s.Binding.Pact()], fmt.Sprintf("system %s is bound to pact %s, which is not given", s.Name, s.Binding.Pact()))
		}
		names[s.Name] = true
	}
	return errors.Join(errs...)
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
}

// core returns what the pure part needs to know.
func (c *Config) core() *core.Config {
	out := &core.Config{
		Site: c.Site, Agent: c.Name,
		Systems: make(map[string]core.System, len(c.Systems)),
		Pacts:   make(map[crdt.Pact]*pact.Pact, len(c.Pacts)),
	}
	for _, p := range c.Pacts {
		out.Pacts[p.Name] = p
	}
	for _, s := range c.Systems {
		out.Systems[s.Name] = core.System{
			Capabilities: s.Capabilities,
			Binding:      bound.To(s.Binding), OnMeet: core.MeetPolicy(s.Binding.OnMeet(c.Site)),
			Filter: filter(),
		}
	}
	return out
}
