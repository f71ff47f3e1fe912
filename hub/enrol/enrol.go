package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
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

// NewKey makes a node's key, as PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}

func readKey(keyPEM []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("enrol: no private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("enrol: private key: %w", err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("enrol: private key: %T, want ECDSA", key)
	}
	return private, nil
}

// Enrol is EnrolKey with a new key.
func Enrol(ctx context.Context, address string, t Token, nodes, agents string) (Granted, error) {
	key, err := NewKey()
	if err != nil {
		return Granted{}, err
	}
	return EnrolKey(ctx, address, t, nodes, agents, key)
}

// EnrolKey gets a certificate for a key of NewKey's from the node at address, which
// must be of the token's hub. nodes and agents are where the new node will be
// reached. If the answer is lost, the same key may ask again with the same token.
func EnrolKey(ctx context.Context, address string, t Token, nodes, agents string, keyPEM []byte) (Granted, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolMax)
	defer cancel()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(t.CA)) {
		return Granted{}, fmt.Errorf("%w: no certificate of an authority", ErrToken)
	}
	key, err := readKey(keyPEM)
	if err != nil {
		return Granted{}, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
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
			KeyPEM:  keyPEM,
		},
		CA: []byte(t.CA), Nodes: got.Nodes,
	}, nil
}
