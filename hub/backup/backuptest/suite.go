// Package backuptest is the conformance suite of destinations, and a bucket that
// misbehaves on demand.
package backuptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/entente-sync/entente/hub/backup"
)

// PartBytes is what a destination under test should take for much: the suite
// stores some files of several parts.
const PartBytes = 16 << 10

// Run holds a destination against its contract. open returns a new, empty one
// each time.
func Run(t *testing.T, open func(t *testing.T) backup.Destination) {
	for name, test := range map[string]func(*testing.T, backup.Destination){
		"sizes": sizes, "replace": replace, "failed put": failedPut, "missing": missing, "cancelled": cancelled, "many": many,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func sizes(t *testing.T, d backup.Destination) {
	for _, n := range []int{0, 1, PartBytes - 1, PartBytes, PartBytes + 1, 3*PartBytes + 7} {
		content := noise(n)
		// Readers that give little at a time are readers too.
		for name, r := range map[string]io.Reader{
			"whole.backup": bytes.NewReader(content), "half.backup": iotest.HalfReader(bytes.NewReader(content)),
			"late.backup": iotest.DataErrReader(bytes.NewReader(content)),
		} {
			if err := d.Put(t.Context(), name, r); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if got := read(t, d, name); !bytes.Equal(got, content) {
				t.Errorf("%s of %d bytes comes back as %d others", name, n, len(got))
			}
		}
	}
	want(t, d, "half.backup", "late.backup", "whole.backup")
}

func replace(t *testing.T, d backup.Destination) {
	if err := d.Delete(t.Context(), "a.backup"); err != nil {
		t.Errorf("remove a name where nothing was ever put: %v", err)
	}
	for _, n := range []int{2 * PartBytes, 5, 3 * PartBytes} {
		content := noise(n)
		if err := d.Put(t.Context(), "a.backup", bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, d, "a.backup"); !bytes.Equal(got, content) {
			t.Errorf("after a replacement: %d bytes, want %d", len(got), n)
		}
		want(t, d, "a.backup")
	}
}

// A put that fails leaves the name as it was.
func failedPut(t *testing.T, d backup.Destination) {
	broken := errors.New("the source broke")
	for _, n := range []int{0, 10, PartBytes, 2*PartBytes + 5} {
		r := io.MultiReader(bytes.NewReader(noise(n)), iotest.ErrReader(broken))
		if err := d.Put(t.Context(), "new.backup", r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	want(t, d)
	if err := d.Put(t.Context(), "old.backup", bytes.NewReader([]byte("old"))); err != nil {
		t.Fatal(err)
	}
	r := io.MultiReader(bytes.NewReader(noise(2*PartBytes)), iotest.ErrReader(broken))
	if err := d.Put(t.Context(), "old.backup", r); !errors.Is(err, broken) {
		t.Errorf("replace: %v", err)
	}
	if got := read(t, d, "old.backup"); string(got) != "old" {
		t.Errorf("the old content is %d bytes", len(got))
	}
}

func missing(t *testing.T, d backup.Destination) {
	want(t, d)
	if r, err := d.Get(t.Context(), "none.backup"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get: %v, %v", r, err)
	}
	if err := d.Put(t.Context(), "a.backup", bytes.NewReader(nil)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Delete(t.Context(), "a.backup"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	want(t, d)
}

func cancelled(t *testing.T, d backup.Destination) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Put(ctx, "a.backup", bytes.NewReader(noise(2*PartBytes))); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	want(t, d)
}

// A listing is whole, however it is paged.
func many(t *testing.T, d backup.Destination) {
	var names []string
	for i := range 25 {
		name := string(rune('a'+i)) + ".backup"
		names = append(names, name)
		if err := d.Put(t.Context(), name, bytes.NewReader([]byte(name))); err != nil {
			t.Fatal(err)
		}
	}
	want(t, d, names...)
}

func want(t *testing.T, d backup.Destination, names ...string) {
	t.Helper()
	got, err := d.List(t.Context())
	if err != nil || !slices.Equal(got, names) {
		t.Errorf("list: %v, %v, want %v", got, err, names)
	}
}

func read(t *testing.T, d backup.Destination, name string) []byte {
	t.Helper()
	r, err := d.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noise is the same for the same n.
func noise(n int) []byte {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}
