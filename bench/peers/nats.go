package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entente-sync/entente/bench/workload"
)

func natsSystems() []system {
	row := func(name string, kind natsKind, syncAlways bool, l load) system {
		durability := "majority, fsync every 2 minutes (default)"
		if syncAlways {
			durability = "fsync always on a majority"
		}
		return system{
			name: "NATS JetStream, " + name + map[bool]string{true: "", false: ", default sync"}[syncAlways], nodes: 3, durability: durability,
			measure: func(ctx context.Context, s *settings, dir string) (float64, error) {
				return measureNATS(ctx, s, dir, kind, syncAlways, l)
			},
		}
	}
	wide := load{clients: 16, batch: workload.Batch}
	return []system{
		row("stream, 1 op a message", natsStream, true, wide), row("stream, 1 op a message", natsStream, false, wide),
		row("KV, 1 op a message", natsKV, true, wide), row("KV, 1 op a message", natsKV, false, wide),
		row("KV, atomic batches of 256", natsBatches, true, wide), row("KV, atomic batches of 256", natsBatches, false, wide),
	}
}

// natsKind is what a message means.
type natsKind int

const (
	natsStream  natsKind = iota + 1 // one of many: nothing is merged
	natsKV                          // the newest of its key: the last to arrive wins
	natsBatches                     // likewise, 256 at once or none
)

// natsNode runs one server for ever.
func natsNode(n node) error {
	opts := &server.Options{
		ServerName: n.name(), Host: "127.0.0.1", Port: n.Clients[n.Number], NoSigs: true,
		JetStream: true, StoreDir: n.Dir, JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 32 << 30, SyncAlways: n.SyncAlways,
		Cluster: server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: n.Peers[n.Number]},
	}
	for _, port := range n.Peers {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	s.WaitForShutdown()
	return errors.New("the server has shut down")
}

const natsSubject = "$KV.bench."

type natsStore struct {
	shape workload.Shape
	kind  natsKind
	js    jetstream.JetStream
	conn  *nats.Conn
	batch atomic.Uint64
}

func measureNATS(ctx context.Context, s *settings, dir string, kind natsKind, syncAlways bool, l load) (float64, error) {
	p := &processes{dir: dir}
	defer p.kill()
	ports, err := startThree(p, "nats", syncAlways)
	if err != nil {
		return 0, err
	}
	conn, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", ports[0]), nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(8192))
	if err != nil {
		return 0, err
	}
	cfg := jetstream.StreamConfig{
		Name: "KV_bench", Subjects: []string{natsSubject + ">"}, Replicas: 3, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, AllowAtomicPublish: kind == natsBatches,
	}
	if kind != natsStream {
		cfg.MaxMsgsPerSubject, cfg.AllowDirect, cfg.AllowRollup = 1, true, true
	}
	for { // until three servers know each other
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := js.CreateStream(try, cfg)
		cancel()
		if err == nil {
			break
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return 0, fmt.Errorf("NATS is not ready: %w%s", err, p.logs())
		}
	}
	rate, err := drive(ctx, s, &natsStore{shape: s.shape(), kind: kind, js: js, conn: conn}, l)
	if err != nil || kind == natsStream {
		return rate, err
	}
	return rate, holds(ctx, js, uint64(s.Registers))
}

// holds checks that there is one message for each key.
func holds(ctx context.Context, js jetstream.JetStream, keys uint64) error {
	stream, err := js.Stream(ctx, "KV_bench")
	if err != nil {
		return err
	}
	if got := stream.CachedInfo().State.Msgs; got != keys {
		return fmt.Errorf("the bucket holds %d keys, want %d", got, keys)
	}
	return nil
}

func (n *natsStore) Apply(ctx context.Context, ops []workload.Op) error {
	if n.kind == natsBatches {
		return n.atomic(ctx, ops)
	}
	acks := make([]jetstream.PubAckFuture, len(ops))
	for i := range ops {
		var err error
		if acks[i], err = n.js.PublishMsgAsync(n.message(&ops[i])); err != nil {
			return err
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (n *natsStore) message(op *workload.Op) *nats.Msg {
	return &nats.Msg{Subject: natsSubject + n.shape.Key(op.Register), Data: encode(op)}
}

// atomic sends the batch, whose last message commits it and is answered.
func (n *natsStore) atomic(ctx context.Context, ops []workload.Op) error {
	id := strconv.FormatUint(n.batch.Add(1), 36)
	for i := range ops {
		m := n.message(&ops[i])
		m.Header = nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(i + 1)}}
		if i < len(ops)-1 {
			if err := n.conn.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		m.Header.Set("Nats-Batch-Commit", "1")
		ack, err := n.js.PublishMsg(ctx, m)
		if err != nil {
			return fmt.Errorf("atomic batch: %w", err)
		}
		if ack.Stream == "" {
			return errors.New("atomic batch: no acknowledgement")
		}
	}
	return nil
}
