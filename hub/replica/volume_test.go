package replica

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/entente-sync/entente/hub/command"
)

// fakeSpace is a volume of 1000 MiB of which a test says what is free.
type fakeSpace struct{ free atomic.Int64 }

func (f *fakeSpace) space(string) (free, total int64, err error) {
	return f.free.Load(), 1000 << 20, nil
}

func testVolume(t *testing.T, f *fakeSpace, tune func(*Config)) *volume {
	t.Helper()
	cfg := Config{
		Dir: t.TempDir(), space: f.space, ReserveBytes: 100 << 20, BallastBytes: -1,
		SegmentBytes: 1 << 20, MemTableBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
	}
	tune(&cfg)
	return newVolume(&cfg)
}

// What is left decides; a little more must be free to leave a state than to enter it.
func TestRoom(t *testing.T) {
	f := &fakeSpace{}
	v := testVolume(t, f, func(*Config) {})
	for i, step := range []struct {
		mib  int64
		want Room
	}{
		{500, RoomEnough},
		{100, RoomEnough},
		{99, RoomLow},
		{105, RoomLow},
		{110, RoomEnough},
		{50, RoomLow},
		{49, RoomReadOnly},
		{55, RoomReadOnly},
		{60, RoomLow},
		{0, RoomReadOnly},
		{105, RoomLow},
		{500, RoomEnough},
	} {
		f.free.Store(step.mib << 20)
		v.look()
		if got := v.left(); got != step.want {
			t.Errorf("step %d, %d MiB are free: %s, want %s", i, step.mib, got, step.want)
		}
		if (v.admits() == nil) != (step.want == RoomEnough) || (v.stores() == nil) != (step.want < RoomReadOnly) {
			t.Errorf("step %d: admits %v, stores %v", i, v.admits(), v.stores())
		}
	}
}

// A tenth of the volume is kept free where nothing is said, within reason.
func TestReserve(t *testing.T) {
	cfg := Config{MemTableBytes: 16 << 20, SegmentBytes: 64 << 20, CheckpointBytes: 64 << 20}
	const gib = int64(1) << 30
	for total, want := range map[int64]int64{1 * gib: 768 << 20, 50 * gib: 5 * gib, 4000 * gib: 10 * gib} {
		if got := newVolume(&cfg).reserveOf(total); got != want {
			t.Errorf("of %d GiB %d bytes are kept, want %d", total/gib, got, want)
		}
	}
}

// The ballast is of real blocks; most is given up when the volume is full, the
// rest for the database's last table; what is missing of it counts as used.
func TestBallast(t *testing.T) {
	f := &fakeSpace{}
	f.free.Store(500 << 20)
	v := testVolume(t, f, func(cfg *Config) { cfg.BallastBytes = 20 << 20 })
	size := func() (apparent, blocks int64) {
		info, err := os.Stat(v.path())
		if err != nil {
			t.Fatal(err)
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatal("no blocks to count")
		}
		return info.Size(), 512 * stat.Blocks
	}
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	if apparent, blocks := size(); apparent != 20<<20 || blocks < 20<<20 {
		t.Fatalf("a ballast of %d bytes in %d bytes of blocks", apparent, blocks)
	}
	f.free.Store(1 << 20)
	v.look()
	if apparent, _ := size(); apparent != v.lastTables() {
		t.Errorf("of the ballast %d bytes are kept, want %d", apparent, v.lastTables())
	}
	f.free.Store(115 << 20) // of which 16 belong to the ballast, and its coming back would make the disk low
	v.look()
	if v.left() != RoomLow {
		t.Errorf("room: %s", v.left())
	}
	if apparent, _ := size(); apparent != v.lastTables() {
		t.Errorf("the ballast is %d bytes", apparent)
	}
	f.free.Store(500 << 20)
	v.look()
	if apparent, blocks := size(); apparent != 20<<20 || blocks < 20<<20 || v.left() != RoomEnough {
		t.Errorf("with room again: a ballast of %d bytes in %d, %s", apparent, blocks, v.left())
	}
	f.free.Store(0)
	if err := v.closes(); !errors.Is(err, ErrDiskLow) {
		t.Errorf("closing without room: %v", err)
	}
	if apparent, _ := size(); apparent != 0 {
		t.Errorf("the ballast kept %d bytes when the store was to be closed", apparent)
	}
}

func TestScribbledBallast(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := scribble(file, 3<<20+5); err != nil {
		t.Fatal(err)
	}
	if info, err := file.Stat(); err != nil || info.Size() != 3<<20+5 {
		t.Fatalf("%v, %v", info, err)
	}
}

// spacious is three nodes on volumes of which the test says what is free.
func spacious(t *testing.T) (*cluster, map[string]*fakeSpace) {
	t.Helper()
	spaces := map[string]*fakeSpace{}
	for _, name := range []string{"n1", "n2", "n3"} {
		spaces[name] = &fakeSpace{}
		spaces[name].free.Store(500 << 20)
	}
	c := newCluster(t, 3, func(cfg *Config) {
		cfg.space, cfg.ReserveBytes, cfg.lookEvery = spaces[cfg.Node].space, 100<<20, 5*time.Millisecond
	})
	c.found()
	return c, spaces
}

// A leader whose disk is low hands over to a node with room.
func TestLowLeaderHandsOver(t *testing.T) {
	c, spaces := spacious(t)
	c.publish(1, 10)
	c.equal(10)
	for range 2 { // two of three, one after the other
		old := c.leader()
		spaces[old.cfg.Node].free.Store(80 << 20)
		c.leaderBeside(old)
	}
	c.publish(11, 10)
	c.equal(20) // those that are low go on storing
	for _, s := range spaces {
		s.free.Store(500 << 20)
	}
	c.publish(21, 10)
	c.equal(30)
}

// With all disks low nothing is admitted, and nothing is lost; with room again
// all goes on.
func TestLowHubAdmitsNothing(t *testing.T) {
	c, spaces := spacious(t)
	c.publish(1, 10)
	c.equal(10)
	for _, s := range spaces {
		s.free.Store(1 << 20)
	}
	eventually(t, "read-only nodes", func() bool {
		return !slices.ContainsFunc(c.running(), func(r *Replica) bool { return r.Status().Room != RoomReadOnly })
	})
	refused := func(r *Replica) bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := r.Propose(ctx, publish(11, 10))
		return errors.Is(err, ErrDiskLow)
	}
	eventually(t, "refusal", func() bool {
		for _, r := range c.running() {
			if refused(r) {
				return true
			}
		}
		return false
	})
	c.equal(10)
	if err := c.running()[0].Checkpoint(); !errors.Is(err, ErrDiskLow) {
		t.Errorf("a checkpoint without room: %v", err)
	}
	for _, s := range spaces {
		s.free.Store(500 << 20)
	}
	c.publish(11, 10)
	c.equal(20)
	for _, name := range c.names {
		if err := c.exited(name); err != nil {
			t.Error(err)
		}
	}
}

// A follower that is read-only stores nothing, holds up nobody, and catches up.
func TestReadOnlyFollower(t *testing.T) {
	c, spaces := spacious(t)
	c.publish(1, 10)
	c.equal(10)
	leader, full := c.leader(), c.running()[0]
	if full == leader {
		full = c.running()[1]
	}
	spaces[full.cfg.Node].free.Store(10 << 20)
	eventually(t, "a read-only follower", func() bool { return full.Status().Room == RoomReadOnly })
	last, err := full.log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	c.publish(11, 50)
	if now, err := full.log.LastIndex(); err != nil || now != last {
		t.Errorf("a read-only node's log grew from %d to %d, %v", last, now, err)
	}
	spaces[full.cfg.Node].free.Store(500 << 20)
	c.equal(60)
}

func TestNoStartWithoutRoom(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.found()
	c.publish(1, 10)
	c.stop("n1")
	f := &fakeSpace{}
	c.tune = func(cfg *Config) { cfg.space, cfg.ReserveBytes = f.space, 100<<20 }
	if err := c.start("n1"); !errors.Is(err, ErrDiskLow) {
		t.Fatalf("a start on a full disk: %v", err)
	}
	f.free.Store(500 << 20)
	if err := c.start("n1"); err != nil {
		t.Fatal(err)
	}
	c.equal(10)
}

// What raft replaces at the log's end must follow even when nothing else may:
// raft goes on as if it had.
func TestCutEndIsReplaced(t *testing.T) {
	d, err := openDisk(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.log.StoreLogs(entries(1, 10)); err != nil {
		t.Fatal(err)
	}
	d.log.room = func() error { return ErrDiskLow }
	if err := d.log.StoreLogs(entries(11, 12)); !errors.Is(err, ErrDiskLow) {
		t.Fatalf("stored: %v", err)
	}
	if err := d.log.StoreLogs([]*raft.Log{{Index: 11, Term: 7, Type: raft.LogNoop}}); err != nil {
		t.Fatalf("raft's own entry is refused: %v", err)
	}
	if err := d.log.DeleteRange(1, 3); err != nil { // the head: nothing is owed
		t.Fatal(err)
	}
	if err := d.log.StoreLogs(entries(12, 12)); !errors.Is(err, ErrDiskLow) {
		t.Fatalf("stored: %v", err)
	}
	if err := d.log.DeleteRange(9, 11); err != nil {
		t.Fatal(err)
	}
	if err := d.log.StoreLogs(entries(9, 9)); err != nil {
		t.Fatalf("what replaces a cut end: %v", err)
	}
	if err := d.log.StoreLogs(entries(10, 10)); !errors.Is(err, ErrDiskLow) {
		t.Fatalf("stored: %v", err)
	}
	if err := d.latch.err(); err != nil {
		t.Fatal(err)
	}
}

// Below the reserve nothing is admitted but orders about members: a node with a
// larger disk must be able to join. Where nothing can be stored there is no order either.
func TestOrdersOnLowDisks(t *testing.T) {
	c, spaces := spacious(t)
	order := func(id byte) error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := c.leader().Order(ctx, &command.Token{
			Act: command.TokenIssue, ID: command.TokenID{id}, Node: "n4", Secret: [32]byte{1}, ExpiresMillis: time.Now().Add(time.Hour).UnixMilli(),
		})
		return err
	}
	for _, s := range spaces {
		s.free.Store(80 << 20)
	}
	eventually(t, "low nodes", func() bool {
		return !slices.ContainsFunc(c.running(), func(r *Replica) bool { return r.Status().Room != RoomLow })
	})
	eventually(t, "refusal of ops", func() bool {
		_, err := c.leader().Start(publish(1, 1))
		return errors.Is(err, ErrDiskLow)
	})
	eventually(t, "an order", func() bool { return order(1) == nil })
	for _, s := range spaces {
		s.free.Store(1 << 20)
	}
	eventually(t, "a refused order", func() bool { return errors.Is(order(2), ErrDiskLow) })
}
