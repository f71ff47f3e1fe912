package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/cmd/entente/cli"
	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
)

// What a child is told through its environment.
const (
	envChild = "ENTENTE_BENCH_CHILD" // the kind
	envFile  = "ENTENTE_BENCH_FILE"
	envPprof = "ENTENTE_BENCH_PPROF"
	envTook  = "ENTENTE_BENCH_TOOK"

	kindHub     = "hub"
	kindCeiling = "ceiling"
)

// Child runs a node and ends the process, if this process was started as one.
func Child() {
	kind := os.Getenv(envChild)
	if kind == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	go servePprof(os.Getenv(envPprof))
	file := os.Getenv(envFile)
	switch kind {
	case kindHub:
		os.Exit(cli.Run(ctx, []string{"hub", "run", "-f", file, "--log-level", "warn"}, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	case kindCeiling:
		if err := ceilingNode(ctx, file); err != nil {
			fmt.Fprintln(os.Stderr, "ceiling:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	fmt.Fprintf(os.Stderr, "bench: unknown kind of child %q\n", kind)
	os.Exit(2)
}

func servePprof(address string) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	if err := server.ListenAndServe(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: profiles are not served:", err)
	}
}

// ceilingInFlight is how many entries the ceiling's leader has under way.
const ceilingInFlight = 64

// ceilingResult is what the leader of a ceiling prints.
type ceilingResult struct {
	Ops     int
	Elapsed time.Duration
}

func ceilingNode(ctx context.Context, file string) error {
	took, err := time.ParseDuration(os.Getenv(envTook))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	loaded, err := config.LoadHub(file, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	if err := loaded.Listen(); err != nil {
		return err
	}
	failed := make(chan error, 1)
	cfg, err := ceilingConfig(loaded)
	if err != nil {
		return err
	}
	cfg.Exit = func(err error) { failed <- err }
	node, err := replica.OpenCeiling(cfg)
	if err != nil {
		return err
	}
	for !node.Leading() {
		if pause(ctx, 10*time.Millisecond) != nil {
			return node.Close()
		}
	}
	entry := ceilingEntry()
	if _, err := commit(node, entry, time.Second); err != nil { // warm up
		return err
	}
	result, err := commit(node, entry, took)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return node.Close()
	case err := <-failed:
		return err
	}
}

// ceilingEntry is a log entry of one batch, as the hub encodes it.
func ceilingEntry() []byte {
	shape := workload.Shape{Registers: 1 << 20, Writers: 1}
	w := shape.Writer(0)
	author := workload.Author(0)
	c := &command.Publish{Site: author.Site, Agent: author.Agent, Pact: workload.Pact, Epoch: 1}
	for range workload.Batch {
		c.Ops = append(c.Ops, shape.CRDT(w.Next(), author, crdt.Position{Epoch: 1, Offset: 1 << 20}))
	}
	e := command.Entry{TimeMillis: 1, Commands: []command.Command{c}}
	return e.Encode()
}

func commit(node *replica.Ceiling, entry []byte, d time.Duration) (ceilingResult, error) {
	var flying []func() error
	began := time.Now()
	done := 0
	for time.Since(began) < d {
		if len(flying) == ceilingInFlight {
			if err := flying[0](); err != nil {
				return ceilingResult{}, fmt.Errorf("the ceiling lost its leader: %w", err)
			}
			flying = flying[1:]
			done++
		}
		flying = append(flying, node.Start(entry))
	}
	result := ceilingResult{Ops: done * workload.Batch, Elapsed: time.Since(began)}
	for _, wait := range flying {
		if err := wait(); err != nil {
			return ceilingResult{}, fmt.Errorf("the ceiling lost its leader: %w", err)
		}
	}
	return result, nil
}

// Ceiling runs the cluster, which NewCeiling made, to its end: ops per second in
// entries of one batch each, ceilingInFlight of them under way.
func (c *Cluster) Ceiling(ctx context.Context) (float64, error) {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return 0, errors.Join(err, c.Kill())
		}
	}
	type line struct {
		text []byte
		err  error
	}
	first := make(chan line, len(c.Nodes))
	for _, n := range c.Nodes {
		out := n.run.out
		go func() {
			text, err := out.ReadBytes('\n')
			first <- line{text, err}
		}()
	}
	defer c.Kill() //nolint:errcheck // the figure is there, or another error is
	select {
	case got := <-first:
		if got.err != nil {
			return 0, fmt.Errorf("the ceiling failed: %w\n%s", got.err, c.Nodes[0].logTail())
		}
		var result ceilingResult
		if err := json.Unmarshal(got.text, &result); err != nil {
			return 0, err
		}
		return float64(result.Ops) / result.Elapsed.Seconds(), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}
