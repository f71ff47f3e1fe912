package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/entente-sync/entente/bench/workload"
)

func etcdSystems() []system {
	row := func(name string, make func(*etcd) store, l load) system {
		return system{
			name: "etcd, " + name, nodes: 3, durability: majority,
			measure: func(ctx context.Context, s *settings, dir string) (float64, error) {
				return measureEtcd(ctx, s, dir, make, l)
			},
		}
	}
	return []system{
		row("put, 256 clients", func(e *etcd) store { return etcdPut{e} }, load{clients: 256, batch: 1}),
		row("compare and put (last writer wins), 256 clients", func(e *etcd) store { return etcdSwap{e} }, load{clients: 256, batch: 1}),
		row("transactions of 128 puts", func(e *etcd) store { return etcdPut{e} }, load{clients: 16, batch: 128}),
	}
}

// etcdNode runs one member for ever.
func etcdNode(n node) error {
	at := func(port int) url.URL { return url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)} }
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = n.name(), n.Dir
	cfg.LogLevel, cfg.LogOutputs = "error", []string{"stderr"}
	cfg.QuotaBackendBytes = 8 << 30
	cfg.ListenClientUrls = []url.URL{at(n.Clients[n.Number])}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ListenPeerUrls = []url.URL{at(n.Peers[n.Number])}
	cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
	var members []string
	for i, port := range n.Peers {
		u := at(port)
		members = append(members, fmt.Sprintf("n%d=%s", i+1, u.String()))
	}
	cfg.InitialCluster = strings.Join(members, ",")
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	return <-server.Err()
}

type etcd struct {
	shape  workload.Shape
	client *clientv3.Client
}

func measureEtcd(ctx context.Context, s *settings, dir string, with func(*etcd) store, l load) (float64, error) {
	p := &processes{dir: dir}
	defer p.kill()
	ports, err := startThree(p, "etcd", true)
	if err != nil {
		return 0, err
	}
	var endpoints []string
	for _, port := range ports {
		endpoints = append(endpoints, fmt.Sprintf("http://127.0.0.1:%d", port))
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second, Context: ctx})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for { // until it has a leader
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.Put(try, "ready", "yes")
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("etcd is not ready: %w%s", err, p.logs())
		}
	}
	return drive(ctx, s, with(&etcd{s.shape(), c}), l)
}

// etcdPut puts, whatever was there: the last to arrive wins.
type etcdPut struct{ *etcd }

func (e etcdPut) Apply(ctx context.Context, ops []workload.Op) error {
	if len(ops) == 1 {
		_, err := e.client.Put(ctx, e.shape.Key(ops[0].Register), string(encode(&ops[0])))
		return err
	}
	var puts []clientv3.Op
	at := map[uint32]int{} // etcd takes a key once in a transaction
	for i := range ops {
		op := &ops[i]
		put := clientv3.OpPut(e.shape.Key(op.Register), string(encode(op)))
		if j, twice := at[op.Register]; twice {
			puts[j] = put
			continue
		}
		at[op.Register] = len(puts)
		puts = append(puts, put)
	}
	_, err := e.client.Txn(ctx).Then(puts...).Commit()
	return err
}

// etcdSwap puts if what is there is older. Comparing with an absent key is
// false, hence the second try; values compare as bytes, and so as versions.
type etcdSwap struct{ *etcd }

func (e etcdSwap) Apply(ctx context.Context, ops []workload.Op) error {
	for i := range ops {
		op := &ops[i]
		key, value := e.shape.Key(op.Register), string(encode(op))
		put := clientv3.OpPut(key, value)
		answer, err := e.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "<", value)).Then(put).
			Else(clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(key), "=", 0)}, []clientv3.Op{put}, nil)).Commit()
		if err != nil {
			return err
		}
		_ = answer // older: nothing to do
	}
	return nil
}

func (e etcdSwap) Read(ctx context.Context, register uint32) (workload.Version, error) {
	answer, err := e.client.Get(ctx, e.shape.Key(register))
	if err != nil {
		return workload.Version{}, err
	}
	if len(answer.Kvs) != 1 {
		return workload.Version{}, errors.New("key is not there")
	}
	return decode(answer.Kvs[0].Value)
}
