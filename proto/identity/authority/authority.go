// Package authority is the small certificate authority of one hub: it issues a
// certificate for each node and each agent, with the identity in a URI (package
// identity). It keeps nothing: callers store what Encode returns.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/entente-sync/entente/proto/identity"
)

// Lives of certificates. Enrolment with short-lived certificates will replace
// the long ones.
const (
	RootLife = 10 * 365 * 24 * time.Hour
	LeafLife = 365 * 24 * time.Hour

	backdated = 5 * time.Minute // clocks differ
)

// ErrMalformed is wrapped by errors about bytes that are no authority.
var ErrMalformed = errors.New("malformed certificate authority")

// Authority signs certificates. Guard its key: whoever holds it is every agent
// and every node.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// Pair is a certificate with its private key, both PEM.
type Pair struct {
	CertPEM []byte
	KeyPEM  []byte
}

// String keeps the key out of logs.
func (Pair) String() string { return "certificate ***" }

// Format keeps it out of every verb of package fmt.
func (p Pair) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, p.String()) }

// MarshalText keeps it out of JSON, and so out of structured logs.
func (p Pair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// New makes an authority with a new key. name is for people.
func New(name string, now func() time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	if err := date(template, now(), RootLife); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return &Authority{cert: cert, key: key, now: now}, nil
}

// Load reads what Encode returned.
func Load(p Pair, now func() time.Time) (*Authority, error) {
	certBlock, _ := pem.Decode(p.CertPEM)
	keyBlock, _ := pem.Decode(p.KeyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%w: no PEM block", ErrMalformed)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%w: key and certificate are no authority", ErrMalformed)
	}
	return &Authority{cert: cert, key: key, now: now}, nil
}

// Encode returns the authority's own certificate and key.
func (a *Authority) Encode() (Pair, error) { return encode(a.cert.Raw, a.key) }

// CertPEM returns the certificate that peers trust.
func (a *Authority) CertPEM() []byte { return pemOf("CERTIFICATE", a.cert.Raw) }

// Pool returns the certificate that peers trust, as a pool.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue makes a key and a certificate for id. A node serves, and is dialled at
// hosts: DNS names or IP addresses.
func (a *Authority) Issue(id identity.Identity, hosts ...string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("authority: %w", err)
	}
	der, err := a.sign(key.Public(), id, hosts...)
	if err != nil {
		return Pair{}, err
	}
	return encode(der, key)
}

// Sign makes a certificate, in PEM, for a key that somebody else holds. Whether
// they do is for the caller to have checked.
func (a *Authority) Sign(public crypto.PublicKey, id identity.Identity, hosts ...string) ([]byte, error) {
	if key, ok := public.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: want an ECDSA key on P-256", ErrMalformed)
	}
	der, err := a.sign(public, id, hosts...)
	if err != nil {
		return nil, err
	}
	return pemOf("CERTIFICATE", der), nil
}

func (a *Authority) sign(public crypto.PublicKey, id identity.Identity, hosts ...string) ([]byte, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.String()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{id.URI()},
	}
	if _, serves := id.(identity.Node); serves {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	if err := date(template, a.now(), LeafLife); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return der, nil
}

func date(c *x509.Certificate, now time.Time, life time.Duration) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	c.SerialNumber = serial
	c.NotBefore, c.NotAfter = now.Add(-backdated), now.Add(life)
	return nil
}

func encode(der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("authority: %w", err)
	}
	return Pair{CertPEM: pemOf("CERTIFICATE", der), KeyPEM: pemOf("PRIVATE KEY", pkcs8)}, nil
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
