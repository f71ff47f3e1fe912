// Command realpair syncs a real Redmine and a real Request Tracker on this
// machine until it is interrupted: make run-real. It is the walk-through of
// docs/two-real-systems.md, done by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/entente-sync/entente/bench/pair"
)

const seeds = 10

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "realpair:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "entente-pair-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := pair.Start(ctx, ".", dir, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	fmt.Fprintf(out, "making %d issues in Redmine\n", seeds)
	if err := p.Seed(ctx, seeds); err != nil {
		return err
	}
	if err := p.Run(pair.Hub, pair.Acme, pair.Globex); err != nil {
		return err
	}
	began := time.Now()
	if err := p.Settle(ctx); err != nil {
		return err
	}
	acme, err := p.Issues(ctx, true)
	if err != nil {
		return err
	}
	globex, err := p.Tickets(ctx, true)
	if err != nil {
		return err
	}
	if d := pair.Difference(acme, globex); d != "" {
		return fmt.Errorf("both sides differ after the backfill:\n%s", d)
	}
	fmt.Fprintf(out, "%d issues are tickets, equal field by field, after %s\n", len(globex), time.Since(began).Round(time.Second))
	tell(out, p, acme[0].Key, globex[0].Key)
	<-ctx.Done()
	return nil
}

func tell(out io.Writer, p *pair.Pair, issue, ticket string) {
	fmt.Fprintf(out, `
Acme's Redmine            %s
Globex's Request Tracker  %s
configuration and logs    %s

Three things to try, in another terminal:

1. Acme raises the priority; Request Tracker shows it a few seconds later.
   curl -X PUT -H 'X-Redmine-API-Key: %s' -H 'Content-Type: application/json' %s/issues/%s.json -d '{"issue":{"priority_id":4}}'
   curl -s -H 'Authorization: token %s' %s/REST/2.0/ticket/%s | grep -o '"Priority":"[0-9]*"'

2. Globex answers the customer; the answer becomes a note in Redmine.
   curl -X POST -H 'Authorization: token %s' -H 'Content-Type: text/plain' %s/REST/2.0/ticket/%s/correspond -d 'We are on it.'

3. See how both ends stand.
   %s status --socket %s --socket %s

Ctrl-C ends everything and removes it.
`, p.Redmine.URL, p.RT.URL, p.Dir,
		p.Redmine.Human.Token, p.Redmine.URL, issue, p.RT.Human.Token, p.RT.URL, ticket,
		p.RT.Human.Token, p.RT.URL, ticket,
		p.Binary, filepath.Join(p.Dir, "data", pair.Acme, "admin.sock"), filepath.Join(p.Dir, "data", pair.Globex, "admin.sock"))
}
