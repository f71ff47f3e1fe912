package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entente-sync/entente/hub/backup"
	"github.com/entente-sync/entente/hub/backup/backuptest"
)

func TestDirectory(t *testing.T) {
	backuptest.Run(t, func(t *testing.T) backup.Destination {
		return backup.NewDirectory(filepath.Join(t.TempDir(), "made", "when needed"))
	})
}

func TestMemory(t *testing.T) {
	backuptest.Run(t, func(*testing.T) backup.Destination { return backuptest.NewMemory() })
}

func TestS3(t *testing.T) {
	backuptest.Run(t, func(t *testing.T) backup.Destination {
		b := backuptest.NewBucket(t)
		b.Put("other/a.backup", nil)
		b.Put("hub/one/deeper/a.backup", nil)
		t.Cleanup(func() {
			if n := b.Uploads(); n > 0 {
				t.Errorf("%d uploads are neither complete nor aborted", n)
			}
		})
		return backup.NewS3(b.Config())
	})
}

// What another process is writing stays; what crashed long ago goes.
func TestDirectoryRemovesWhatCrashed(t *testing.T) {
	dir := t.TempDir()
	young, old := filepath.Join(dir, ".x.backup.partial-1"), filepath.Join(dir, ".y.backup.partial-2")
	for _, p := range []string{young, old} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	d := backup.NewDirectory(dir)
	if err := d.Put(t.Context(), "a.backup", strings.NewReader("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if names, err := d.List(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

// What the service refuses for good is an error that says where; what it refuses
// for a moment is tried again.
func TestS3Errors(t *testing.T) {
	b := backuptest.NewBucket(t)
	d := backup.NewS3(b.Config())
	content := bytes.Repeat([]byte("x"), 2*backuptest.PartBytes)
	var refused atomic.Int32
	b.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
		if refused.Add(1)%2 == 0 {
			return false
		}
		backuptest.Refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return true
	})
	if err := d.Put(t.Context(), "a.backup", bytes.NewReader(content)); err != nil {
		t.Errorf("a service that is busy now and then: %v", err)
	}
	if stored, ok := b.Object("hub/one/a.backup"); !ok || !bytes.Equal(stored, content) {
		t.Errorf("stored %d bytes", len(stored))
	}
	b.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
		backuptest.Refuse(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	_, get := d.Get(t.Context(), "a.backup")
	_, list := d.List(t.Context())
	for name, err := range map[string]error{
		"put": d.Put(t.Context(), "b.backup", bytes.NewReader(content)), "get": get, "list": list, "delete": d.Delete(t.Context(), "a.backup"),
	} {
		if err == nil || !strings.Contains(err.Error(), name+" s3://backups/hub/one/") || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), backuptest.SecretKey) {
			t.Errorf("%s tells the secret: %v", name, err)
		}
	}
}

// A part that fails for good ends the upload, and nothing of it is left.
func TestS3BrokenUpload(t *testing.T) {
	b := backuptest.NewBucket(t)
	d := backup.NewS3(b.Config())
	for _, part := range []string{"1", "3"} {
		b.Fail(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("partNumber") != part {
				return false
			}
			backuptest.Refuse(w, http.StatusBadRequest, "InvalidArgument")
			return true
		})
		err := d.Put(t.Context(), "a.backup", bytes.NewReader(make([]byte, 4*backuptest.PartBytes)))
		if _, stored := b.Object("hub/one/a.backup"); err == nil || stored || b.Uploads() > 0 {
			t.Errorf("part %s fails: %v, stored %v, %d uploads", part, err, stored, b.Uploads())
		}
	}
}

// A service that answers nothing holds nobody longer than its context.
func TestS3Slow(t *testing.T) {
	b := backuptest.NewBucket(t)
	d := backup.NewS3(b.Config())
	release := make(chan struct{})
	defer close(release)
	arrived := make(chan struct{}, 8)
	b.Fail(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return true
	})
	for name, call := range map[string]func(context.Context) error{
		"put":  func(ctx context.Context) error { return d.Put(ctx, "a.backup", strings.NewReader("a")) },
		"list": func(ctx context.Context) error { _, err := d.List(ctx); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// A transfer that breaks off is an error of reading, not a shorter file.
func TestS3BrokenDownload(t *testing.T) {
	b := backuptest.NewBucket(t)
	d := backup.NewS3(b.Config())
	b.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		_, err := w.Write(make([]byte, 500))
		if err := errors.Join(err, http.NewResponseController(w).Flush()); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	r, err := d.Get(t.Context(), "a.backup")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err == nil {
		t.Errorf("%d bytes, no error", len(got))
	}
}

// Credentials are asked for anew, and those that cannot be had are an error.
func TestS3Credentials(t *testing.T) {
	b := backuptest.NewBucket(t)
	cfg := b.Config()
	access, lost := "AKWRONG", error(nil)
	cfg.Credentials = func() (string, string, error) { return access, backuptest.SecretKey, lost }
	d := backup.NewS3(cfg)
	if _, err := d.List(t.Context()); err == nil || !strings.Contains(err.Error(), "InvalidAccessKeyId") {
		t.Errorf("a wrong key: %v", err)
	}
	access = backuptest.AccessKey
	if _, err := d.List(t.Context()); err != nil {
		t.Errorf("the right key: %v", err)
	}
	lost = os.ErrPermission
	if _, err := d.List(t.Context()); !errors.Is(err, os.ErrPermission) {
		t.Errorf("no key: %v", err)
	}
}
