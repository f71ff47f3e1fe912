package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/cmd/entente/dev"
)

// devFlags are the words of `entente dev`.
type devFlags struct {
	config dev.Config
	check  bool
}

func newDev() *cobra.Command {
	var f devFlags
	var logs logFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run two companies, a hub and two sandbox ticket systems in this process",
		Long: "Run two companies, a hub and two sandbox ticket systems in this process, on loopback.\n" +
			"Nothing is written outside a temporary directory, which is removed at the end.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			f.config.Log, f.config.Software = log, software()
			if f.check {
				return checkDev(c, f.config)
			}
			return runDev(c, f.config)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.config.Dir, "dir", "", "empty directory for the state, kept afterwards (default: a temporary one)")
	flags.DurationVar(&f.config.Poll, "poll", 250*time.Millisecond, "pause between two looks at a ticket system")
	flags.IntVar(&f.config.Ports.Tracker, "tracker-port", 0, "port of Acme's tracker (0: a free one)")
	flags.IntVar(&f.config.Ports.Desk, "desk-port", 0, "port of Globex's desk (0: a free one)")
	flags.IntVar(&f.config.Ports.Hub, "hub-port", 0, "port of the hub (0: a free one)")
	flags.IntVar(&f.config.Ports.Metrics, "metrics-port", 0, "port of /metrics (0: a free one)")
	flags.BoolVar(&f.check, "check", false, "make the round trip alone, print a JSON report, exit 0 or 1")
	logs.add(c, "error")
	c.AddCommand(newDevSystem())
	return c
}

// runDev works until it is told to stop.
func runDev(c *cobra.Command, cfg dev.Config) error {
	cfg.Sockets = devSocketDir()
	w, err := dev.Open(c.Context(), cfg)
	if err != nil {
		return devError(err)
	}
	if err := w.Describe(c.OutOrStdout()); err != nil {
		return errors.Join(err, w.Close())
	}
	err = w.Run(c.Context())
	return errors.Join(err, w.Close())
}

// checkDev makes the round trip in a world of its own, beside any that runs.
func checkDev(c *cobra.Command, cfg dev.Config) error {
	sockets, err := os.MkdirTemp("", "entente-check-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(sockets)
	cfg.Sockets = filepath.Join(sockets, "s")
	w, err := dev.Open(c.Context(), cfg)
	if err != nil {
		return devError(err)
	}
	var report dev.Report
	ctx, stop := context.WithCancel(c.Context())
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.Run(ctx) })
	group.Go(func() error {
		defer stop()
		report = w.Check(ctx)
		return nil
	})
	if err := errors.Join(group.Wait(), w.Close()); err != nil {
		report.OK, report.Summary = false, report.Summary+"; "+err.Error()
	}
	if err := writeJSON(c.OutOrStdout(), report); err != nil {
		return err
	}
	if !report.OK {
		return errSilent
	}
	return nil
}

// devError tells usage and environment apart.
func devError(err error) error {
	switch {
	case errors.Is(err, dev.ErrNotEmpty):
		return &usageError{fmt.Errorf("--dir: %w", err)}
	case errors.Is(err, dev.ErrRunning):
		return &environmentError{err}
	}
	return err
}
