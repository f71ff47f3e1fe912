package dev

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/pact/pactfile"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// files are the pact and the two bindings, for people to read and learn from.
//
//go:embed files
var files embed.FS

const (
	filesDir = "files"
	pactFile = "pact.yaml"
)

// copyFiles puts the embedded files into dir, where people can read them.
func copyFiles(dir string) error {
	return fs.WalkDir(files, filesDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, entry.Name()), content, 0o600)
	})
}

func loadPact() (*pact.Pact, error) {
	src, err := files.ReadFile(path.Join(filesDir, pactFile))
	if err != nil {
		return nil, err
	}
	p, findings := pactfile.Load(pactFile, src)
	return p, asError(findings)
}

// loadBinding reads a binding and runs the tests that stand in it.
func loadBinding(name string, p *pact.Pact) (*binding.Binding, error) {
	src, err := files.ReadFile(path.Join(filesDir, name))
	if err != nil {
		return nil, err
	}
	b, findings := binding.Load(name, src, p)
	if b != nil {
		findings = append(findings, b.RunTests()...)
	}
	return b, asError(findings)
}

func asError(findings []yamlfile.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return yamlfile.Err(findings)
}

// stateDir returns the directory to keep state in, and how to let go of it: a
// given one must be empty and stays, else a temporary one is removed.
func stateDir(given string) (dir string, release func() error, err error) {
	if given == "" {
		dir, err = os.MkdirTemp("", "entente-dev-*")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	keep := func() error { return nil }
	if err := os.MkdirAll(given, 0o700); err != nil {
		return "", keep, err
	}
	entries, err := os.ReadDir(given)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%w: %s", ErrNotEmpty, given)
	}
	return given, keep, err
}

// ErrNotEmpty is wrapped when Config.Dir holds something: the sandboxes forget
// everything when they stop, so agents that remember more would not fit to them.
var ErrNotEmpty = errors.New("the directory for the state is not empty")
