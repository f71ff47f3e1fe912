package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// socketsFlag names admin sockets; without one the sockets of a running
// `entente dev` are taken.
type socketsFlag struct{ paths []string }

func (f *socketsFlag) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.paths, "socket", nil, "admin socket of an agent (repeatable; default: those of `entente dev`)")
}

func (f *socketsFlag) clients() (map[string]*admin.Client, error) {
	paths := f.paths
	if len(paths) == 0 {
		var err error
		if paths, err = filepath.Glob(filepath.Join(devSocketDir(), "*.sock")); err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return nil, &environmentError{errors.New("no `entente dev` is running; name an agent with --socket DIR/admin.sock")}
		}
	}
	clients := make(map[string]*admin.Client, len(paths))
	for _, p := range paths {
		clients[p] = admin.NewClient(p)
	}
	return clients, nil
}

// devSocketDir is where `entente dev` puts its agents' sockets.
func devSocketDir() string {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	return filepath.Join(base, "entente-dev-"+strconv.Itoa(os.Getuid()))
}

func newStatus() *cobra.Command {
	var sockets socketsFlag
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how each agent stands with its hub and systems",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			clients, err := sockets.clients()
			if err != nil {
				return err
			}
			all, err := collect(c.Context(), clients, (*admin.Client).Status)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return writeStatus(c.OutOrStdout(), all)
		},
	}
	sockets.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// collect asks every agent, in the order of their sockets.
func collect[T any](ctx context.Context, clients map[string]*admin.Client, ask func(*admin.Client, context.Context) (T, error)) ([]T, error) {
	var out []T
	for _, path := range sortedKeys(clients) {
		one, err := ask(clients[path], ctx)
		if _, refused := errors.AsType[*adminhttp.Error](err); refused {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if err != nil {
			return nil, &environmentError{fmt.Errorf("%s: %w", path, err)}
		}
		out = append(out, one)
	}
	return out, nil
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func writeStatus(w io.Writer, all []admin.Status) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SITE\tAGENT\tREADY\tHUB\tPACT\tFEED\tOUTBOX\tCONFLICTS\tSYSTEM\tLINKED\tWAITING\tDOUBT\tHOLDS")
	for _, s := range all {
		for i, system := range s.Systems {
			p := pactOf(s.Pacts, system.Pact)
			site, agent, ready, hub, holds := s.Site, s.Agent, yes(s.Ready), hubState(s.Hub), strconv.Itoa(s.Holds)
			if i > 0 {
				site, agent, ready, hub, holds = "", "", "", "", ""
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s@%d\t%d/%d\t%d\t%d\t%s\t%d\t%d\t%d\t%s\n", site, agent, ready, hub,
				p.Pact, p.Version, p.Cursor, p.Head, p.Outbox, p.Conflicts, system.System, system.Linked,
				system.Reads+system.Intents, system.InDoubt, holds)
		}
	}
	for _, s := range all {
		for _, problem := range s.Problems {
			fmt.Fprintf(t, "%s/%s: %s\n", s.Site, s.Agent, problem)
		}
		for _, p := range s.Pacts {
			if p.Offering || p.OfferRefused > 0 {
				fmt.Fprintf(t, "%s/%s: pact %s: offered to the hub: %d registers taken, %d refused, at most %d left\n",
					s.Site, s.Agent, p.Pact, p.Offered, p.OfferRefused, p.OfferLeft)
			}
		}
		if s.Holds > 0 {
			fmt.Fprintf(t, "%s/%s: %d held; see: entente holds\n", s.Site, s.Agent, s.Holds)
		}
	}
	return t.Flush()
}

func pactOf(pacts []admin.PactStatus, name string) admin.PactStatus {
	for _, p := range pacts {
		if p.Pact == name {
			return p
		}
	}
	return admin.PactStatus{Pact: name}
}

func hubState(h admin.HubStatus) string {
	if h.Connected {
		return "connected"
	}
	return "away"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
