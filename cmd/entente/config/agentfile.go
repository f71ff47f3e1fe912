package config

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/agent"
	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/agent/uplink"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// KindAgent is what an agent's file states as its kind.
const KindAgent = "Agent"

type agentFile struct {
	Metadata struct {
		Site crdt.Site      `yaml:"site,required"`
		Name crdt.AgentName `yaml:"name,required"`
	} `yaml:"metadata,required"`
	Dir string `yaml:"dir,required"`
	Hub struct {
		Addresses []string `yaml:"addresses,required"`
		TLS       tlsFiles `yaml:"tls,required"`
	} `yaml:"hub,required"`
	Admin    string                `yaml:"admin"`
	Metrics  string                `yaml:"metrics"`
	Pacts    []string              `yaml:"pacts,required"`
	Bindings []string              `yaml:"bindings,required"`
	Systems  map[string]systemFile `yaml:"systems,required"`
}

type systemFile struct {
	Connector  string            `yaml:"connector,required"`
	URL        string            `yaml:"url,required"`
	Credential *secretFile       `yaml:"credential"`
	Options    map[string]string `yaml:"options"`
	Rate       float64           `yaml:"rate"`
	Timeout    time.Duration     `yaml:"timeout"`
	Poll       time.Duration     `yaml:"poll"`
}

// check refuses numbers that mean nothing; 0 is the default.
func (s *systemFile) check(r *reader, at string) {
	if s.Poll < 0 {
		r.doc.Fail("config.negative", at+"/poll", "", "is %s, want more than 0", s.Poll)
	}
	if s.Timeout < 0 {
		r.doc.Fail("config.negative", at+"/timeout", "", "is %s, want more than 0", s.Timeout)
	}
	if s.Rate < 0 {
		r.doc.Fail("config.negative", at+"/rate", "", "is %v calls a second, want more than 0", s.Rate)
	}
}

// Agent is a loaded agent's file.
type Agent struct {
	Config agent.Config
	// Metrics is where /metrics, /healthz and /readyz listen; "" means nowhere.
	Metrics string
}

// Runtime is what an agent takes from the process around it.
type Runtime struct {
	Specs    map[string]connectors.Spec
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Software string
}

// LoadAgent reads an agent's file and everything that it names. Connectors are
// opened, which checks their settings; nothing is dialled.
func LoadAgent(path string, rt Runtime) (*Agent, error) {
	var in agentFile
	r, err := open(path, KindAgent, &in)
	if err != nil {
		return nil, err
	}
	for i, address := range in.Hub.Addresses {
		r.address(fmt.Sprintf("/hub/addresses/%d", i), address)
	}
	r.address("/metrics", in.Metrics)
	pair, ca := in.Hub.TLS.load(r, "/hub/tls")
	pacts := r.pacts("/pacts", in.Pacts)
	bindings := r.bindings(in.Bindings, pacts)
	systems := r.systems(in.Systems, bindings, rt)
	if err := r.err(); err != nil {
		return nil, err
	}
	self := identity.Agent{Site: in.Metadata.Site, Name: in.Metadata.Name}
	if who, err := named(pair); err != nil {
		r.doc.Fail("config.tls", "/hub/tls/cert", "", "%v", err)
	} else if who != self {
		r.doc.Fail("config.tls", "/hub/tls/cert", "", "is for %s, but this is %s", who, self)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	dial, err := Dialer(pair, ca)
	if err != nil {
		r.doc.Fail("config.tls", "/hub/tls/ca", "", "%v", err)
	}
	out := &Agent{Metrics: in.Metrics, Config: agent.Config{
		Site: in.Metadata.Site, Name: in.Metadata.Name, Dir: r.path(in.Dir),
		Hub: in.Hub.Addresses, Dial: dial, Pacts: pacts, Systems: systems,
		Admin: r.path(in.Admin), Software: rt.Software, Log: rt.Log, Metrics: rt.Metrics,
	}}
	if out.Config.Admin == "" {
		out.Config.Admin = AdminSocket(out.Config.Dir)
	}
	if err := out.Config.Validate(); err != nil {
		r.doc.Fail("config.agent", "", "", "%v", err)
	}
	return out, r.err()
}

// AdminSocket is where the agent or node with this directory is administered
// unless told otherwise.
func AdminSocket(dir string) string { return dir + "/admin.sock" }

// Dialer connects to the nodes of a hub with an agent's certificate.
func Dialer(pair authority.Pair, rootPEM []byte) (uplink.Dialer, error) {
	tls, err := authority.Peer(pair, rootPEM)
	if err != nil {
		return nil, err
	}
	options := append(wire.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(tls)))
	return func(address string) (*grpc.ClientConn, error) { return grpc.NewClient(address, options...) }, nil
}

// boundTo is a binding with the place that names it.
type boundTo struct {
	binding *binding.Binding
	at      string
}

// bindings reads the binding files, by the system that each is for.
func (r *reader) bindings(paths []string, pacts []*pact.Pact) map[string]boundTo {
	out := map[string]boundTo{}
	for i, p := range paths {
		at := fmt.Sprintf("/bindings/%d", i)
		src, ok := r.read(at, p)
		if !ok {
			continue
		}
		b, findings := binding.Load(r.path(p), src, pacts...)
		r.findings = append(r.findings, findings...)
		if b == nil {
			continue
		}
		if other, twice := out[b.System()]; twice {
			r.doc.Fail("config.duplicate", at, "", "system %s has a binding already (%s)", b.System(), other.binding.Name())
		}
		out[b.System()] = boundTo{b, at}
	}
	return out
}

// systems opens a connector for each system that has a binding.
func (r *reader) systems(in map[string]systemFile, bindings map[string]boundTo, rt Runtime) []agent.System {
	var out []agent.System
	for _, name := range sortedKeys(in) {
		at := "/systems/" + name
		s := in[name]
		s.check(r, at)
		b, ok := bindings[name]
		if !ok && len(r.findings) > 0 {
			continue // its binding may be one of the broken ones
		}
		if !ok {
			r.doc.Fail("config.unbound", at, "add a binding with system.name: "+name, "no binding is for this system")
			continue
		}
		spec, ok := rt.Specs[s.Connector]
		if !ok {
			r.doc.Fail("config.connector", at+"/connector", yamlfile.DidYouMean(s.Connector, sortedKeys(rt.Specs)), "unknown connector %q", s.Connector)
			continue
		}
		if b.binding.Connector() != s.Connector {
			r.doc.Fail("config.connector", at+"/connector", "", "is %s, but binding %s is for %s",
				s.Connector, b.binding.Name(), b.binding.Connector())
			continue
		}
		settings := connectors.Settings{
			Name: name, URL: s.URL, Scope: b.binding.Scope(), Options: s.Options,
			RatePerSecond: s.Rate, Timeout: s.Timeout, Log: rt.Log, Metrics: rt.Metrics,
		}
		if s.Credential != nil {
			settings.Credential = s.Credential.load(r, at+"/credential")
		}
		connector, err := spec.Open(settings)
		if err != nil {
			r.doc.Fail("config.system", at, "", "%v", err)
			continue
		}
		out = append(out, agent.System{
			Name: name, Connector: connector, Capabilities: spec.Capabilities,
			Binding: b.binding, Poll: s.Poll,
		})
	}
	for _, name := range sortedKeys(bindings) {
		if _, ok := in[name]; !ok {
			b := bindings[name]
			r.doc.Fail("config.no_system", b.at, "", "binding %s is for system %q, which /systems does not name", b.binding.Name(), name)
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
