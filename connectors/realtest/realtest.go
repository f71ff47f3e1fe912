// Package realtest starts real business systems on loopback for tests and for
// the walk-through: Redmine and Request Tracker 5 from the Debian packages that
// .ci/setup-real installs.
//
// Every instance has its own copy of the packaged SQLite database, its own
// configuration, directories and port, so several run side by side in parallel
// test processes and none touches the machine's own installation. Servers run
// as www-data; that, and reading the packaged database, takes root.
//
// A server never outlives the process that started it: a guard process that
// holds the other end of a pipe kills the server's process group and removes its
// directory when the pipe closes, be it by Close or by the starter's death.
package realtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"testing"
	"time"
)

// ErrAbsent says that a system is not installed here, or that this process may
// not start it.
var ErrAbsent = errors.New("real system absent")

// Account is somebody who can call a system's API.
type Account struct {
	Login string
	Name  string // as the system shows it
	Email string
	Token string // API key (Redmine) or auth token (RT)
}

// startMax bounds one start, on a machine that is busy with other tests.
const startMax = 2 * time.Minute

// Redmine starts a Redmine for the length of the test. It skips where Redmine
// is absent, and fails instead under CI=true.
func Redmine(t testing.TB) *RedmineServer {
	t.Helper()
	return started(t, StartRedmine)
}

// RT starts a Request Tracker for the length of the test. It skips where RT is
// absent, and fails instead under CI=true.
func RT(t testing.TB) *RTServer {
	t.Helper()
	return started(t, StartRT)
}

func started[S interface{ Close() error }](t testing.TB, start func(context.Context) (S, error)) S {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	s, err := start(ctx)
	switch {
	case errors.Is(err, ErrAbsent) && os.Getenv("CI") != "true":
		t.Skipf("SKIPPED, NOTHING WAS TESTED: %v; run .ci/setup-real as root on Debian 12", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// secret returns n random bytes in hex.
func secret(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
