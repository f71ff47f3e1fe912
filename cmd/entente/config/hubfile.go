package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

// KindHub is what a hub node's file states as its kind.
const KindHub = "Hub"

type hubFile struct {
	Dir    string   `yaml:"dir,required"`
	TLS    tlsFiles `yaml:"tls,required"`
	Listen struct {
		Agents string `yaml:"agents,required"`
		Nodes  string `yaml:"nodes"`
	} `yaml:"listen,required"`
	Peers   map[string]peerFile `yaml:"peers"`
	Join    []string            `yaml:"join"`
	Reached *peerFile           `yaml:"reached"`
	Sign    *signFile           `yaml:"authority"`
	Admin   string              `yaml:"admin"`
	Metrics string              `yaml:"metrics"`
	Pacts   []string            `yaml:"pacts,required"`
	Limits  limitsFile          `yaml:"limits"`
	Timing  timingFile          `yaml:"timing"`
	Storage storageFile         `yaml:"storage"`
	Backup  backupFile          `yaml:"backup"`
}

type peerFile struct {
	Agents string `yaml:"agents,required"`
	Nodes  string `yaml:"nodes,required"`
}

// signFile names the hub's authority, on a node that lets others enrol.
type signFile struct {
	Cert string `yaml:"cert,required"`
	Key  string `yaml:"key,required"`
}

// load returns what makes certificates.
func (f *signFile) load(r *reader) (*authority.Authority, error) {
	cert, _ := r.read("/authority/cert", f.Cert)
	key, _ := r.read("/authority/key", f.Key)
	if err := r.err(); err != nil {
		return nil, err
	}
	ca, err := authority.Load(authority.Pair{CertPEM: cert, KeyPEM: key}, time.Now)
	if err != nil {
		r.doc.Fail("config.authority", "/authority", "", "%v", err)
		return nil, r.err()
	}
	return ca, nil
}

// Hub is a loaded hub node's file.
type Hub struct {
	Config hub.Config
	// Metrics is where /metrics, /healthz and /readyz listen; "" means nowhere.
	Metrics string
	// Agents and Nodes are the addresses to listen on; Nodes may be "".
	Agents, Nodes string
}

// LoadHub reads a hub node's file and everything that it names. Nothing listens
// before Listen.
func LoadHub(path string, log *slog.Logger, metrics *prometheus.Registry) (*Hub, error) {
	var in hubFile
	r, err := open(path, KindHub, &in)
	if err != nil {
		return nil, err
	}
	r.address("/listen/agents", in.Listen.Agents)
	r.address("/listen/nodes", in.Listen.Nodes)
	r.address("/metrics", in.Metrics)
	pair, ca := in.TLS.load(r, "/tls")
	out := &Hub{Metrics: in.Metrics, Agents: in.Listen.Agents, Nodes: in.Listen.Nodes, Config: hub.Config{
		Dir: r.path(in.Dir), Admin: in.socket(r), Pacts: r.pacts("/pacts", in.Pacts),
		Log: log, Metrics: metrics,
		Limits: in.Limits.load(r), Timing: in.Timing.load(r), Sizes: in.Storage.load(r), Backup: in.Backup.load(r),
	}}
	for _, name := range sortedKeys(in.Peers) {
		p := in.Peers[name]
		r.address("/peers/"+name+"/agents", p.Agents)
		r.address("/peers/"+name+"/nodes", p.Nodes)
		out.Config.Peers = append(out.Config.Peers, hub.Peer{Node: name, Nodes: p.Nodes, Agents: p.Agents})
	}
	out.Config.Join = in.Join
	for i, address := range in.Join {
		r.address(fmt.Sprintf("/join/%d", i), address)
	}
	if in.Reached != nil {
		out.Config.Reached = &hub.Peer{Nodes: in.Reached.Nodes, Agents: in.Reached.Agents}
	}
	if in.Sign != nil {
		ca, err := in.Sign.load(r)
		if err != nil {
			return nil, err
		}
		out.Config.Sign = ca.Sign
	}
	if len(in.Peers)+len(in.Join) > 0 && in.Listen.Nodes == "" {
		r.doc.Fail("config.listen", "/listen", "", "a hub of several nodes needs an address for nodes")
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	if who, err := named(pair); err != nil {
		r.doc.Fail("config.tls", "/tls/cert", "", "%v", err)
	} else if _, node := who.(identity.Node); !node {
		r.doc.Fail("config.tls", "/tls/cert", "", "is for %s, which is no node", who)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	if out.Config.TLS, err = authority.Peer(pair, ca); err != nil {
		r.doc.Fail("config.tls", "/tls/ca", "", "%v", err)
	}
	return out, r.err()
}

// HubTrust reads the certificate of the authority that a hub's file names.
func HubTrust(path string) ([]byte, error) {
	var in hubFile
	r, err := open(path, KindHub, &in)
	if err != nil {
		return nil, err
	}
	ca, _ := r.read("/tls/ca", in.TLS.CA)
	return ca, r.err()
}

// HubSocket reads where the node of a hub's file is administered, and nothing
// that the file names.
func HubSocket(path string) (string, error) {
	var in hubFile
	r, err := open(path, KindHub, &in)
	if err != nil {
		return "", err
	}
	return in.socket(r), nil
}

func (in *hubFile) socket(r *reader) string {
	if in.Admin == "" {
		return AdminSocket(r.path(in.Dir))
	}
	return r.path(in.Admin)
}

// Listen takes the addresses; the hub closes them.
func (h *Hub) Listen() error {
	agents, err := net.Listen("tcp", h.Agents)
	if err != nil {
		return fmt.Errorf("listen for agents: %w", err)
	}
	h.Config.Agents = agents
	if h.Nodes == "" {
		return nil
	}
	if h.Config.Nodes, err = net.Listen("tcp", h.Nodes); err != nil {
		return errors.Join(fmt.Errorf("listen for nodes: %w", err), agents.Close())
	}
	return nil
}
