package pair_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/bench/pair"
)

// seeds is how many issues exist before the first agent starts.
const seeds = 50

func TestBackfillAndEditsOnBothSides(t *testing.T) {
	ctx, p := pair.ForTest(t, filepath.Join("..", ".."), seeds, 8*time.Minute)
	must(t, p.Run(pair.Hub, pair.Acme, pair.Globex))
	settle(ctx, t, p)
	acme, globex := both(ctx, t, p)
	if len(acme) != seeds || len(globex) != seeds {
		t.Fatalf("after the backfill acme has %d, globex %d, want %d", len(acme), len(globex), seeds)
	}
	equal(t, acme, globex)
	noCanary(t, globex)
	if n := pair.Writes(acme); n != pair.Opened(seeds) {
		t.Errorf("the backfill wrote %d times to its own source, want %d", n, pair.Opened(seeds))
	}

	edits := editEverywhere(ctx, t, p, acme, globex)
	settle(ctx, t, p)
	before := pair.Writes(acme, globex)
	acme, globex = both(ctx, t, p)
	equal(t, acme, globex)
	noCanary(t, globex)
	checkEdits(t, acme, globex)
	if n := pair.Writes(acme, globex) - before; n > edits {
		t.Errorf("%d edits made %d writes", edits, n)
	}

	// At rest nothing moves: not one echo.
	quiet := pair.Writes(acme, globex)
	time.Sleep(5 * time.Second)
	acme, globex = both(ctx, t, p)
	if n := pair.Writes(acme, globex); n != quiet {
		t.Errorf("%d writes at rest", n-quiet)
	}
	for _, name := range []string{pair.Acme, pair.Globex, pair.Hub} {
		if err := p.Stop(name); err != nil {
			t.Errorf("%s did not stop gracefully: %v", name, err)
		}
	}
}

// editEverywhere edits as people of both sides and returns how many writes that
// may cause.
func editEverywhere(ctx context.Context, t *testing.T, p *pair.Pair, acme, globex []pair.Ticket) int {
	t.Helper()
	issue := func(n int) string { return find(t, acme, n).Key }
	ticket := func(n int) string { return find(t, globex, n).Key }
	human, hana := p.Redmine.Human, p.RT.Human
	for _, edit := range []func() error{
		// Different fields of one ticket, at once.
		func() error {
			return p.Redmine.Edit(ctx, human, issue(1), map[string]any{"description": "Acme knows more now."})
		},
		func() error { return p.RT.Edit(ctx, hana, ticket(1), map[string]any{"Status": "stalled"}) },
		// The same field of one ticket, at once.
		func() error { return p.Redmine.Edit(ctx, human, issue(2), map[string]any{"priority_id": 3}) },
		func() error { return p.RT.Edit(ctx, hana, ticket(2), map[string]any{"Priority": 0}) },
		// Statuses, each way.
		func() error { return p.Redmine.Edit(ctx, human, issue(3), map[string]any{"status_id": 3}) },
		func() error { return p.RT.Edit(ctx, hana, ticket(4), map[string]any{"Status": "open"}) },
		// Comments, each way, with line ends and internal ones.
		func() error { return p.Redmine.Comment(ctx, human, issue(5), "From Acme,\nwith love.", false) },
		func() error { return p.Redmine.Comment(ctx, human, issue(5), pair.Private, true) },
		func() error { return p.RT.Comment(ctx, hana, ticket(6), "From Globex,\nfor you.", false) },
		func() error { return p.RT.Comment(ctx, hana, ticket(6), "internal to Globex", true) },
		// A new ticket on the other side.
		func() error {
			_, err := p.RT.Create(ctx, hana, map[string]any{
				"Subject": "[G-01] VPN", "Status": "open",
				"CustomFields": map[string]any{"Description": "made in RT"},
			})
			return err
		},
	} {
		must(t, edit())
	}
	return 11
}

func checkEdits(t *testing.T, acme, globex []pair.Ticket) {
	t.Helper()
	one := find(t, globex, 1)
	if one.Description != "Acme knows more now." || one.Status != "waiting" {
		t.Errorf("edits of different fields did not both survive: %+v", one)
	}
	if got := find(t, globex, 3).Status; got != "resolved" {
		t.Errorf("status from acme: %s", got)
	}
	if got := find(t, acme, 4).Status; got != "in_progress" {
		t.Errorf("status from globex: %s", got)
	}
	if got := find(t, acme, 2).Priority; got != "high" && got != "low" {
		t.Errorf("priority after a conflict is %s: neither side's", got)
	}
	for _, c := range []struct {
		ticket pair.Ticket
		want   string
	}{{find(t, globex, 5), "From Acme,\nwith love."}, {find(t, acme, 6), "From Globex,\nfor you."}} {
		n := 0
		for _, body := range c.ticket.Comments {
			if strings.Contains(body, c.want) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("comment %q stands %d times in %s", c.want, n, c.ticket.Title)
		}
	}
	if slices.ContainsFunc(acme, func(t pair.Ticket) bool {
		return slices.ContainsFunc(append(t.Comments, t.Internal...), func(s string) bool { return strings.Contains(s, "internal to Globex") })
	}) {
		t.Error("an internal comment of globex reached acme")
	}
	if !slices.ContainsFunc(acme, func(t pair.Ticket) bool { return t.Title == "[G-01] VPN" && t.Description == "made in RT" }) {
		t.Error("globex's new ticket did not reach acme")
	}
}

func settle(ctx context.Context, t *testing.T, p *pair.Pair) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	must(t, p.Settle(ctx))
}

func both(ctx context.Context, t *testing.T, p *pair.Pair) (acme, globex []pair.Ticket) {
	t.Helper()
	acme, err := p.Issues(ctx, true)
	must(t, err)
	globex, err = p.Tickets(ctx, true)
	must(t, err)
	return acme, globex
}

func equal(t *testing.T, acme, globex []pair.Ticket) {
	t.Helper()
	if d := pair.Difference(acme, globex); d != "" {
		t.Fatalf("both sides differ:\n%s", d)
	}
}

// noCanary: what is private at Acme is nowhere at Globex.
func noCanary(t *testing.T, globex []pair.Ticket) {
	t.Helper()
	if strings.Contains(fmt.Sprint(globex), "CANARY") {
		t.Error("a private note of acme reached globex")
	}
}

func find(t *testing.T, side []pair.Ticket, n int) pair.Ticket {
	t.Helper()
	prefix := fmt.Sprintf("[A-%02d]", n)
	for _, one := range side {
		if strings.HasPrefix(one.Title, prefix) {
			return one
		}
	}
	t.Fatalf("no ticket %s", prefix)
	return pair.Ticket{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
