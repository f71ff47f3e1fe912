// Package config reads the files that operators and integration admins write
// (agents, hubs, and what those name) into the configurations that the programs
// take. Every mistake becomes a finding with file, line and column.
package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// ErrInvalid is wrapped by every error that is a mistake in a file.
var ErrInvalid = errors.New("invalid configuration")

// secretBytesMax bounds a credential's file.
const secretBytesMax = 64 << 10

// reader loads files that name each other. Paths are relative to the file that
// names them.
type reader struct {
	doc      *yamlfile.Document
	dir      string
	findings []yamlfile.Finding
}

// open reads the outermost file into out.
func open(path, kind string, out any) (*reader, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	doc, findings := yamlfile.Load(path, src, kind, out)
	if len(findings) > 0 {
		return nil, invalid(findings)
	}
	return &reader{doc: doc, dir: filepath.Dir(path)}, nil
}

// err returns all findings as one error.
func (r *reader) err() error {
	findings := append(r.doc.Findings(), r.findings...)
	if len(findings) == 0 {
		return nil
	}
	return invalid(findings)
}

func invalid(findings []yamlfile.Finding) error {
	return fmt.Errorf("%w: %w", ErrInvalid, yamlfile.Err(findings))
}

// path resolves a path written at a place of the file.
func (r *reader) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.dir, p)
}

// read returns the content of a file named at a place of the file.
func (r *reader) read(at, p string) ([]byte, bool) {
	src, err := os.ReadFile(r.path(p))
	if err != nil {
		r.doc.Fail("config.file", at, "", "cannot be read: %v", err)
		return nil, false
	}
	return src, true
}

// pacts reads the pact files named at a place of the file.
func (r *reader) pacts(at string, paths []string) []*pact.Pact {
	var out []*pact.Pact
	names := map[crdt.Pact]bool{}
	for i, p := range paths {
		place := fmt.Sprintf("%s/%d", at, i)
		src, ok := r.read(place, p)
		if !ok {
			continue
		}
		one, findings := pactfile.Load(r.path(p), src)
		r.findings = append(r.findings, findings...)
		if one == nil {
			continue
		}
		if names[one.Name] {
			r.doc.Fail("config.duplicate", place, "", "pact %s is given twice", one.Name)
		}
		names[one.Name] = true
		out = append(out, one)
	}
	return out
}

// address checks a HOST:PORT at a place of the file; "" is no address.
func (r *reader) address(at, address string) {
	if address == "" {
		return
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		r.doc.Fail("config.address", at, "write HOST:PORT", "%q is no address", address)
	}
}

// tlsFiles names a certificate, its key, and whom to trust.
type tlsFiles struct {
	Cert string `yaml:"cert,required"`
	Key  string `yaml:"key,required"`
	CA   string `yaml:"ca,required"`
}

// load returns the pair and the certificate to trust.
func (f tlsFiles) load(r *reader, at string) (authority.Pair, []byte) {
	cert, _ := r.read(at+"/cert", f.Cert)
	key, _ := r.read(at+"/key", f.Key)
	ca, _ := r.read(at+"/ca", f.CA)
	return authority.Pair{CertPEM: cert, KeyPEM: key}, ca
}

// named reads whom a certificate that has its key names.
func named(pair authority.Pair) (identity.Identity, error) {
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		return nil, err
	}
	return identity.FromCertificate(cert.Leaf)
}

// secretFile names the file that holds a credential: no secret stands in a
// configuration or in an environment variable.
type secretFile struct {
	File string `yaml:"file,required"`
}

func (s secretFile) load(r *reader, at string) connectors.Secret {
	text, err := readSecret(r.path(s.File))
	if err != nil {
		code := "config.secret"
		if errors.Is(err, errUnreadable) {
			code = "config.file"
		}
		r.doc.Fail(code, at+"/file", "", "%v", err)
	}
	return connectors.NewSecret(text)
}

var errUnreadable = errors.New("cannot be read")

// readSecret returns a credential from its file.
func readSecret(path string) (string, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnreadable, err)
	}
	text := strings.TrimRight(string(src), "\r\n")
	if text == "" || len(text) > secretBytesMax {
		return "", fmt.Errorf("holds %d bytes, want 1 to %d", len(text), secretBytesMax)
	}
	return text, nil
}
