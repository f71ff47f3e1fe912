package pair

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors/realtest"
)

// ForTest starts a pair with n issues in Acme's Redmine for the length of a
// test; no process of the product runs yet. It skips where the systems are absent,
// and fails instead under CI=true. root is the way from the test's directory to
// the project's root.
func ForTest(t *testing.T, root string, n int, limit time.Duration) (context.Context, *Pair) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	p, err := Start(ctx, root, t.TempDir(), os.Stderr)
	if errors.Is(err, realtest.ErrAbsent) && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED, NOTHING WAS TESTED: %v; run .ci/setup-real as root on Debian 12", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{Hub, Acme, Globex} {
				t.Logf("--- %s\n%s", name, p.Log(name))
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Seed(ctx, n); err != nil {
		t.Fatal(err)
	}
	return ctx, p
}

// Example is where the configuration that the pair runs on lives, below the
// project's root.
const Example = "deploy/examples/redmine-rt"
