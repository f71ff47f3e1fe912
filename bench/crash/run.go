package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entente-sync/entente/bench/crash/cluster"
	"github.com/entente-sync/entente/bench/crash/disk"
	"github.com/entente-sync/entente/bench/crash/ledger"
	"github.com/entente-sync/entente/bench/crash/load"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
)

// settleMax is how long the hub may take to be whole again. It is generous: what
// is measured is whether, not how fast.
const settleMax = time.Minute

// Config of a run.
type Config struct {
	Root     string // of the project
	Dir      string // for everything that the run writes
	Binary   string // of the product; "" builds it
	Seed     uint64
	Rounds   int
	Plan     func(round int) []Fault // nil: what Seed plans
	Progress io.Writer
}

// Report is what a run found.
type Report struct {
	Seed       uint64
	Rounds     int    // that were played
	Plan       string // of the last one
	Faults     map[Class]int
	Acked      int
	Histories  int // checked for linearizability
	Refused    int // nodes that refused to run on a damaged disk
	Ledger     *ledger.Ledger
	Violations []ledger.Violation
	Logs       string // of the nodes, if anything was violated
	Took       time.Duration
}

// run is one run under way.
type run struct {
	cfg         Config
	cluster     *cluster.Cluster
	book        *ledger.Ledger
	publishers  []*load.Publisher
	subscribers map[crdt.Pact][]*subscription
	rest        ledger.Rest // as of the last round
	saved       []saved
	count       map[Class]int
	histories   int
	refused     int
	flipped     string

	// Of the round.
	steps   []step
	mayExit map[*cluster.Node]bool
	down    map[*cluster.Node]bool
	failing *cluster.Node // whose disk fails a sync
	catchUp *cluster.Node // to be killed while it catches up
}

// subscription is a subscriber and where it may be.
type subscription struct {
	*load.Subscriber
	name string
	at   *cluster.Node // nil: anywhere
}

// saved is a position that somebody resumes from later.
type saved struct {
	pact crdt.Pact
	fold *ledger.Fold
}

// Play plays rounds until one is violated. An error is one of the harness.
func Play(ctx context.Context, cfg Config) (*Report, error) {
	began := time.Now()
	if cfg.Binary == "" {
		cfg.Binary = filepath.Join(cfg.Dir, "entente")
		if err := cluster.Build(ctx, cfg.Root, cfg.Binary); err != nil {
			return nil, err
		}
	}
	if cfg.Plan == nil {
		cfg.Plan = func(round int) []Fault { return Plan(cfg.Seed, round) }
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{cfg: cfg, book: ledger.New(), subscribers: map[crdt.Pact][]*subscription{}, rest: ledger.Rest{}, count: map[Class]int{}}
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	var err error
	if r.cluster, err = cluster.Start(cfg.Dir, cfg.Binary, 3, pactTexts()); err != nil {
		return nil, err
	}
	closing := func() error {
		cancel()
		loops.Wait()
		return r.cluster.Close()
	}
	if err := r.begin(ctx, &loops); err != nil {
		return nil, errors.Join(err, closing())
	}
	played := 0
	for err == nil && played < cfg.Rounds && len(r.book.Violations()) == 0 {
		err = r.round(ctx, played)
		played++
	}
	if err == nil && len(r.book.Violations()) == 0 {
		err = r.readAll(ctx)
	}
	report := r.report(played, time.Since(began))
	if err != nil {
		err = fmt.Errorf("seed %d, round %d:\n%s\n%w\n%s", cfg.Seed, played-1, PlanText(cfg.Plan(played-1)), err, r.logs())
	}
	return report, errors.Join(err, closing())
}

// begin starts publishers and subscribers.
func (r *run) begin(ctx context.Context, loops *sync.WaitGroup) error {
	draws := func(n int) *rand.Rand { return rand.New(rand.NewPCG(r.cfg.Seed, 2<<32+uint64(n))) }
	n := 0
	for _, p := range pacts() {
		for i, site := range p.words.Sites {
			who := identity.Agent{Site: site, Name: "main"}
			settings, err := r.cluster.TLS(who)
			if err != nil {
				return err
			}
			subscribe := func(name string, at *cluster.Node, peers []load.Peer) *subscription {
				s := &subscription{load.NewSubscriber(r.book, name, settings, p.name, peers), name, at}
				r.subscribers[p.name] = append(r.subscribers[p.name], s)
				n++
				draw := draws(n)
				loops.Go(func() { s.Run(ctx, draw) })
				return s
			}
			node := r.cluster.Nodes[i%len(r.cluster.Nodes)]
			subscribe(fmt.Sprintf("%s at %s", who.Site, node.Name), node, []load.Peer{node.Peer()})
			view := subscribe(fmt.Sprintf("%s anywhere", who.Site), nil, r.cluster.Peers())
			n++
			publisher := load.NewPublisher(r.book, who, settings, p.name, r.cluster.Peers(), view.Subscriber, p.words, draws(n))
			r.publishers = append(r.publishers, publisher)
			loops.Go(func() { publisher.Run(ctx) })
		}
	}
	return nil
}

// round is work under faults, peace, and the checks.
func (r *run) round(ctx context.Context, round int) error {
	draw := rand.New(rand.NewPCG(r.cfg.Seed, 3<<32+uint64(round)))
	for _, p := range r.publishers {
		if draw.IntN(8) == 0 {
			p.Restart()
		}
	}
	r.make(true)
	if err := r.play(ctx, r.cfg.Plan(round)); err != nil {
		return err
	}
	r.make(false)
	if err := r.heal(ctx, draw); err != nil {
		return err
	}
	if !r.settle(ctx, draw) {
		return ctx.Err()
	}
	r.check(ctx, draw)
	if r.cfg.Progress != nil && (round+1)%10 == 0 {
		acked, _ := r.book.Acked()
		fmt.Fprintf(r.cfg.Progress, "round %d, %d acks\n", round+1, acked)
	}
	return nil
}

// make lets the publishers write, or stops them.
func (r *run) make(on bool) {
	for _, p := range r.publishers {
		p.Make(on)
	}
}

// heal ends the faults and brings back who is down.
func (r *run) heal(ctx context.Context, draw *rand.Rand) error {
	if n := r.failing; n != nil {
		if err := r.mustHaveExited(ctx, n); err != nil {
			return err
		}
	}
	if err := r.cluster.Heal(); err != nil {
		return err
	}
	if n := r.catchUp; n != nil {
		r.catchUp = nil
		if !n.Running() {
			if err := n.Start(); err != nil {
				return err
			}
		}
		if err := sleep(ctx, time.Duration(50+draw.IntN(400))*time.Millisecond); err != nil {
			return err
		}
		if err := n.Kill(); err != nil {
			return err
		}
		r.down[n] = true
	}
	return nil
}

// mustHaveExited waits for the end of a node one of whose syncs failed, and then
// takes the power from its disk: what was not synced is nowhere.
func (r *run) mustHaveExited(ctx context.Context, n *cluster.Node) error {
	if n.Disk().FailedSyncs() == 0 {
		return nil // it had nothing to sync
	}
	r.counted(Fault{Class: FailedSync})
	select {
	case <-n.Done():
		if n.ExitCode() <= 0 {
			r.book.Violate(ledger.Fault, "node %s ended with code %d after a failed sync\n%s", n.Name, n.ExitCode(), n.Log(3000))
		}
	case <-time.After(20 * time.Second):
		r.book.Violate(ledger.Fault, "node %s goes on after a failed sync\n%s", n.Name, n.Log(3000))
	case <-ctx.Done():
		return ctx.Err()
	}
	return n.PowerOff(disk.TearNone, nil)
}

// settle waits until every node runs and is ready, everything is answered, and
// every subscriber is at the head.
func (r *run) settle(ctx context.Context, draw *rand.Rand) bool {
	deadline := time.Now().Add(settleMax)
	for {
		r.revive()
		waiting := r.waiting(ctx)
		if waiting == "" {
			return true
		}
		if len(r.book.Violations()) > 0 {
			return false
		}
		if time.Now().After(deadline) {
			r.book.Violate(ledger.Stuck, "%s after the faults were over: %s", settleMax, waiting)
			r.dump()
			return false
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return false
		}
		if draw.IntN(100) == 0 {
			r.hop(draw)
		}
	}
}

// hop lets a subscriber resume somewhere.
func (r *run) hop(draw *rand.Rand) {
	all := r.subscribers[pacts()[draw.IntN(len(pacts()))].name]
	all[draw.IntN(len(all))].Hop()
}

// revive starts nodes that are down, and complains of those that have no reason.
func (r *run) revive() {
	for _, n := range r.cluster.Nodes {
		if n.Running() {
			continue
		}
		if !r.down[n] && !r.mayExit[n] {
			r.book.Violate(ledger.Fault, "node %s stopped itself with code %d\n%s", n.Name, n.ExitCode(), n.Log(4000))
		}
		r.down[n] = false
		if err := n.Start(); err != nil {
			r.book.Violate(ledger.Fault, "node %s: %v", n.Name, err)
		}
	}
}

// waiting says what is not at rest, "" if everything is.
func (r *run) waiting(ctx context.Context) string {
	acked := map[crdt.Pact]crdt.Offset{}
	for _, p := range r.publishers {
		if !p.Idle() {
			return p.Where()
		}
		acked[p.Pact()] = max(acked[p.Pact()], p.Newest())
	}
	for pact, all := range r.subscribers {
		cursor := all[0].Cursor()
		for _, s := range all {
			if at := s.Cursor(); at != cursor || at < acked[pact] {
				return fmt.Sprintf("%s: subscriber %s is at %d, another at %d, acked is %d", pact, s.name, at, cursor, acked[pact])
			}
		}
	}
	for _, n := range r.cluster.Nodes {
		if !n.Ready(ctx) {
			return "node " + n.Name + " is not ready"
		}
	}
	return ""
}

// check holds everything against everything.
func (r *run) check(ctx context.Context, draw *rand.Rand) {
	now := ledger.Rest{}
	for _, p := range pacts() {
		for i, s := range r.subscribers[p.name] {
			fold := s.Fold()
			if i == 0 {
				now[p.name] = fold
			} else if d := fold.Difference(now[p.name]); d != "" {
				r.book.Violate(ledger.Diverged, "%s: %s and %s differ: %s", p.name, s.name, r.subscribers[p.name][0].name, d)
			}
		}
	}
	for _, p := range r.publishers {
		if err := p.CheckAuthors(ctx, r.cluster.Nodes[draw.IntN(len(r.cluster.Nodes))].Peer()); err != nil {
			r.book.Violate(ledger.Diverged, "%v", err)
		}
	}
	r.resume(ctx, draw, now)
	r.book.CheckRest(now)
	r.histories += r.book.EndRound(r.rest, now)
	r.rest = now
}

// resume reads on from an older position, and once from the start.
func (r *run) resume(ctx context.Context, draw *rand.Rand, now ledger.Rest) {
	pact := pacts()[draw.IntN(len(pacts()))].name
	r.reads(ctx, pact, r.node(draw), ledger.NewFold(), now[pact])
	if len(r.saved) > 0 {
		i := draw.IntN(len(r.saved))
		s := r.saved[i]
		r.saved = slices.Delete(r.saved, i, i+1)
		r.reads(ctx, s.pact, r.node(draw), s.fold, now[s.pact])
	}
	if len(r.saved) < 8 {
		pact = pacts()[draw.IntN(len(pacts()))].name
		r.saved = append(r.saved, saved{pact, now[pact]})
	}
}

func (r *run) node(draw *rand.Rand) *cluster.Node {
	return r.cluster.Nodes[draw.IntN(len(r.cluster.Nodes))]
}

// reads compares what a reader gets behind a position with what is there.
func (r *run) reads(ctx context.Context, pact crdt.Pact, n *cluster.Node, from, want *ledger.Fold) {
	settings, err := r.cluster.TLS(identity.Agent{Site: member(pact), Name: "reader"})
	if err != nil {
		r.book.Violate(ledger.Fault, "%v", err)
		return
	}
	got, err := load.Read(ctx, r.book, settings, pact, n.Peer(), from, want.Cursor.Offset)
	if err != nil {
		r.book.Violate(ledger.Lost, "%v", err)
		return
	}
	if d := got.Difference(want); d != "" {
		r.book.Violate(ledger.Lost, "%s read at %s from %d: %s", pact, n.Name, from.Cursor.Offset, d)
	}
}

// readAll reads every pact at every node.
func (r *run) readAll(ctx context.Context) error {
	for _, n := range r.cluster.Nodes {
		for pact, want := range r.rest {
			r.reads(ctx, pact, n, ledger.NewFold(), want)
		}
	}
	return ctx.Err()
}

func (r *run) report(rounds int, took time.Duration) *Report {
	acked, _ := r.book.Acked()
	out := &Report{
		Seed: r.cfg.Seed, Rounds: rounds, Plan: PlanText(r.cfg.Plan(rounds - 1)), Faults: r.count, Acked: acked, Histories: r.histories, Refused: r.refused,
		Ledger: r.book, Violations: r.book.Violations(), Took: took,
	}
	if len(out.Violations) > 0 {
		out.Logs = r.logs()
	}
	return out
}

// dump lets every node say what it is doing, and end.
func (r *run) dump() {
	for _, n := range r.cluster.Nodes {
		if err := errors.Join(n.Resume(), n.Dump()); err != nil {
			r.book.Violate(ledger.Fault, "node %s: %v", n.Name, err)
		}
		<-n.Done()
	}
}

// logs copies the nodes' logs to where they stay, and returns their ends.
func (r *run) logs() string {
	var b strings.Builder
	dir, err := os.MkdirTemp("", "entente-crash-")
	fmt.Fprintf(&b, "logs in %s, %v\n", dir, err)
	for _, n := range r.cluster.Nodes {
		if err := os.WriteFile(filepath.Join(dir, n.Name+".log"), []byte(n.Log(64<<20)), 0o600); err != nil {
			fmt.Fprintln(&b, err)
		}
		fmt.Fprintf(&b, "--- %s\n%s", n.Name, n.Log(2000))
	}
	return b.String()
}

// Available says why this machine cannot play, or nil.
func Available() error {
	if os.Getuid() != 0 {
		return errors.New("mounting a disk that loses power wants root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("mounting a disk that loses power wants FUSE: %w", err)
	}
	return nil
}
