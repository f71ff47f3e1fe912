package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/backup"
)

func newHubSnapshot() *cobra.Command {
	c := &cobra.Command{
		Use: "snapshot", Short: "Keep, check and restore backups of a hub", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newSnapshotSave(), newSnapshotInspect(), newSnapshotVerify(), newSnapshotRestore())
	return c
}

func newSnapshotSave() *cobra.Command {
	var node nodeFlag
	var recipients string
	var plain, asJSON bool
	c := &cobra.Command{
		Use:   "save FILE",
		Short: "Write what a running node holds into a new file, and read it back",
		Long: "Asks a running node for its state as of now. On the leader that is everything\n" +
			"that was ever acknowledged; on another node, what it has applied.\n" +
			"The file is sealed for the age recipients of the node's configuration, or of\n" +
			"--recipients. It gets its name only after all of it was read back and verified.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := node.client()
			if err != nil {
				return err
			}
			keys, err := node.recipients(recipients, plain)
			if err != nil {
				return err
			}
			to, err := backup.ParseRecipients(keys)
			if err != nil {
				return &usageError{err}
			}
			if _, err := os.Stat(filepath.Dir(args[0])); err != nil {
				return &usageError{err}
			}
			stream, err := client.Snapshot(c.Context())
			if err != nil {
				return err
			}
			defer stream.Close()
			report, err := backup.Copy(args[0], stream, nil, to)
			if err != nil {
				return err
			}
			return writeSaved(c, args[0], &report, asJSON)
		},
	}
	node.add(c)
	c.Flags().StringVar(&recipients, "recipients", "", "file of age recipients, one a line, that alone can open the backup")
	c.Flags().BoolVar(&plain, "plain", false, "do not seal the backup")
	c.MarkFlagsMutuallyExclusive("recipients", "plain")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// recipients returns the text of whom the backup is sealed for; "" is nobody.
func (f *nodeFlag) recipients(file string, plain bool) ([]byte, error) {
	switch {
	case plain:
		return nil, nil
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, &usageError{err}
		}
		return text, nil
	case f.socket != "":
		return nil, &usageError{errors.New("for whom is the backup sealed? With --socket, add --recipients FILE or --plain")}
	}
	path := f.file
	if path == "" {
		path = hubFile
	}
	keys, plain, err := config.HubRecipients(path)
	if err == nil && len(keys) == 0 && !plain {
		err = &usageError{fmt.Errorf("for whom is the backup sealed? %s names no backup recipients: add --recipients FILE or --plain", path)}
	}
	return keys, err
}

func newSnapshotInspect() *cobra.Command {
	var keys identityFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a backup holds, from its first bytes",
		Long: "Reads the header and the summary of each pact, and nothing behind them: see\n" +
			"verify for whether the rest is there. Of a sealed backup without --identity only\n" +
			"the header can be read.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return &usageError{err}
			}
			defer file.Close()
			identities, err := keys.load()
			if err != nil {
				return err
			}
			ids, err := backup.ParseIdentities(identities)
			if err != nil {
				return &usageError{err}
			}
			header, meta, err := backup.Inspect(file, ids)
			if err != nil {
				return err
			}
			view := viewHeader(&header)
			if meta != nil {
				view.Pacts = viewPacts(meta.Pacts)
			}
			return view.write(c.OutOrStdout(), asJSON)
		},
	}
	keys.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newSnapshotVerify() *cobra.Command {
	var keys identityFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read all of a backup and check everything in it",
		Long: "Checks the header, every record's checksum, the trailer's count and SHA-256, and\n" +
			"restores the state in memory, which recomputes the digest, head and counts of\n" +
			"every pact and compares them with those that were recorded.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			identities, err := keys.load()
			if err != nil {
				return err
			}
			ids, err := backup.ParseIdentities(identities)
			if err != nil {
				return &usageError{err}
			}
			if _, err := os.Stat(args[0]); err != nil {
				return &usageError{err}
			}
			report, err := backup.VerifyFile(args[0], ids)
			if err != nil {
				return err
			}
			return writeVerified(c, &report, asJSON)
		},
	}
	keys.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newSnapshotRestore() *cobra.Command {
	var keys identityFlag
	var file string
	var newCluster, asJSON bool
	c := &cobra.Command{
		Use:   "restore BACKUP -f FILE",
		Short: "Make the empty directory of a stopped node out of a backup",
		Long: "Makes the node of the configuration the first and only member of its hub, with the\n" +
			"state of the backup in a new epoch. The other nodes then join it with empty\n" +
			"directories. Agents bring back what the backup lacks.\n\n" +
			"The backup must be of the hub that the node's certificate names. With\n" +
			"--new-cluster another hub's backup becomes the beginning of this hub: a copy with\n" +
			"an identity of its own, to which none of the other hub's agents belong.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			loaded, err := config.LoadHub(file, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				return err
			}
			target, err := hub.Target(loaded.Config)
			if err != nil {
				return err
			}
			if err := nobodyRuns(c.Context(), loaded.Config.Peers); err != nil {
				return err
			}
			identities, err := keys.load()
			if err != nil {
				return err
			}
			if target.Identities, err = backup.ParseIdentities(identities); err != nil {
				return &usageError{err}
			}
			from, err := os.Open(args[0])
			if err != nil {
				return &usageError{err}
			}
			defer from.Close()
			target.NewCluster = newCluster
			target.Runs = func(node, address string) error {
				return nobodyRuns(c.Context(), []hub.Peer{{Node: node, Nodes: address}})
			}
			restored, err := backup.Restore(from, target)
			if err != nil {
				return err
			}
			return writeRestored(c, &target, &restored, asJSON)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the node's configuration")
	mustMark(c, "file")
	keys.add(c)
	c.Flags().BoolVar(&newCluster, "new-cluster", false, "begin another hub as a copy of the backup's")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// nobodyRuns refuses a restore beside nodes that run: they would go on as the hub
// that the backup is of, and the restored one be a second.
func nobodyRuns(ctx context.Context, peers []hub.Peer) error {
	const dialMax = time.Second
	for _, p := range peers {
		dialer := net.Dialer{Timeout: dialMax}
		conn, err := dialer.DialContext(ctx, "tcp", p.Nodes)
		if err != nil {
			continue
		}
		return errors.Join(&backup.Fault{
			Code: backup.CodePeerRuns, Err: fmt.Errorf("node %s answers at %s", p.Node, p.Nodes),
		}, conn.Close())
	}
	return nil
}

// identityFlag names the file of the identities that open sealed backups.
type identityFlag struct{ file string }

func (f *identityFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "identity", "", "file of age identities that open a sealed backup")
}

func (f *identityFlag) load() ([]byte, error) {
	if f.file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.file)
	if err != nil {
		return nil, &usageError{err}
	}
	return text, nil
}
