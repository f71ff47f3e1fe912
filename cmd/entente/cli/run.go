// Package cli is the command line: it parses words, calls the packages that do
// the work, and turns errors into exit codes. It holds no logic of its own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/wire"
)

// Exit codes, the same for every command.
const (
	ExitDone        = 0 // done, without findings; also a graceful stop
	ExitFailed      = 1 // a failure at run time, or a check that did not hold
	ExitInvalid     = 2 // bad usage or configuration
	ExitEnvironment = 3 // unreachable, timeout, denied
)

// Streams are the standard streams of one run.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run executes one command line and returns its exit code. A graceful stop
// through ctx is success.
func Run(ctx context.Context, args []string, streams Streams) int {
	root := newRoot(streams)
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err = failed(c, err); err == nil {
		return ExitDone
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(streams.Err, "entente: %v\n", err)
	}
	return exitCode(err)
}

// errSilent marks failures that the command has shown already.
var errSilent = errors.New("shown already")

// usageError is a mistake in the words of the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// environmentError is a failure of something that the command needs.
type environmentError struct{ err error }

func (e *environmentError) Error() string { return e.err.Error() }
func (e *environmentError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var usage *usageError
	var environment *environmentError
	var remote *wire.Error
	var refused *adminhttp.Error
	var kept *backup.Fault
	switch {
	case errors.As(err, &usage), errors.Is(err, config.ErrInvalid):
		return ExitInvalid
	case errors.As(err, &environment), errors.As(err, &remote), errors.Is(err, adminhttp.ErrNobody):
		return ExitEnvironment
	case errors.As(err, &refused):
		return exitOfStatus(refused.Status)
	case errors.As(err, &kept) && kept.Refused():
		return ExitInvalid
	}
	return ExitFailed
}

// exitOfStatus says what the answer of an admin socket means.
func exitOfStatus(status int) int {
	switch {
	case status == http.StatusServiceUnavailable:
		return ExitEnvironment
	case status < http.StatusInternalServerError:
		return ExitInvalid
	}
	return ExitFailed
}

func newRoot(streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "entente",
		Short:         "Two-way sync for business systems across companies",
		Long:          "Entente keeps tickets and other records of different companies in step.\nTry `entente dev` first: it needs no account and nothing installed.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newVersion(), newHub(), newAgent(), newDev(), newStatus(), newHolds(), newConflicts(), newRestoreValue(), newBackfill(), newResync(), newCert())
	markUsage(root)
	return root
}

// markUsage makes wrong arguments and missing flags of every command an error of
// usage.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err == nil {
				err = c.ValidateRequiredFlags()
			}
			if err != nil {
				return &usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}
