package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entente-sync/entente/bench/workload"
)

const pollEvery = 50 * time.Millisecond

func postgresSystems() []system {
	row := func(name string, nodes int, durability string) system {
		return system{
			name: "PostgreSQL, upsert where newer, 256 rows a transaction, " + name, nodes: nodes, durability: durability,
			missing: postgresMissing,
			measure: func(ctx context.Context, s *settings, dir string) (float64, error) {
				return measurePostgres(ctx, s, dir, nodes == 2)
			},
		}
	}
	return []system{row("one node", 1, "fsync on its one disk"), row("synchronous standby", 2, "fsync on both")}
}

// postgresBin is where the newest PostgreSQL of the machine has its programs.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return "", errors.Join(errors.New("no /usr/lib/postgresql: apt-get install postgresql"), err)
	}
	return slices.MaxFunc(found, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) }), nil
}

func postgresMissing() error {
	_, err := postgresBin()
	return err
}

// postgres is one server or two; as root they run as the user postgres, since
// they refuse root.
type postgres struct {
	processes
	bin  string
	cred *syscall.Credential
	uid  int
	gid  int
}

func newPostgres(dir string) (*postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	p := &postgres{processes: processes{dir: dir}, bin: bin, uid: os.Getuid(), gid: os.Getgid()}
	if p.uid != 0 {
		return p, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	p.uid, p.gid = uid, gid
	p.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return p, errors.Join(err, err2, os.Chown(dir, uid, gid))
}

func (p *postgres) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	return cmd
}

func (p *postgres) run(ctx context.Context, program string, args ...string) error {
	if out, err := p.command(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

func (p *postgres) serve(name string, port int, settings ...string) error {
	args := []string{"-D", filepath.Join(p.dir, name), "-p", strconv.Itoa(port), "-k", p.dir}
	for _, s := range append([]string{
		"listen_addresses=127.0.0.1", "fsync=on", "synchronous_commit=on", "shared_buffers=256MB", "max_wal_size=4GB", "max_connections=50",
	}, settings...) {
		args = append(args, "-c", s)
	}
	return p.start(name, p.command(context.Background(), "postgres", args...))
}

func measurePostgres(ctx context.Context, s *settings, dir string, standby bool) (float64, error) {
	p, err := newPostgres(dir)
	if err != nil {
		return 0, err
	}
	defer p.kill()
	ports, err := freePorts(2)
	if err != nil {
		return 0, err
	}
	if err := p.run(ctx, "initdb", "-D", filepath.Join(dir, "one"), "-U", "postgres", "-A", "trust", "-E", "UTF8"); err != nil {
		return 0, err
	}
	if err := p.serve("one", ports[0]); err != nil {
		return 0, err
	}
	pool, err := pgxpool.New(ctx, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable&pool_max_conns=12", ports[0]))
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	if err := p.until(ctx, "ready", func() bool { return pool.Ping(ctx) == nil }); err != nil {
		return 0, err
	}
	if standby {
		if err := p.addStandby(ctx, pool, ports); err != nil {
			return 0, err
		}
	}
	_, err = pool.Exec(ctx, `CREATE TABLE registers (key text PRIMARY KEY, stamp bigint NOT NULL, author smallint NOT NULL, value bytea NOT NULL)`)
	if err != nil {
		return 0, err
	}
	return drive(ctx, s, &postgresStore{s.shape(), pool}, load{clients: 8, batch: workload.Batch})
}

func (p *postgres) addStandby(ctx context.Context, pool *pgxpool.Pool, ports []int) error {
	err := p.run(ctx, "pg_basebackup", "-D", filepath.Join(p.dir, "two"), "-R", "-X", "stream", "-c", "fast",
		"-h", "127.0.0.1", "-p", strconv.Itoa(ports[0]), "-U", "postgres")
	if err != nil {
		return err
	}
	if err := p.serve("two", ports[1]); err != nil {
		return err
	}
	for _, statement := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return p.until(ctx, "synchronous standby", func() bool {
		var n int
		err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`).Scan(&n)
		return err == nil && n == 1
	})
}

func (p *postgres) until(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("PostgreSQL: not %s: %w%s", what, err, p.logs())
		}
	}
	return nil
}

type postgresStore struct {
	shape workload.Shape
	pool  *pgxpool.Pool
}

const postgresUpsert = `INSERT INTO registers SELECT * FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::bytea[])
ON CONFLICT (key) DO UPDATE SET stamp = EXCLUDED.stamp, author = EXCLUDED.author, value = EXCLUDED.value
WHERE (registers.stamp, registers.author) < (EXCLUDED.stamp, EXCLUDED.author)`

// Apply writes each key once, which one statement demands, and in order of keys,
// so that no two transactions wait for each other.
func (s *postgresStore) Apply(ctx context.Context, ops []workload.Op) error {
	newest := map[uint32]*workload.Op{}
	for i := range ops {
		newest[ops[i].Register] = &ops[i]
	}
	type row struct {
		key string
		op  *workload.Op
	}
	rows := make([]row, 0, len(newest))
	for register, op := range newest {
		rows = append(rows, row{s.shape.Key(register), op})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.key, b.key) })
	keys, stamps := make([]string, len(rows)), make([]int64, len(rows))
	authors, values := make([]int16, len(rows)), make([][]byte, len(rows))
	for i, r := range rows {
		keys[i], stamps[i], authors[i], values[i] = r.key, int64(r.op.Stamp), int16(r.op.Writer), r.op.Value
	}
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, postgresUpsert, keys, stamps, authors, values)
		return err
	})
}

func (s *postgresStore) Read(ctx context.Context, register uint32) (workload.Version, error) {
	var stamp int64
	var author int16
	err := s.pool.QueryRow(ctx, `SELECT stamp, author FROM registers WHERE key = $1`, s.shape.Key(register)).Scan(&stamp, &author)
	return workload.Version{Stamp: uint64(stamp), Writer: int(author)}, err
}
