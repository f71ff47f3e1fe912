package crash_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/crash"
	"github.com/entente-sync/entente/bench/crash/ledger"
)

// number reads a setting of make crash.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number above 0", name, text)
	}
	return n
}

// play runs rounds and complains of what they violate.
func play(t *testing.T, cfg crash.Config) *crash.Report {
	t.Helper()
	if err := crash.Available(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED, NOTHING WAS TESTED: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Duration(cfg.Rounds)*30*time.Second)
	defer cancel()
	cfg.Root, cfg.Dir, cfg.Progress = filepath.Join("..", ".."), t.TempDir(), os.Stderr
	report, err := crash.Play(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(text(report))
	for _, v := range report.Violations {
		t.Error(v)
	}
	if t.Failed() {
		t.Logf("the plan of the last round:\n%s\n%s", report.Plan, report.Logs)
	}
	return report
}

// TestHub plays rounds of faults against a hub of three processes. ROUNDS=n asks
// for more, SEED=n for others; the same seed gives the same plan.
func TestHub(t *testing.T) {
	rounds, seed := number(t, "ROUNDS", 5), number(t, "SEED", 1)
	report := play(t, crash.Config{Seed: uint64(seed), Rounds: rounds})
	if t.Failed() {
		t.Logf("SEED=%d ROUNDS=%d plays it again", report.Seed, report.Rounds)
	}
	if report.Acked < 100*rounds || report.Histories < 10*rounds {
		t.Errorf("%d acks and %d histories in %d rounds prove little", report.Acked, report.Histories, rounds)
	}
}

// The first power loss of a hub's life: the very directories are new.
func TestPowerLossOfANewHub(t *testing.T) {
	play(t, crash.Config{Seed: 1, Rounds: 2, Plan: func(round int) []crash.Fault {
		if round == 0 {
			return nil
		}
		return []crash.Fault{{Class: crash.PowerAll, At: 500 * time.Millisecond, For: 200 * time.Millisecond}}
	}})
}

// text is what make crash prints.
func text(r *crash.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "rounds %d, seed %d, %s\n", r.Rounds, r.Seed, r.Took.Round(time.Second))
	fmt.Fprintf(&b, "faults by class (%d classes):\n", len(r.Faults))
	for _, c := range slices.Sorted(maps.Keys(r.Faults)) {
		fmt.Fprintf(&b, "  %4d  %s\n", r.Faults[c], c)
	}
	fmt.Fprintf(&b, "acks checked %d, histories %d, damaged disks refused %d\n", r.Acked, r.Histories, r.Refused)
	fmt.Fprintf(&b, "lost %d, duplicated %d, diverged %d, other violations %d",
		r.Ledger.Count(ledger.Lost), r.Ledger.Count(ledger.Duplicated), r.Ledger.Count(ledger.Diverged), r.Ledger.Others())
	return b.String()
}
