package sim_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/sim"
)

// seedsDefault is how many seeds run where SEEDS does not say.
const seedsDefault = 300

// shrinkDefault bounds the runs that look for a smaller script of a failure.
const shrinkDefault = 400

// script is what SCRIPT says, the whole seed without it.
func script(t *testing.T) sim.Script {
	t.Helper()
	s, err := sim.ParseScript(os.Getenv("SCRIPT"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func lab(t *testing.T) *sim.Lab {
	t.Helper()
	l, err := sim.NewLab()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// report replays a failed seed with its trace, which must be the same run.
func report(t *testing.T, l *sim.Lab, r sim.Result) {
	t.Helper()
	played := script(t)
	again := l.Run(r.Seed, sim.Options{Keep: true, Script: played})
	t.Errorf("SEED=%d breaks %s\nworld: %s\ntrace:\n%s", r.Seed, r.Violation, r.World, strings.Join(again.Story, "\n"))
	if again.Hash != r.Hash {
		t.Errorf("SEED=%d: run again it was another run", r.Seed)
	}
	if played.Only != nil {
		return
	}
	small := l.Shrink(r, int(number("SHRINK", shrinkDefault)))
	short := l.Run(r.Seed, sim.Options{Keep: true, Script: small})
	if short.Violation != nil {
		t.Errorf("SEED=%d SCRIPT=%s is %d actions that break %s\ntrace:\n%s", r.Seed, small, len(small.Only), short.Violation,
			strings.Join(short.Story, "\n"))
	}
}

// TestSeeds plays SEEDS seeds (or the one that SEED names) on every core.
func TestSeeds(t *testing.T) {
	l := lab(t)
	first, n := uint64(1), number("SEEDS", seedsDefault)
	if one := number("SEED", 0); one > 0 {
		first, n = one, 1
	}
	first = number("FROM", first)
	var next, ran, edits, ops, writes, steps atomic.Uint64
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed []sim.Result
	played := script(t)
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= n {
					return
				}
				r := l.Run(first+i, sim.Options{Script: played})
				ran.Add(1)
				edits.Add(uint64(r.Edits))
				ops.Add(uint64(r.Ops))
				writes.Add(uint64(r.Writes))
				steps.Add(uint64(r.Steps))
				if r.Violation != nil {
					mu.Lock()
					failed = append(failed, r)
					mu.Unlock()
					next.Add(n / number("FAILURES", 1)) // enough is known
				}
			}
		})
	}
	group.Wait()
	for _, r := range failed {
		report(t, l, r)
	}
	took := time.Since(began).Seconds()
	t.Logf("%d seeds in %.1f s (%.1f seeds/s): %d edits, %d ops, %d writes; %d steps, %.0f steps/s on each of %d cores",
		ran.Load(), took, float64(ran.Load())/took, edits.Load(), ops.Load(), writes.Load(), steps.Load(),
		float64(steps.Load())/took/float64(runtime.GOMAXPROCS(0)), runtime.GOMAXPROCS(0))
}

// One seed is one run: whether the trace is kept or not, the hash is the same.
func TestReplay(t *testing.T) {
	l := lab(t)
	for seed := uint64(1); seed <= 10; seed++ {
		a, b := l.Run(seed, sim.Options{}), l.Run(seed, sim.Options{Keep: true})
		if a.Hash != b.Hash {
			t.Errorf("seed %d ran in two ways", seed)
		}
	}
	if a, b := l.Run(1, sim.Options{}), l.Run(2, sim.Options{}); a.Hash == b.Hash {
		t.Error("two seeds are one run")
	}
}

// A script is the same after it was written down, and one that leaves things out
// is a run like any other.
func TestScript(t *testing.T) {
	l := lab(t)
	s, err := sim.ParseScript(sim.Script{Only: []int{3, 17, 90, 91, 200}, Without: []int{0, 2}}.String())
	if err != nil || len(s.Only) != 5 || len(s.Without) != 2 {
		t.Fatalf("read %v: %v", s, err)
	}
	a, b := l.Run(5, sim.Options{Script: s}), l.Run(5, sim.Options{Script: s, Keep: true})
	if a.Hash != b.Hash || a.Violation != nil {
		t.Errorf("a script ran in two ways, or into %v", a.Violation)
	}
	if whole := l.Run(5, sim.Options{}); whole.Hash == a.Hash || whole.Steps <= a.Steps {
		t.Errorf("the script has %d steps, the seed %d", a.Steps, whole.Steps)
	}
	if _, err := sim.ParseScript("1,x"); err == nil {
		t.Error("x is a number")
	}
}
