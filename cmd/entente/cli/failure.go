package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/wire"
)

// Codes of failures that no node answered with.
const (
	codeUsage       = "cli.usage"
	codeConfig      = "config.invalid"
	codeNobody      = "admin.nobody"
	codeEnvironment = "cli.environment"
	codeFailed      = "cli.failed"
)

// explain returns err as every verb prints it in JSON: a stable code, what
// happened, and what to do next, where that is known.
func explain(c *cobra.Command, err error) *adminhttp.Error {
	out := &adminhttp.Error{Code: codeFailed, Message: err.Error()}
	var refused *adminhttp.Error
	var kept *backup.Fault
	var remote *wire.Error
	var usage *usageError
	var environment *environmentError
	switch {
	case errors.As(err, &refused):
		out = refused
	case errors.As(err, &kept):
		out.Code, out.Message, out.Next = string(kept.Code), kept.Err.Error(), backup.Next(kept.Code)
	case errors.As(err, &remote):
		out.Code = string(remote.Reason)
	case errors.Is(err, adminhttp.ErrNobody):
		out.Code, out.Next = codeNobody, "start the node with entente hub run, or name the socket of one that runs"
	case errors.Is(err, config.ErrInvalid):
		out.Code, out.Next = codeConfig, "mend the file"
	case errors.As(err, &usage):
		out.Code, out.Next = codeUsage, "see "+c.CommandPath()+" --help"
	case errors.As(err, &environment):
		out.Code = codeEnvironment
	}
	return out
}

// failed prints why a verb of the hub failed as JSON, if it was asked for that. What
// it returns has been shown then, and keeps its exit code.
func failed(c *cobra.Command, err error) error {
	if err == nil || errors.Is(err, errSilent) || !strings.HasPrefix(c.CommandPath(), "entente hub ") {
		return err
	}
	if asJSON, none := c.Flags().GetBool("json"); none != nil || !asJSON {
		return err
	}
	e := explain(c, err)
	return errors.Join(errSilent, err, writeJSON(c.OutOrStdout(), answered{Command: c.CommandPath(), Summary: e.Message, Error: e}))
}
