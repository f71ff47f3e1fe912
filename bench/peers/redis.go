package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/entente-sync/entente/bench/workload"
)

func redisSystems() []system {
	row := func(policy, durability string) system {
		return system{
			name: "Redis, Lua last writer wins, pipelines of 256, " + policy, nodes: 1, durability: durability,
			missing: onPath("redis-server"),
			measure: func(ctx context.Context, s *settings, dir string) (float64, error) {
				return measureRedis(ctx, s, dir, policy)
			},
		}
	}
	return []system{row("always", "fsync on its one disk"), row("everysec", "nothing: fsync once a second")}
}

// redisMerge compares the heads of two values, which sort as versions do.
var redisMerge = redis.NewScript(`
local old = redis.call('GET', KEYS[1])
if not old or string.sub(old, 1, 9) < string.sub(ARGV[1], 1, 9) then
  redis.call('SET', KEYS[1], ARGV[1])
  return 1
end
return 0`)

type redisStore struct {
	shape  workload.Shape
	client *redis.Client
}

func measureRedis(ctx context.Context, s *settings, dir, policy string) (float64, error) {
	p := &processes{dir: dir}
	defer p.kill()
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(ports[0]), "--bind", "127.0.0.1", "--dir", dir,
		"--appendonly", "yes", "--appendfsync", policy, "--save", "")
	cmd.Env = append(os.Environ(), "LC_ALL=C") // Lua compares text by the locale
	if err := p.start("redis", cmd); err != nil {
		return 0, err
	}
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), MaxRetries: -1})
	defer c.Close()
	for c.Ping(ctx).Err() != nil {
		if pause(ctx, pollEvery) != nil {
			return 0, errors.New("Redis is not ready" + p.logs())
		}
	}
	if err := redisMerge.Load(ctx, c).Err(); err != nil {
		return 0, err
	}
	return drive(ctx, s, &redisStore{s.shape(), c}, load{clients: 8, batch: workload.Batch})
}

func (r *redisStore) Apply(ctx context.Context, ops []workload.Op) error {
	pipe := r.client.Pipeline()
	for i := range ops {
		redisMerge.EvalSha(ctx, pipe, []string{r.shape.Key(ops[i].Register)}, encode(&ops[i]))
	}
	_, err := pipe.Exec(ctx)
	return err
}

func (r *redisStore) Read(ctx context.Context, register uint32) (workload.Version, error) {
	b, err := r.client.Get(ctx, r.shape.Key(register)).Bytes()
	if err != nil {
		return workload.Version{}, err
	}
	return decode(b)
}
