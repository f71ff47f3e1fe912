package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/enrol"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/identity/authority"
)

// Token lives.
const (
	tokenLife    = 15 * time.Minute
	tokenLifeMax = 24 * time.Hour
)

// placeFlags say where a node lives and is reached.
type placeFlags struct {
	dir, nodes, agents string
	pacts              []string
}

func (f *placeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.dir, "dir", ".", "directory for the node's files")
	c.Flags().StringVar(&f.nodes, "nodes", "", "NAME:PORT at which other nodes reach this one")
	c.Flags().StringVar(&f.agents, "agents", "", "NAME:PORT at which agents reach this one")
	c.Flags().StringArrayVar(&f.pacts, "pact", nil, "file of a pact to put in force (repeatable)")
	mustMark(c, "nodes")
	mustMark(c, "agents")
}

func (f *placeFlags) check() error {
	if err := errors.Join(command.CheckAddress(f.nodes), command.CheckAddress(f.agents)); err != nil {
		return &usageError{err}
	}
	return nil
}

// listens is the place to listen for those who dial address: the loopback address
// itself, otherwise its port on every interface.
func listens(address string) string {
	if command.Loopback(address) {
		return address
	}
	_, port, _ := net.SplitHostPort(address) // checked before
	return ":" + port
}

// Names of a node's files besides its configuration.
const (
	nodeKeyFile  = "node.key"
	nodeCertFile = "node.crt"
	nodeCAFile   = "ca.crt"
)

// prepare does what may fail here before a token is used: it makes the directory,
// sees that no other file of the node is there, and keeps its key in it. A key that
// an earlier try left is used again: it may ask again with its token.
func (f *placeFlags) prepare() (keyPEM []byte, err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{nodeCertFile, nodeCAFile, hubFile} {
		if _, err := os.Lstat(filepath.Join(f.dir, name)); !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(err, &usageError{fmt.Errorf("%s holds a node's %s already; the token was not used", f.dir, name)})
		}
	}
	file := filepath.Join(f.dir, nodeKeyFile)
	keyPEM, err = os.ReadFile(file)
	if !errors.Is(err, os.ErrNotExist) {
		return keyPEM, err
	}
	if keyPEM, err = enrol.NewKey(); err != nil {
		return nil, err
	}
	return keyPEM, writeNew(file, keyPEM, 0o600)
}

// write makes the node's files but for its key; nothing is overwritten. tail is the part of the
// configuration that says how the hub begins.
func (f *placeFlags) write(certPEM, ca []byte, tail string) (string, error) {
	var pacts []string
	for _, p := range f.pacts {
		abs, err := filepath.Abs(p)
		if err != nil {
			return "", err
		}
		pacts = append(pacts, fmt.Sprintf("%q", abs))
	}
	text := fmt.Sprintf("apiVersion: entente/v1\nkind: Hub\ndir: data\ntls: {cert: node.crt, key: node.key, ca: ca.crt}\n"+
		"listen: {agents: %q, nodes: %q}\npacts: [%s]\n%s", listens(f.agents), listens(f.nodes), strings.Join(pacts, ", "), tail)
	file := filepath.Join(f.dir, hubFile)
	return file, errors.Join(
		writeNew(filepath.Join(f.dir, nodeCertFile), certPEM, 0o644),
		writeNew(filepath.Join(f.dir, nodeCAFile), ca, 0o644),
		writeNew(file, []byte(text), 0o644))
}

func newHubInit() *cobra.Command {
	var f placeFlags
	c := &cobra.Command{
		Use:   "init NODE",
		Short: "Make a new hub and the files of its first node",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			id, err := hub.NewID(rand.Reader)
			if err != nil {
				return err
			}
			node := identity.Node{Hub: id.String(), Name: args[0]}
			if err := node.Validate(); err != nil {
				return &usageError{err}
			}
			file, err := f.found(node)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "hub id %s\nkeep %s safe: whoever holds it is every node and every agent\nnext: entente hub run -f %s\n",
				id, filepath.Join(f.dir, "authority"), file)
			return nil
		},
	}
	f.add(c)
	return c
}

// found makes the authority and the first node's files.
func (f *placeFlags) found(node identity.Node) (string, error) {
	ca, err := authority.New("Entente hub "+node.Hub, time.Now)
	if err != nil {
		return "", err
	}
	root, err := ca.Encode()
	if err != nil {
		return "", err
	}
	nodesHost, _, _ := net.SplitHostPort(f.nodes)
	agentsHost, _, _ := net.SplitHostPort(f.agents) // both were checked
	pair, err := ca.Issue(node, nodesHost, agentsHost)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(f.dir, "authority")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	err = errors.Join(
		writeNew(filepath.Join(dir, caKeyFile), root.KeyPEM, 0o600),
		writeNew(filepath.Join(dir, caCertFile), root.CertPEM, 0o644),
		writeNew(filepath.Join(dir, hubIDFile), []byte(node.Hub+"\n"), 0o644),
		writeNew(filepath.Join(f.dir, nodeKeyFile), pair.KeyPEM, 0o600))
	if err != nil {
		return "", err
	}
	return f.write(pair.CertPEM, root.CertPEM, fmt.Sprintf("peers: {%s: {nodes: %q, agents: %q}}\n"+
		"authority: {cert: authority/ca.crt, key: authority/ca.key}\n", node.Name, f.nodes, f.agents))
}

func newHubToken() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Let nodes join a hub", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newHubTokenCreate())
	return c
}

func newHubTokenCreate() *cobra.Command {
	var node nodeFlag
	var replaces string
	var life time.Duration
	c := &cobra.Command{
		Use:   "create NODE",
		Short: "Print a token with which a node of that name may join once",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if life <= 0 || life > tokenLifeMax {
				return &usageError{fmt.Errorf("--ttl: %s, want at most %s", life, tokenLifeMax)}
			}
			if node.socket != "" {
				return &usageError{errors.New("a token carries the hub's certificate: name the node with -f")}
			}
			client, err := node.client()
			if err != nil {
				return err
			}
			file := node.file
			if file == "" {
				file = hubFile
			}
			ca, err := config.HubTrust(file)
			if err != nil {
				return err
			}
			members, err := client.Members(c.Context())
			if err != nil {
				return err
			}
			token, request, err := enrol.New(members.Hub, args[0], replaces, string(ca), time.Now().Add(life))
			if err != nil {
				return err
			}
			if err := client.Token(c.Context(), request); err != nil {
				return err
			}
			line, err := token.Encode()
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), line)
			fmt.Fprintf(c.ErrOrStderr(), "valid once, for %s; next, where node %s shall run:\n"+
				"  entente hub join ADDRESS-OF-A-NODE --token-file - --nodes NAME:PORT --agents NAME:PORT\n", life, args[0])
			return nil
		},
	}
	node.add(c)
	c.Flags().StringVar(&replaces, "replaces", "", "node that is removed once the new one votes")
	c.Flags().DurationVar(&life, "ttl", tokenLife, "how long the token is valid")
	return c
}

func newHubJoin() *cobra.Command {
	var f placeFlags
	var tokenFile string
	c := &cobra.Command{
		Use:   "join ADDRESS --token-file FILE",
		Short: "Get a certificate with a token, and write the files of a node that joins",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			line, err := readSecret(c, tokenFile)
			if err != nil {
				return err
			}
			token, err := enrol.Parse(line)
			if err != nil {
				return &usageError{fmt.Errorf("--token-file: %w", err)}
			}
			key, err := f.prepare()
			if err != nil {
				return err
			}
			granted, err := enrol.EnrolKey(c.Context(), args[0], token, f.nodes, f.agents, key)
			if err != nil {
				return err
			}
			var nodes []string
			for _, n := range granted.Nodes {
				nodes = append(nodes, fmt.Sprintf("%q", n))
			}
			file, err := f.write(granted.Pair.CertPEM, granted.CA, fmt.Sprintf("join: [%s]\nreached: {nodes: %q, agents: %q}\n",
				strings.Join(nodes, ", "), f.nodes, f.agents))
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "node %s may join hub %s\nnext: entente hub run -f %s\n", token.Node, token.Hub, file)
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&tokenFile, "token-file", "", "file with the token; - reads it from the standard input")
	mustMark(c, "token-file")
	return c
}

// readSecret reads a file, or the standard input. Secrets are never words of the
// command line.
func readSecret(c *cobra.Command, file string) (string, error) {
	const bytesMax = 64 << 10
	in := c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", &usageError{err}
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, bytesMax))
	return string(b), err
}
