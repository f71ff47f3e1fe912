// Command load measures a hub: three nodes in processes of their own on this
// machine, over loopback with mutual TLS, on the disk below -dir, with load from
// this process through the agents' client. The unit of every throughput is R, what
// the same raft commits under an idle state machine in the same round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/entente-sync/entente/bench/load/nodes"
	"github.com/entente-sync/entente/bench/report"
)

func main() {
	nodes.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// settings of one measurement.
type settings struct {
	Rounds    int           `json:"rounds"`
	Nodes     int           `json:"nodes"`
	Registers int           `json:"registers"`
	Writers   int           `json:"publishers"`
	Window    time.Duration `json:"window_ns"` // of each throughput and latency
	Contested int           `json:"contested_one_in"`
	Seed      uint64        `json:"seed"`
	Parts     string        `json:"parts"`

	dir, json, markdown, profile, scale string
	checkpoint, warmUp                  time.Duration
}

// allParts in the order of a round.
const allParts = "core,ceiling,throughput,latency,fanout,contested,catchup,restart,snapshot,scale"

func (s *settings) has(part string) bool {
	return strings.Contains(","+s.Parts+",", ","+part+",")
}

func parse(args []string) (*settings, error) {
	s := &settings{Writers: 4, Nodes: 3}
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.IntVar(&s.Rounds, "rounds", 3, "rounds; figures are medians")
	f.IntVar(&s.Registers, "registers", 1_000_000, "distinct registers")
	f.DurationVar(&s.Window, "window", 5*time.Second, "of each measurement")
	f.DurationVar(&s.warmUp, "warm-up", time.Second, "before each measurement")
	f.StringVar(&s.scale, "scale", "10000,100000,10000000", "in the scale part, other numbers of registers")
	f.IntVar(&s.Contested, "contested", 100, "in the contested part, one op in so many is concurrent with another")
	f.DurationVar(&s.checkpoint, "checkpoint", 0, "longest time between checkpoints; default the product's")
	f.Uint64Var(&s.Seed, "seed", 1, "of the workload")
	f.StringVar(&s.Parts, "parts", allParts, "what to measure")
	f.StringVar(&s.dir, "dir", "", "where the nodes' directories go, for as long as it takes; default a temporary one")
	f.StringVar(&s.json, "json", "", "file for all figures")
	f.StringVar(&s.markdown, "markdown", "", "file whose table to replace")
	f.StringVar(&s.profile, "profile", "", "directory for CPU and heap profiles of every node")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for _, part := range strings.Split(s.Parts, ",") {
		if !strings.Contains(","+allParts+",", ","+part+",") {
			return nil, fmt.Errorf("unknown part %q, there are %s", part, allParts)
		}
	}
	if s.Rounds < 1 || s.Window <= 0 {
		return nil, errors.New("rounds and window must be positive")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out *os.File) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "entente-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &report.Run{
		What: "bench/load", Settings: s,
		Durability: "fsync on a majority of 3 nodes before each ack",
	}
	if r.Machine, err = report.ThisMachine(dir); err != nil {
		return err
	}
	if !r.Machine.OnDisk() {
		r.Durability = "NONE: the directories are on " + r.Machine.FileSystem
	}
	for i := range s.Rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, s.Rounds)
		if err := undisturbed(ctx, s, r, filepath.Join(dir, "now")); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	text := tables(s, r)
	fmt.Fprint(out, text)
	if s.json != "" {
		if err := r.WriteJSON(s.json); err != nil {
			return err
		}
	}
	if s.markdown != "" {
		return report.Insert(s.markdown, "load", text)
	}
	return nil
}
