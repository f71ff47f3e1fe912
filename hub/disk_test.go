package hub_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/wire"
)

// smallVolume mounts one of that size, which takes root. Where it cannot, the
// test counts as skipped, and with CI=true as failed.
func smallVolume(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	mount := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "tmpfs", dir)
	if out, err := mount.CombinedOutput(); err != nil {
		t.Skipf("DISKS ARE NOT FILLED HERE: a small volume cannot be mounted (%v: %s); run as root", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// bulk publishes ops with large values, and remembers how far they were acked.
type bulk struct {
	t      *testing.T
	c      *hubtest.Cluster
	acked  crdt.Seq
	client *wire.Client
	epoch  crdt.Epoch
}

const (
	bulkOps        = 16
	bulkValueBytes = 60 << 10
)

// publish sends the next batch and returns why it was not taken, "" if it was.
func (b *bulk) publish() wire.Reason {
	b.t.Helper()
	next := batch(acme, b.epoch, b.acked+1, bulkOps)
	for i := range next.Ops {
		next.Ops[i].Value = crdt.Plain(value.Text(strings.Repeat("x", bulkValueBytes)))
	}
	result, err := publishOnce(b.t.Context(), b.client, next)
	if err != nil {
		return wire.ReasonOf(err)
	}
	for _, r := range result.Results {
		if r.Outcome != wire.OutcomeApplied {
			return r.Reason
		}
	}
	b.acked += bulkOps
	return ""
}

// holdsAll fails unless every op that was acked is in the state.
func (b *bulk) holdsAll() {
	b.t.Helper()
	authors := b.c.Leader().Hub().State().Authors("tickets", "acme", "main")
	if len(authors) != 1 || authors[0].Applied < b.acked {
		b.t.Fatalf("ops up to %d were acked, the state knows %+v", b.acked, authors)
	}
	client := b.c.Client(b.c.Leader(), acme)
	seen := collect(b.t, client, crdt.Position{}, headOf(b.t, b.c))
	if len(seen) < int(b.acked) {
		b.t.Fatalf("the feed shows %d ops, %d were acked", len(seen), b.acked)
	}
}

// stuff takes so much of the volume for somebody else's file, or all that is free.
func stuff(t *testing.T, dir string, bytes int64) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "somebody-elses"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.Copy(file, io.LimitReader(zeros{}, bytes)); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func unstuff(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "somebody-elses")); err != nil {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// A disk that fills up: ops are refused in time, with a code; when somebody else
// takes the rest, the ballast keeps the database alive; feeds are served all the
// while; with room again everything goes on, and nothing that was acked is lost,
// not even over a stop on the full disk.
func TestDiskFillsUp(t *testing.T) {
	dir := smallVolume(t, 80<<20)
	stuff(t, dir, 16<<20)
	ballast := filepath.Join(dir, "hub", "ballast")
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) {
		cfg.Dir = filepath.Join(dir, "hub")
		cfg.Sizes.Reserve, cfg.Sizes.Ballast = 12<<20, 12<<20
		cfg.Sizes.Checkpoint, cfg.Sizes.Trailing = 2<<20, 4<<20
		cfg.Timing.Checkpoint = time.Second
	})
	node := c.Leader()
	hubtest.Eventually(t, "readiness", func() bool { return node.Hub().Readyz() == nil })
	if info, err := os.Stat(ballast); err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 < 12<<20 {
		t.Fatalf("the ballast is not there, or is an empty promise: %v, %v", info, err)
	}
	b := &bulk{t: t, c: c, client: c.Client(node, acme), epoch: epochOf(c)}
	fillUp := func() {
		t.Helper()
		hubtest.Eventually(t, "refusal", func() bool { return b.publish() == wire.ReasonHubDiskLow })
	}
	fillUp()
	if b.acked < 10*bulkOps {
		t.Errorf("refused after %d ops of 60 KiB with 40 MiB to take", b.acked)
	}
	b.holdsAll()

	hubtest.Eventually(t, "full disk", func() bool {
		stuff(t, dir, math.MaxInt64)
		info, err := os.Stat(ballast)
		return err == nil && info.Size() < 12<<20 && node.Hub().Status().Room == replica.RoomReadOnly
	})
	stuff(t, dir, math.MaxInt64) // what the ballast had held, too
	if reason := b.publish(); reason != wire.ReasonHubDiskLow {
		t.Errorf("on a full disk a batch is answered with %q", reason)
	}
	if err := node.Hub().Checkpoint(); !errors.Is(err, replica.ErrDiskLow) {
		t.Errorf("a checkpoint on a full disk: %v", err)
	}
	b.holdsAll()
	if err := node.Exited(); err != nil {
		t.Fatalf("the node gave up: %v", err)
	}
	if got := gauge(t, node.Hub(), "entente_hub_disk_room"); got != 2 {
		t.Errorf("entente_hub_disk_room is %v", got)
	}

	if err := node.Stop(); err != nil {
		t.Fatalf("stopping on a full disk: %v", err)
	}
	unstuff(t, dir)
	c.Restart(node)
	hubtest.Eventually(t, "readiness", func() bool { return node.Hub().Readyz() == nil })
	b.holdsAll()
	before := b.acked
	hubtest.Eventually(t, "ops being taken again", func() bool { return b.publish() == "" })
	hubtest.Eventually(t, "a new ballast", func() bool {
		info, err := os.Stat(ballast)
		return err == nil && info.Size() == 12<<20
	})
	b.holdsAll()
	if b.acked <= before {
		t.Error("nothing was acked")
	}
}

// A full disk that nobody watches: where the log cannot make its next file the
// node stops itself, with nothing lost that was acked, and starts again when
// there is room.
func TestLogWithoutRoom(t *testing.T) {
	dir := smallVolume(t, 24<<20)
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) {
		cfg.Dir = filepath.Join(dir, "hub")
		cfg.Sizes.Checkpoint, cfg.Timing.Checkpoint = 1<<30, time.Hour // the store would die of it
	})
	node := c.Leader()
	hubtest.Eventually(t, "readiness", func() bool { return node.Hub().Readyz() == nil })
	b := &bulk{t: t, c: c, client: c.Client(node, acme), epoch: epochOf(c)}
	hubtest.Eventually(t, "the node's end", func() bool { b.publish(); return node.Exited() != nil })
	if err := node.Exited(); !errors.Is(err, replica.ErrStopped) {
		t.Errorf("the node ended with %v", err)
	}
	if b.acked == 0 {
		t.Error("nothing was acked")
	}
	node.Kill()
	mount := exec.Command("mount", "-o", fmt.Sprintf("remount,size=%d", 96<<20), dir)
	if out, err := mount.CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
	c.Restart(node)
	hubtest.Eventually(t, "readiness", func() bool { return node.Hub().Readyz() == nil })
	b.holdsAll()
	hubtest.Eventually(t, "ops being taken again", func() bool { return b.publish() == "" })
}
