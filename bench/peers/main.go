// Command peers gives the same work (bench/workload) to a hub and to what one
// might use instead, on this machine, in interleaved rounds: A B C, A B C, ...
// Every system starts from an empty directory in every round, with each node in a
// process of its own on loopback, and every register is written once before the
// window begins. Afterwards a sample of registers is read back from each system that
// merges, and must hold the workload's winners.
//
// Ours pays for more than the others: mutual TLS on every connection, and a
// subscriber that must have received what is counted.
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
	"github.com/entente-sync/entente/bench/workload"
)

func main() {
	nodes.Child()
	child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// settings of one comparison.
type settings struct {
	Rounds    int           `json:"rounds"`
	Registers int           `json:"registers"`
	Window    time.Duration `json:"window_ns"`
	Seed      uint64        `json:"seed"`
	Only      string        `json:"only"`

	dir, json, markdown string
}

func (s *settings) shape() workload.Shape {
	return workload.Shape{Registers: s.Registers, Writers: workload.WritersMax, Seed: s.Seed}
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.IntVar(&s.Rounds, "rounds", 3, "rounds; figures are medians")
	f.IntVar(&s.Registers, "registers", 20_000, "distinct registers")
	f.DurationVar(&s.Window, "window", 5*time.Second, "of each measurement")
	f.Uint64Var(&s.Seed, "seed", 1, "of the workload")
	f.StringVar(&s.Only, "only", "", "only systems whose names begin with one of these, separated by semicolons")
	f.StringVar(&s.dir, "dir", "", "where the directories go, for as long as it takes; default a temporary one")
	f.StringVar(&s.json, "json", "", "file for all figures")
	f.StringVar(&s.markdown, "markdown", "", "file whose table to replace")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if s.Rounds < 1 || s.Window <= 0 {
		return nil, errors.New("rounds and window must be positive")
	}
	return s, s.shape().Validate()
}

func (s *settings) wants(name string) bool {
	for _, prefix := range strings.Split(s.Only, ";") {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// system is one row of the comparison.
type system struct {
	name       string
	nodes      int
	durability string // what is on which disks before an answer
	// missing says why the system cannot be had here, or nil.
	missing func() error
	// measure runs it from an empty directory to its end: ops per second.
	measure func(ctx context.Context, s *settings, dir string) (float64, error)
}

// measureMax bounds one system in one round beside its window.
const measureMax = 3 * time.Minute

func run(ctx context.Context, args []string, out *os.File) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "entente-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL is another user
		return err
	}
	r := &report.Run{What: "bench/peers", Settings: s, Durability: "each row's own"}
	if r.Machine, err = report.ThisMachine(dir); err != nil {
		return err
	}
	all := wanted(s, r)
	if len(all) == 0 {
		return fmt.Errorf("no system is called %q", s.Only)
	}
	for i := range s.Rounds {
		for _, system := range all {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", i+1, s.Rounds, system.name)
			rate, err := once(ctx, s, system, filepath.Join(dir, "now"))
			if err != nil {
				return fmt.Errorf("%s: %w", system.name, err)
			}
			r.Add(system.name, "ops/s", rate)
		}
	}
	text := table(s, r, all)
	fmt.Fprint(out, text)
	if s.json != "" {
		if err := r.WriteJSON(s.json); err != nil {
			return err
		}
	}
	if s.markdown != "" {
		return report.Insert(s.markdown, "peers", text)
	}
	return nil
}

// wanted leaves out what is not installed, and says so loudly.
func wanted(s *settings, r *report.Run) (all []system) {
	for _, system := range systems() {
		if !s.wants(system.name) {
			continue
		}
		if system.missing != nil {
			if err := system.missing(); err != nil {
				r.Note("MISSING: %s was not measured: %v", system.name, err)
				fmt.Fprintf(os.Stderr, "MISSING: %s: %v\n", system.name, err)
				continue
			}
		}
		all = append(all, system)
	}
	return all
}

func systems() (all []system) {
	for _, more := range [][]system{ours(), etcdSystems(), natsSystems(), redisSystems(), postgresSystems()} {
		all = append(all, more...)
	}
	return all
}

func once(ctx context.Context, s *settings, system system, dir string) (rate float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Window+measureMax)
	defer cancel()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return system.measure(ctx, s, dir)
}

// table compares with what ours did in the same rounds.
func table(s *settings, r *report.Run, all []system) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n%d writers, %s registers, keys of %d and values of %d bytes, %d rounds, windows of %s.\n\n",
		r.Machine, workload.WritersMax, report.Short(float64(s.Registers)), workload.KeyBytes, workload.ValueBytes, s.Rounds, s.Window)
	rows := [][]string{{"system", "nodes", "on disk before the answer", "ops/s", "spread", "ours/it"}}
	hub := r.Figure(oursName)
	for _, system := range all {
		f, ratio := r.Figure(system.name), ""
		if hub != nil {
			ratio = fmt.Sprintf("%.2f", hub.Median/f.Median)
		}
		rows = append(rows, []string{system.name, fmt.Sprint(system.nodes), system.durability, report.Short(f.Median), f.Around(), ratio})
	}
	b.WriteString(report.Table(rows))
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\n%s.\n", note)
	}
	return b.String()
}
