package authority

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// Peer makes TLS settings for one certificate: TLS 1.3 only, the other side
// must show a certificate of the authority whose certificate is rootPEM. The same
// settings serve and dial. Which role the other side has is for the caller to check.
func Peer(p Pair, rootPEM []byte) (*tls.Config, error) {
	cert, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(rootPEM) {
		return nil, fmt.Errorf("%w: no certificate to trust", ErrMalformed)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}
