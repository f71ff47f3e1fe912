package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

// TestMain lets scripts run this program as a command of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"entente": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(Run(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// TestScripts runs testdata/script/*.txt: one conversation with the command line each.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// Sockets must have short paths, and no script may meet a running dev.
			sockets, err := os.MkdirTemp("", "e-*")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(sockets) }) // nothing depends on it
			env.Setenv("XDG_RUNTIME_DIR", sockets)
			env.Setenv("SOCKETS", filepath.Join(sockets, fmt.Sprintf("entente-dev-%d", os.Getuid())))
			return freePorts(env, "TRACKER", "DESK")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "grab": grab, "poke": poke, "person": person, "ticket": ticket, "shown": shown,
		},
	})
}
