// Command entente is the hub, the agent and the tools around them in one binary.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/entente-sync/entente/cmd/entente/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one kills at once, as the default does.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
