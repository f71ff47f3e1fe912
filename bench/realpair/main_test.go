package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors/realtest"
)

// TestRunReal is make run-real, interrupted once it has said what to try.
func TestRunReal(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out := &interrupter{at: "Ctrl-C", stop: cancel}
	err := run(ctx, out)
	if errors.Is(err, realtest.ErrAbsent) && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED, NOTHING WAS TESTED: %v; run .ci/setup-real as root on Debian 12", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.text.String())
	}
	for _, want := range []string{"10 issues are tickets, equal field by field", "Three things to try"} {
		if !strings.Contains(out.text.String(), want) {
			t.Errorf("it did not say %q:\n%s", want, out.text.String())
		}
	}
}

// interrupter stops the run when it reads the text at.
type interrupter struct {
	text strings.Builder
	at   string
	stop context.CancelFunc
}

func (w *interrupter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.at) {
		w.stop()
	}
	return w.text.Write(b)
}
