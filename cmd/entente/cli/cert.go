package cli

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

// Files in the directory of an authority.
const (
	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"
	hubIDFile  = "hub.id"
)

func newCert() *cobra.Command {
	c := &cobra.Command{
		Use: "cert", Short: "Make the certificates of a hub and its agents", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCertInit(), newCertNode(), newCertAgent())
	return c
}

func newCertInit() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a new authority and a hub id",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var id [16]byte
			if _, err := rand.Read(id[:]); err != nil {
				return err
			}
			hub := hex.EncodeToString(id[:])
			ca, err := authority.New("Entente hub "+hub, time.Now)
			if err != nil {
				return err
			}
			pair, err := ca.Encode()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			err = errors.Join(
				writeNew(filepath.Join(dir, caKeyFile), pair.KeyPEM, 0o600),
				writeNew(filepath.Join(dir, caCertFile), pair.CertPEM, 0o644),
				writeNew(filepath.Join(dir, hubIDFile), []byte(hub+"\n"), 0o644))
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "hub id %s\nnext: entente cert node --dir %s NAME HOST...\n", hub, dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "certs", "directory of the authority")
	return c
}

func newCertNode() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "node NAME HOST...",
		Short: "Issue a node's certificate, valid at the given DNS names and IP addresses",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			hub, err := os.ReadFile(filepath.Join(dir, hubIDFile))
			if err != nil {
				return err
			}
			id := identity.Node{Hub: strings.TrimSpace(string(hub)), Name: args[0]}
			return issue(c, dir, args[0], id, id.Validate(), args[1:]...)
		},
	}
	c.Flags().StringVar(&dir, "dir", "certs", "directory of the authority")
	return c
}

func newCertAgent() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "agent SITE NAME",
		Short: "Issue an agent's certificate",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			id := identity.Agent{Site: crdt.Site(args[0]), Name: crdt.AgentName(args[1])}
			return issue(c, dir, args[0]+"-"+args[1], id, id.Validate())
		},
	}
	c.Flags().StringVar(&dir, "dir", "certs", "directory of the authority")
	return c
}

// issue writes NAME.crt and NAME.key beside the authority.
func issue(c *cobra.Command, dir, name string, id identity.Identity, invalid error, hosts ...string) error {
	if invalid != nil {
		return &usageError{invalid}
	}
	cert, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return err
	}
	ca, err := authority.Load(authority.Pair{CertPEM: cert, KeyPEM: key}, time.Now)
	if err != nil {
		return err
	}
	pair, err := ca.Issue(id, hosts...)
	if err != nil {
		return err
	}
	base := filepath.Join(dir, name)
	if err := errors.Join(writeNew(base+".key", pair.KeyPEM, 0o600), writeNew(base+".crt", pair.CertPEM, 0o644)); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s.crt and %s.key: %s\n", base, base, id)
	return nil
}

// writeNew never overwrites: a key that is gone is gone.
func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
