package hub_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/backup/backuptest"
	"github.com/entente-sync/entente/hub/hubtest"
)

// clock is the hub's, set by a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Whoever leads makes one backup a period, and a new leader knows what the one
// before it made.
func TestScheduledBackups(t *testing.T) {
	to := backuptest.NewMemory()
	wall := &clock{now: time.Now().Truncate(24 * time.Hour)}
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) {
		cfg.Backup = &backup.Plan{Every: 24 * time.Hour, Keep: backup.Keep{Count: 2}, To: to}
		cfg.Timing.Backups = 5 * time.Millisecond
		cfg.Now = wall.Now
	})
	made := func(n int) []string {
		t.Helper()
		var names []string
		hubtest.Eventually(t, "backup", func() bool {
			var err error
			names, err = to.List(t.Context())
			return err == nil && len(names) == 2*n && strings.HasSuffix(names[2*n-1], ".verified")
		})
		return names
	}
	first := made(1)
	leader := c.Leader()
	if err := leader.Stop(); err != nil {
		t.Fatal(err)
	}
	next := c.Leader()
	hubtest.Eventually(t, "the next leader to know", func() bool {
		return gauge(t, next.Hub(), "entente_hub_snapshot_last_success_timestamp_seconds") == float64(wall.Now().Unix())
	})
	if again := made(1); again[0] != first[0] {
		t.Errorf("the next leader made %q, where %q was", again, first)
	}
	wall.add(24 * time.Hour)
	made(2)
	wall.add(24 * time.Hour)
	hubtest.Eventually(t, "the oldest to go", func() bool { return made(2)[0] != first[0] })
	r, err := to.Get(t.Context(), made(2)[2])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := backup.Check(r, nil)
	if err != nil || report.Hub.String() != c.ID() || len(report.Voters) != 3 || !report.Created.Equal(wall.Now().UTC()) {
		t.Errorf("%+v, %v", report, err)
	}
}

// A destination that fails costs backups and nothing else.
func TestFailingDestination(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	writeFile(t, blocked)
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) {
		cfg.Backup = &backup.Plan{Every: time.Hour, To: backup.NewDirectory(blocked)}
		cfg.Timing.Backups = time.Millisecond
	})
	h := c.Leader().Hub()
	hubtest.Eventually(t, "failures", func() bool { return gauge(t, h, "entente_hub_snapshot_failures_total") >= 2 })
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 5); err != nil {
		t.Fatal(err)
	}
	hubtest.Eventually(t, "health", func() bool { return h.Healthz() == nil && h.Readyz() == nil })
	if got := gauge(t, h, "entente_hub_snapshot_last_success_timestamp_seconds"); got != 0 {
		t.Errorf("last success %v", got)
	}
}

// What any node writes is a backup of what it has applied.
func TestBackupOfAnyNode(t *testing.T) {
	c := hubtest.Start(t, 3, tickets(), func(cfg *hub.Config) { cfg.Software = "entente/test" })
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 30); err != nil {
		t.Fatal(err)
	}
	equalDigests(t, c)
	want, err := c.Leader().Hub().State().Pact("tickets")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		var b bytes.Buffer
		if err := n.Hub().Backup(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		report, err := backup.Check(&b, nil)
		if err != nil || report.Meta.Pacts[0] != want.Digest || report.Node != n.Name || report.Software != "entente/test" || report.Sealed {
			t.Errorf("%s: %+v, %v", n.Name, report, err)
		}
	}
}

func TestBackupOfNothing(t *testing.T) {
	c := hubtest.Start(t, 2, tickets(), nil)
	c.Leader()
	n := c.Nodes()[0]
	n.Kill()
	var b bytes.Buffer
	if err := c.Nodes()[1].Hub().Backup(t.Context(), &b); err != nil {
		t.Errorf("a node without a majority: %v", err)
	}
	c.Nodes()[1].Kill()
	unfounded := hubtest.Start(t, 2, nil, func(cfg *hub.Config) { cfg.Timing.Heartbeat = time.Hour })
	if err := unfounded.Nodes()[0].Hub().Backup(t.Context(), &b); !errors.Is(err, &backup.Fault{Code: backup.CodeUnfounded}) {
		t.Errorf("a hub that was not founded: %v", err)
	}
}
