// Package pair_test kills the product's processes, as power cuts and operators do,
// while a real Redmine and a real Request Tracker are synced, and then counts in
// the systems themselves what was lost or doubled.
package pair_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/pair"
)

const seeds = 30 // issues that exist before the first agent starts

// rounds is how many kills; ROUNDS=n asks for more.
func rounds(t *testing.T) int {
	text := os.Getenv("ROUNDS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("ROUNDS=%q is no number of rounds", text)
	}
	return n
}

// TestKillsDuringTheBackfill kills hub and agents with SIGKILL, in turn and at
// drawn moments, while 30 issues are created on the other side and commented on.
// At the end each issue has one twin, each comment stands once, and no side
// differs from the other.
func TestKillsDuringTheBackfill(t *testing.T) {
	n := rounds(t)
	ctx, p := pair.ForTest(t, filepath.Join("..", "..", ".."), seeds, 6*time.Minute+time.Duration(n)*15*time.Second)
	draw := rand.New(rand.NewPCG(1, 2))
	names := []string{pair.Globex, pair.Hub, pair.Acme}
	must(t, p.Run(names...))
	kills := map[string]int{}
	for round := range n {
		name := names[round%len(names)]
		linked := 1 + round*(seeds-2)/n // spread over the backfill
		must(t, p.Linked(ctx, pair.Globex, min(linked, seeds)))
		pause(t, time.Duration(draw.IntN(600))*time.Millisecond)
		must(t, p.Kill(name))
		pause(t, time.Duration(draw.IntN(400))*time.Millisecond)
		must(t, p.Run(name))
		kills[name]++
	}
	settle, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	must(t, p.Settle(settle))

	acme, err := p.Issues(ctx, true)
	must(t, err)
	globex, err := p.Tickets(ctx, true)
	must(t, err)
	lost, doubled := seeds-len(titles(globex)), len(globex)-len(titles(globex))
	doubled += len(acme) - seeds
	t.Logf("rounds %d (%v), records %d, lost %d, doubled %d, writes back to the source %d",
		n, kills, seeds, lost, doubled, pair.Writes(acme))
	if lost != 0 || doubled != 0 {
		t.Errorf("lost %d, doubled %d", lost, doubled)
	}
	if d := pair.Difference(acme, globex); d != "" {
		t.Errorf("both sides differ:\n%s", d)
	}
	if n := pair.Writes(acme); n != pair.Opened(seeds) {
		t.Errorf("the backfill wrote %d times to its own source, want %d", n, pair.Opened(seeds))
	}
}

func titles(side []pair.Ticket) map[string]bool {
	out := map[string]bool{}
	for _, t := range side {
		out[t.Title] = true
	}
	return out
}

// pause lets the processes run for a drawn time: the test's point is that the
// moment of the kill does not matter.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
