package cli

import (
	"errors"
	"fmt"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// verbFlags are those of every verb that acts on one agent.
type verbFlags struct {
	sockets socketsFlag
	json    bool
	reason  string
}

func (f *verbFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.sockets.paths, "socket", nil, "admin socket of the agent (default: that of `entente dev`, if it runs one)")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

func (f *verbFlags) addReason(c *cobra.Command) {
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the agent's log")
}

// client is the agent to act on: a verb never guesses among several.
func (f *verbFlags) client() (*admin.Client, error) {
	clients, err := f.sockets.clients()
	if err != nil {
		return nil, err
	}
	if len(clients) > 1 {
		return nil, &usageError{fmt.Errorf("%d agents run here: name one with --socket: %s", len(clients), strings.Join(sortedKeys(clients), ", "))}
	}
	for _, client := range clients {
		return client, nil
	}
	return nil, &usageError{errors.New("name the agent with --socket")}
}

// failed prints what went wrong as JSON, where that was asked for.
func (f *verbFlags) failed(c *cobra.Command, err error) error {
	if err == nil || !f.json {
		return err
	}
	out := answered{Command: c.CommandPath(), Summary: err.Error(), Error: &adminhttp.Error{Code: "cli.failed", Message: err.Error()}}
	if e, ok := errors.AsType[*adminhttp.Error](err); ok {
		out.Summary, out.Error = e.Message, e
	}
	return errors.Join(errSilent, err, writeJSON(c.OutOrStdout(), out))
}

// whoami names the person at the command line, for logs.
func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
