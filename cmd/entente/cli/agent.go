package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/entente-sync/entente/agent"
	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/connectors/all"
)

func newAgent() *cobra.Command {
	c := &cobra.Command{
		Use: "agent", Short: "Run a company's agent", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newAgentRun())
	return c
}

func newAgentRun() *cobra.Command {
	var file string
	var logs logFlags
	c := &cobra.Command{
		Use:   "run -f FILE",
		Short: "Run an agent until it is told to stop",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logs.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			specs, err := all.Specs()
			if err != nil {
				return err
			}
			registry := newRegistry()
			loaded, err := config.LoadAgent(file, config.Runtime{Specs: specs, Log: log, Metrics: registry, Software: software()})
			if err != nil {
				return err
			}
			beside, err := listenBeside(loaded.Metrics)
			if err != nil {
				return err
			}
			a, err := agent.Open(loaded.Config)
			if err != nil {
				return err
			}
			log.Info("agent runs", "site", loaded.Config.Site, "agent", loaded.Config.Name, "admin", loaded.Config.Admin)
			err = serveBeside(c.Context(), beside, a.Handler(registry), a.Run)
			return errors.Join(err, a.Close())
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "the agent's configuration")
	mustMark(c, "file")
	logs.add(c, "info")
	return c
}

// newRegistry returns a registry with the runtime's own metrics.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// mustMark makes a flag required. The flag exists: it was defined just above.
func mustMark(c *cobra.Command, flag string) { cobra.CheckErr(c.MarkFlagRequired(flag)) }

// listenBeside takes the address of a service's HTTP endpoints; nil for "".
func listenBeside(address string) (listener net.Listener, err error) {
	if address != "" {
		if listener, err = net.Listen("tcp", address); err != nil {
			return nil, &environmentError{fmt.Errorf("metrics: %w", err)}
		}
	}
	return listener, nil
}

// serveBeside runs a service with its HTTP endpoints at listener (nil for none),
// which it closes, until ctx ends or either fails.
func serveBeside(ctx context.Context, listener net.Listener, handler http.Handler, run func(context.Context) error) error {
	if listener == nil {
		return run(ctx)
	}
	group, ctx := errgroup.WithContext(ctx)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("metrics: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		defer server.Close() // scrapes under way have nothing to lose
		return run(ctx)
	})
	return group.Wait()
}
