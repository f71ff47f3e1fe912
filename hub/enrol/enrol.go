package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"time"

	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/identity/authority"
)

const enrolMax = 30 * time.Second

// Granted is what a node joins with.
type Granted struct {
	Pair  authority.Pair // the key never left this machine
	CA    []byte         // PEM
	Nodes []string       // where members are reached by nodes
}

// Enrol makes a key and gets a certificate for it from the node at address, which
// must be of the token's hub. nodes and agents are where the new node will be
// reached.
func Enrol(ctx context.Context, address string, t Token, nodes, agents string) (Granted, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolMax)
	defer cancel()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(t.CA)) {
		return Granted{}, fmt.Errorf("%w: no certificate of an authority", ErrToken)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Granted{}, fmt.Errorf("enrol: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return Granted{}, fmt.Errorf("enrol: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Granted{}, fmt.Errorf("enrol: %w", err)
	}
	client := admin.NewNodeClient(address, func(ctx context.Context) (net.Conn, error) {
		return replica.DialEnrol(ctx, address, t.Hub, roots)
	})
	got, err := client.Enrol(ctx, admin.Enrol{
		ID: t.ID, Secret: t.Secret, Node: t.Node, Nodes: nodes, Agents: agents,
		Request: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})),
	})
	if err != nil {
		return Granted{}, fmt.Errorf("enrol at %s: %w", address, err)
	}
	return Granted{
		Pair: authority.Pair{
			CertPEM: []byte(got.Certificate),
			KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
		CA: []byte(t.CA), Nodes: got.Nodes,
	}, nil
}
