package cli

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub"
)

func newHub() *cobra.Command {
	c := &cobra.Command{
		Use: "hub", Short: "Run a node of a hub, and administer it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newHubRun(), newHubMembers(), newHubDigest(), newHubSnapshot(), newHubInit(), newHubToken(), newHubJoin(),
		newHubRemove(), newHubReplace(), newHubTransfer(), newHubRecover())
	return c
}

func newHubRun() *cobra.Command {
	var file string
	var logs logFlags
	c := &cobra.Command{
		Use:   "run -f FILE",
		Short: "Run a hub node until it is told to stop",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			collectOften()
			registry := newRegistry()
			loaded, err := config.LoadHub(file, log, registry)
			if err != nil {
				return err
			}
			if err := loaded.Listen(); err != nil {
				return &environmentError{err}
			}
			beside, err := listenBeside(loaded.Metrics)
			if err != nil {
				return err
			}
			failed := make(chan error, 1)
			loaded.Config.Software = software()
			loaded.Config.Exit = func(err error) { failed <- err }
			h, err := hub.Open(c.Context(), loaded.Config)
			if err != nil {
				return err
			}
			log.Info("hub node runs", "agents", loaded.Config.Agents.Addr().String(), "nodes", loaded.Nodes,
				"admin", loaded.Config.Admin)
			return serveBeside(c.Context(), beside, h.Handler(), func(ctx context.Context) error {
				return runHub(ctx, h, failed)
			})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the node's configuration")
	mustMark(c, "file")
	logs.add(c, "info")
	return c
}

// collectPercent is how much garbage a hub may have beside what lives. Most of a
// hub's memory holds no pointers, so collecting it often costs little: with half a
// million registers and more, a fifth less memory for no processor time that could
// be told from noise.
const collectPercent = 40

// collectOften sets collectPercent, unless GOGC says otherwise.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectPercent)
	}
}

// runHub closes h when ctx ends. A node that stopped itself is not closed: its
// disk or its state is in doubt, and nothing more may be written.
func runHub(ctx context.Context, h *hub.Hub, failed <-chan error) error {
	select {
	case <-ctx.Done():
		return h.Close()
	case err := <-failed:
		return fmt.Errorf("the node stopped itself: %w", err)
	}
}
