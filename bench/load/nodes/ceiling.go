package nodes

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/identity"
)

// ceilingConfig makes of a hub's file what raft needs: the same certificates,
// addresses and settings.
func ceilingConfig(loaded *config.Hub) (replica.Config, error) {
	cfg := &loaded.Config
	pair := &cfg.TLS.Certificates[0]
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return replica.Config{}, err
	}
	self, err := identity.NodeFromCertificate(leaf)
	if err != nil {
		return replica.Config{}, err
	}
	addresses := map[string]string{}
	var voters []string
	for _, p := range cfg.Peers {
		addresses[p.Node] = p.Nodes
		voters = append(voters, p.Node)
	}
	return replica.Config{
		Hub: self.Hub, Node: self.Name, Dir: cfg.Dir, Listener: cfg.Nodes, Voters: voters, Log: cfg.Log,
		AddressOf: func(node string) (string, error) {
			if a, ok := addresses[node]; ok {
				return a, nil
			}
			return "", fmt.Errorf("unknown node %s", node)
		},
		Security: &replica.Security{
			Certificate: func() (*tls.Certificate, error) { return pair, nil },
			Roots:       cfg.TLS.RootCAs,
		},
	}, nil
}
