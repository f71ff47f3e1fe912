package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// Backup writes the node's merged state, as of now, as a backup that is not
// sealed: on a leader everything that was acked before the call is in it, on a
// follower what it has applied. Nothing waits for w.
func (h *Hub) Backup(ctx context.Context, w io.Writer) error {
	header, body, err := h.snapshot()
	if err != nil {
		return err
	}
	defer body.Close()
	return backup.Write(w, header, nil, func(w io.Writer) error {
		_, err := io.Copy(w, untilDone{ctx, body})
		return err
	})
}

// snapshot returns the state and what a backup says of it.
func (h *Hub) snapshot() (backup.Header, io.ReadCloser, error) {
	export, err := h.replica.Export()
	if errors.Is(err, replica.ErrNothing) {
		return backup.Header{}, nil, unfounded()
	}
	if err != nil {
		return backup.Header{}, nil, err
	}
	if export.Meta.Hub.IsZero() {
		return backup.Header{}, nil, errors.Join(unfounded(), export.Close())
	}
	return backup.Header{
		Hub: export.Meta.Hub, Epoch: export.Meta.Epoch, Index: export.Meta.Index, Term: export.Term,
		Node: h.self.Name, Software: h.cfg.Software, Created: h.cfg.Now().UTC(), Voters: export.Voters,
	}, readCloser{export.Body, export}, nil
}

func unfounded() error {
	return &backup.Fault{Code: backup.CodeUnfounded, Err: errors.New("this hub holds nothing yet")}
}

// backups is where the schedule stands, as far as this node knows.
type backups struct {
	mu       sync.Mutex
	newest   *backup.Taken // nil: none, or this node has not looked
	failures uint64
}

func (b *backups) status() (newest backup.Taken, failures uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.newest != nil {
		newest = *b.newest
	}
	return newest, b.failures
}

// looked notes how a look ended, and reports whether the newest backup is another
// one.
func (b *backups) looked(newest *backup.Taken, err error) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if newest != nil {
		changed = b.newest == nil || *b.newest != *newest
		b.newest = newest
	}
	if err != nil {
		b.failures++
	}
	return changed
}

// keepBackups makes the scheduled backups while this node leads. A failure is
// told and tried again, ever more slowly; it holds up nothing else.
func (h *Hub) keepBackups(ctx context.Context) {
	keeper := &backup.Keeper{Plan: *h.cfg.Backup, Source: h.snapshot}
	pause := h.cfg.Timing.Backups
	for {
		if h.replica.Leading() {
			keeper.Hub, _ = h.State().Hub()
			newest, err := h.lookAtBackups(ctx, keeper)
			if ctx.Err() != nil {
				return
			}
			pause = min(2*pause, max(keeper.Every/4, h.cfg.Timing.Backups))
			if err == nil {
				pause = h.cfg.Timing.Backups
			}
			if changed := h.backups.looked(newest, err); err != nil {
				h.cfg.Log.Error("the scheduled backup failed; the hub goes on", "error", err, "again_in", pause)
			} else if changed {
				h.cfg.Log.Info("newest backup", "name", newest.Name, "bytes", newest.Bytes, "verified", newest.Verified)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// lookAtBackups ends when this node no longer leads, at the latest when the next
// backup is due.
func (h *Hub) lookAtBackups(ctx context.Context, keeper *backup.Keeper) (*backup.Taken, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, max(keeper.Every, backupTimeMin), errBackupSlow)
	defer cancel()
	ctx, depose := context.WithCancelCause(ctx)
	defer depose(nil)
	watched := make(chan struct{})
	go func() { // ends with ctx
		defer close(watched)
		tick := time.NewTicker(h.cfg.Timing.Govern)
		defer tick.Stop()
		for h.replica.Leading() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		depose(replica.ErrNotLeader)
	}()
	defer func() { depose(nil); <-watched }()
	return keeper.Look(ctx, h.cfg.Now())
}

// backupTimeMin is what a backup may take however short its period is.
const backupTimeMin = 10 * time.Minute

var errBackupSlow = errors.New("the backup took longer than its period")

type readCloser struct {
	io.Reader
	io.Closer
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// Target is what a backup is restored into to become this node; the caller says
// what else it needs. The node of cfg must not run.
func Target(cfg Config) (backup.Target, error) {
	cfg = cfg.withDefaults()
	self, err := cfg.identity()
	if err != nil {
		return backup.Target{}, err
	}
	id, err := parseID(self.Hub)
	if err != nil {
		return backup.Target{}, fmt.Errorf("hub id in the certificate: %w", err)
	}
	return backup.Target{
		Dir: cfg.Dir, Hub: id, Node: self.Name, Random: cfg.Random, MemTableBytes: cfg.Sizes.MemTable,
	}, nil
}

// serveBackup is Backup for the admin socket, whose errors have a status.
func (h *Hub) serveBackup(ctx context.Context, w io.Writer) error {
	err := h.Backup(ctx, w)
	var known *backup.Fault
	switch {
	case errors.As(err, &known):
		return &adminhttp.Error{
			Status: http.StatusConflict, Code: string(known.Code), Message: fmt.Sprint(known.Err), Next: backup.Next(known.Code),
		}
	case errors.Is(err, replica.ErrStopped):
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: "hub.stopped", Message: err.Error(), Next: "ask another node",
		}
	}
	return err
}
