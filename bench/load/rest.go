package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/entente-sync/entente/bench/load/client"
	"github.com/entente-sync/entente/bench/report"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// measureContested is the throughput while some ops have not seen the version
// that they meet: each of them leaves a conflict record.
func measureContested(ctx context.Context, r *report.Run, b *bed) error {
	for _, p := range b.publishers {
		p.Contest(b.s.Contested)
	}
	got, err := b.throughput(ctx, b.s.Window)
	for _, p := range b.publishers {
		p.Contest(0)
	}
	if err == nil {
		r.Add(fmt.Sprintf("merged, 1 op in %d concurrent", b.s.Contested), "ops/s", got.rate)
	}
	return err
}

// measureFanOut spreads subscribers over all nodes. It takes the latency of
// single ops at 1,000 a second, and then how fast a burst reaches all of them.
func measureFanOut(ctx context.Context, r *report.Run, b *bed) error {
	for _, n := range []int{1, 10, 100} {
		if err := b.fanOut(ctx, r, n); err != nil {
			return fmt.Errorf("%d subscribers: %w", n, err)
		}
	}
	return nil
}

// burstDeliveries is about how many entries a burst delivers to all subscribers
// together.
const burstDeliveries = 2_000_000

func (b *bed) fanOut(ctx context.Context, r *report.Run, n int) error {
	ctx, cancel := context.WithTimeout(ctx, b.s.Window+setupMax)
	defer cancel()
	live, end := context.WithCancel(b.live)
	defer end()
	subscribers, err := b.subscribeMany(live, n)
	if err != nil {
		return err
	}
	reach := func() error {
		for _, s := range subscribers {
			if err := s.Reach(ctx, b.head()); err != nil {
				return err
			}
		}
		return nil
	}
	const rate = 1_000
	every := time.Duration(len(b.publishers)) * time.Second / rate
	stop := b.sendUntil(ctx, func(i int) client.Pace {
		return client.Pace{Batch: 1, Every: every, First: every * time.Duration(i) / time.Duration(len(b.publishers))}
	})
	var got client.Latencies
	err = errors.Join(pause(ctx, b.s.warmUp), reach())
	record(subscribers, &got)
	err = errors.Join(err, gather(ctx, b.s.Window, &got))
	record(subscribers, nil)
	if err := errors.Join(err, stop(), reach()); err != nil {
		return err
	}
	q := quantilesOf(&got)
	r.Add(fmt.Sprintf("p50 at 1 k ops/s, %d subscribers on all nodes", n), "ms", q.p50)
	r.Add(fmt.Sprintf("p99 at 1 k ops/s, %d subscribers on all nodes", n), "ms", q.p99)

	// The burst: so many ops, delivered to everybody.
	each := min(burstDeliveries/n, b.s.Registers) / len(b.publishers)
	target := map[*client.Publisher]int64{}
	for _, p := range b.publishers {
		target[p] = int64(p.Writer().Seq()) + int64(each)
	}
	before, began := b.acked(), time.Now()
	err = b.send(ctx, flatOut, func(p *client.Publisher) bool { return int64(p.Writer().Seq()) < target[p] })()
	if err := errors.Join(err, reach()); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	r.Add(fmt.Sprintf("burst to %d subscribers", n), "ops/s", float64(b.acked()-before)/took)
	return nil
}

func record(subscribers []*client.Subscriber, to *client.Latencies) {
	for _, s := range subscribers {
		s.Record(to)
	}
}

// subscribeMany opens n feeds, one connection to each node: what many agents
// would use more of.
func (b *bed) subscribeMany(live context.Context, n int) ([]*client.Subscriber, error) {
	var clients []*wire.Client
	for i, node := range b.cluster.Nodes {
		c, err := b.client(node, identity.Agent{Site: reader.Site, Name: crdt.AgentName("fan" + strconv.Itoa(i))})
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	var out []*client.Subscriber
	for i := range n {
		s, err := client.Subscribe(live, clients[i%len(clients)], b.position(), b.clock)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func measureCatchUp(ctx context.Context, r *report.Run, b *bed) error {
	rate, err := b.catchUp(ctx)
	if err == nil {
		r.Add("catch-up of a newcomer", "registers/s", rate)
	}
	return err
}

// measureRestart kills a follower and times it from its start until it is ready:
// the state is loaded and the log since its checkpoint applied.
func measureRestart(ctx context.Context, r *report.Run, b *bed) error {
	ctx, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	if err := b.follower.Kill(); err != nil {
		return err
	}
	began := time.Now()
	if err := b.follower.Start(); err != nil {
		return err
	}
	if err := b.follower.Ready(ctx); err != nil {
		return err
	}
	r.Add("restart after kill -9 until ready", "s", time.Since(began).Seconds())
	rss, err := b.follower.RSS()
	if err == nil {
		r.Add("memory after the restart", "MB", float64(rss)/1e6)
		r.Add("memory a register, after the restart", "B", (float64(rss)-b.empty)/float64(b.s.Registers))
	}
	return err
}

// measureSnapshot stops a follower and works on its directory: from the store to
// a synced file, and from the file into a new store and memory.
func measureSnapshot(ctx context.Context, r *report.Run, b *bed) error {
	stopping, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	if err := b.follower.Checkpointed(stopping); err != nil {
		return err
	}
	if err := b.follower.Stop(stopping); err != nil {
		return err
	}
	dir := b.follower.Dir()
	file := filepath.Join(dir, "snapshot")
	from, err := store.Open(filepath.Join(dir, "store", "state"), store.Options{})
	if err != nil {
		return err
	}
	began := time.Now()
	registers, err := writeSnapshot(from, file)
	took := time.Since(began)
	if err := errors.Join(err, from.Close()); err != nil {
		return err
	}
	r.Add("snapshot, from disk to a synced file", "registers/s", float64(registers)/took.Seconds())
	began = time.Now()
	if err := readSnapshot(file, filepath.Join(dir, "restored")); err != nil {
		return err
	}
	r.Add("restore, from the file to disk and memory", "registers/s", float64(registers)/time.Since(began).Seconds())
	return nil
}

func writeSnapshot(from *store.Store, file string) (registers int, err error) {
	image, err := from.Load()
	if err != nil {
		return 0, err
	}
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	return len(image.Registers), errors.Join(store.WriteSnapshot(f, image), f.Sync(), f.Close())
}

func readSnapshot(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := store.ReadSnapshot(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	to, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	return errors.Join(to.Restore(image), state.New().Restore(image), to.Close())
}

// scale measures throughput and memory at other numbers of registers, each hub
// from an empty directory. What would not fit into memory is left out, and said.
func scale(ctx context.Context, s *settings, r *report.Run, dir string) error {
	for _, text := range strings.Split(s.scale, ",") {
		registers, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("-scale: %w", err)
		}
		if each := r.Figure("memory a register"); each != nil {
			need := each.Median * float64(registers*s.Nodes) * 1.5
			if free := float64(report.Meminfo("MemAvailable") << 10); need > free {
				r.Note("%s registers were not measured: %d nodes would need about %s GB of memory, %s GB are free",
					report.Short(float64(registers)), s.Nodes, report.Short(need/1e9), report.Short(free/1e9))
				continue
			}
		}
		other := *s
		other.Registers = registers
		if err := scaleOne(ctx, &other, r, filepath.Join(dir, "scale")); err != nil {
			return fmt.Errorf("%d registers: %w", registers, err)
		}
	}
	return nil
}

func scaleOne(ctx context.Context, s *settings, r *report.Run, dir string) (err error) {
	b, err := newBed(ctx, s, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(), os.RemoveAll(dir)) }()
	empty, err := b.memory()
	if err != nil {
		return err
	}
	if _, err := b.fill(ctx); err != nil {
		return err
	}
	full, err := b.memory()
	if err != nil {
		return err
	}
	got, err := b.throughput(ctx, s.Window)
	if err != nil {
		return err
	}
	size := report.Short(float64(s.Registers))
	r.Add("merged, "+size+" registers", "ops/s", got.rate)
	r.Add("memory a register, "+size+" registers", "B", (full[0]-empty[0])/float64(s.Registers))
	return nil
}
