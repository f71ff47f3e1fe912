// Command goals holds the figures of bench/load and bench/peers against what was
// promised, and writes the table of both into a page:
//
//	goals LOAD.json PEERS.json [PAGE.md]
//
// A file that is missing leaves its rows unmeasured.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/entente-sync/entente/bench/report"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "goals:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errors.New("usage: goals LOAD.json PEERS.json [PAGE.md]")
	}
	load, err := read(args[0])
	if err != nil {
		return err
	}
	peers, err := read(args[1])
	if err != nil {
		return err
	}
	text := Table(load, peers)
	fmt.Print(text)
	if len(args) == 3 {
		return report.Insert(args[2], "goals", text)
	}
	return nil
}

func read(file string) (*report.Run, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &report.Run{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &report.Run{}
	return r, json.Unmarshal(text, r)
}

// goal is one promise.
type goal struct {
	what       string
	unit       string
	gate, want float64
	least      bool // smaller is better
	figure     func(load, peers *report.Run) (float64, bool)
}

func of(name string) func(load, peers *report.Run) (float64, bool) {
	return func(load, _ *report.Run) (float64, bool) { return median(load, name) }
}

func median(r *report.Run, name string) (float64, bool) {
	if f := r.Figure(name); f != nil {
		return f.Median, true
	}
	return 0, false
}

// share is one figure of the load divided by another.
func share(name, by string) func(load, peers *report.Run) (float64, bool) {
	return func(load, _ *report.Run) (float64, bool) {
		a, ok := median(load, name)
		b, ok2 := median(load, by)
		return a / b, ok && ok2 && b > 0
	}
}

// ratio is ours to the best of the peers whose names begin and end so.
func ratio(prefix, suffix string) func(load, peers *report.Run) (float64, bool) {
	return func(_, peers *report.Run) (float64, bool) {
		best := 0.0
		for _, f := range peers.Figures {
			if strings.HasPrefix(f.Name, prefix) && strings.HasSuffix(f.Name, suffix) {
				best = max(best, f.Median)
			}
		}
		own, ok := median(peers, "ours, batches of 256")
		return own / best, ok && best > 0
	}
}

func goals() []goal {
	return []goal{
		{"merged ops/s, 256-op batches, 4 publishers, 1 subscriber, 1 M registers", "R", 0.25, 0.50, false, share("merged", "ceiling")},
		{"ratio to etcd's best", "", 3.3, 7, false, ratio("etcd", "")},
		{"ratio to NATS KV, atomic batches, sync always", "", 4, 8, false, ratio("NATS JetStream, KV, atomic", "256")},
		{"ratio to Redis, Lua last writer wins, always", "", 1.1, 2.3, false, ratio("Redis", "always")},
		{"ratio to PostgreSQL with standby", "", 2.3, 5, false, ratio("PostgreSQL", "standby")},
		{"publish to subscriber, p99 at 1 k ops/s, leader", "ms", 3, 1.5, true, of("p99 at 1 k ops/s, leader")},
		{"the same, follower", "ms", 6, 3, true, of("p99 at 1 k ops/s, follower")},
		{"the same at 200 k ops/s, leader", "ms", 30, 15, true, of("p99 at 200 k ops/s, leader")},
		{"merge core", "ns/op", 250, 150, true, of("merge core")},
		{"merge core, allocations", "per op", 0, 0, true, of("merge core's allocations")},
		{"resident memory a register, 1 M", "B", 200, 100, true, of("memory a register")},
		{"the same after a restart, values on disk", "B", 200, 100, true, of("memory a register, after the restart")},
		{"resident memory a register, 10 M", "B", 200, 100, true, of("memory a register, 10.0 M registers")},
		{"throughput at 10 M registers relative to 100 k", "", 0.5, 0.8, false, share("merged, 10.0 M registers", "merged, 100 k registers")},
		{"restart to serving, 1 M registers", "s", 3, 1, true, of("restart after kill -9 until ready")},
		{"catch-up of a subscriber", "registers/s", 500_000, 2_000_000, false, of("catch-up of a newcomer")},
		{"snapshot", "registers/s", 500_000, 2_000_000, false, of("snapshot, from disk to a synced file")},
		{"restore", "registers/s", 500_000, 2_000_000, false, of("restore, from the file to disk and memory")},
		{"agent: records/s captured with changes", "", 5_000, 20_000, false, nil},
		{"agent: records/s scanned without", "", 50_000, 200_000, false, nil},
		{"agent: RSS at 100 k linked records", "MB", 150, 64, true, nil},
	}
}

// Table says of each goal whether it is reached.
func Table(load, peers *report.Run) string {
	rows := [][]string{{"measure", "unit", "gate", "goal", "ours", "verdict"}}
	for _, g := range goals() {
		ours, verdict := "", "not measured"
		if g.figure != nil {
			if v, ok := g.figure(load, peers); ok {
				ours, verdict = report.Short(v), g.verdict(v)
			}
		}
		rows = append(rows, []string{g.what, g.unit, report.Short(g.gate), report.Short(g.want), ours, verdict})
	}
	return report.Table(rows)
}

func (g goal) verdict(v float64) string {
	reaches := func(bound float64) bool { return v >= bound && !g.least || v <= bound && g.least }
	switch {
	case reaches(g.want):
		return "goal"
	case reaches(g.gate):
		return "gate"
	}
	return "**missed**"
}
