package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// checkpoint does what a replica does.
func checkpoint(t testing.TB, s *Store, h *hub) {
	t.Helper()
	c := h.TakeDirty()
	if err := errors.Join(s.Checkpoint(c), s.Verify()); err != nil {
		t.Fatal(err)
	}
	h.Persisted(c)
}

// A Machine whose pages are in the store, with none kept in memory, goes on as one
// that has all of them, through checkpoints that rewrite and remove pages.
func TestPagesAreReadBack(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	h, twin := newHub(t), newHub(t)
	twin.Machine, h.Machine = h.Machine, state.New()
	if err := s.Checkpoint(twin.TakeDirty()); err != nil {
		t.Fatal(err)
	}
	if err := s.LoadInto(h.Machine, s); err != nil {
		t.Fatal(err)
	}
	h.KeepPages(0)
	const records = 400
	for round := range 12 {
		for i := range 300 {
			n := (i*7 + round*131) % records
			title := strings.Repeat("x", 40+i%60)
			h.edit(t, "acme", n, title)
			twin.edit(t, "acme", n, title)
			if i%17 == 0 { // meets a version that is in the store alone
				h.edit(t, "globex", (n+199)%records, title)
				twin.edit(t, "globex", (n+199)%records, title)
			}
		}
		frozen := h.Freeze()
		was := twin.Image()
		checkpoint(t, s, h)
		if got := h.Image(); !reflect.DeepEqual(got, was) {
			t.Fatalf("round %d: the state differs from that of a machine in memory", round)
		}
		mustEqual(t, s, was)
		if got, err := frozen.Image(); err != nil || !reflect.DeepEqual(got, was) {
			t.Fatalf("round %d: what was frozen before the checkpoint changed: %v", round, err)
		}
		frozen.Close()
	}
	if len(s.held) != 0 || len(s.stamps) > 2 {
		t.Fatalf("%d holds and %d stamps are left", len(s.held), len(s.stamps))
	}
}

// A page is answered as it was at the checkpoint that is asked for, as long as
// somebody holds that, and else not at all: who would get newer bytes has the
// bookkeeping of the older ones.
func TestPageOfAnOldCheckpoint(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	h := newHub(t)
	h.fill(t, 0, 20)
	c := h.TakeDirty()
	if err := s.Checkpoint(c); err != nil {
		t.Fatal(err)
	}
	old, name := s.Index(), c.Pages[0].PageName
	was := must(s.Page(name, old))
	release := s.Hold(old)
	for i := range 4 {
		h.fill(t, 20+i, 5)
		checkpoint(t, s, h)
	}
	if got, err := s.Page(name, old); err != nil || !bytes.Equal(got, was) {
		t.Fatalf("a page that is held changed, or is gone: %v", err)
	}
	if now, err := s.Page(name, s.Index()); err != nil || bytes.Equal(now, was) {
		t.Fatalf("the page was to grow: %v", err)
	}
	release()
	h.fill(t, 30, 1)
	checkpoint(t, s, h)
	if _, err := s.Page(name, old); !errors.Is(err, state.ErrPageGone) {
		t.Fatalf("got %v of a checkpoint that nobody holds, want ErrPageGone", err)
	}
}

// A directory of format 1 is read, and the next checkpoint makes it one of format
// 2, without a row of the old kind.
func TestUpgradeFromFormat1(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	h := newHub(t)
	h.fill(t, 0, 70)
	writeFormat1(t, s, h.Image())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	mustEqual(t, s, h.Image())
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	if err := s.LoadInto(h.Machine, s); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.fill(t, 30, 20)
		checkpoint(t, s, h)
		mustEqual(t, s, h.Image())
	}
	left := 0
	if err := scanRows(s.db, s.ts, []byte{kindRegister}, func(_, _ []byte) error { left++; return nil }); err != nil || left > 0 {
		t.Fatalf("%d rows of format 1 are left: %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, mustOpen(t, dir), h.Image())
}

// writeFormat1 writes a checkpoint as version 1 did.
func writeFormat1(t *testing.T, s *Store, img *state.Image) {
	t.Helper()
	txn := s.db.NewTransactionAt(math.MaxUint64, true)
	put := func(key, row []byte) {
		row[0] = 1
		if err := set(txn, key, row); err != nil {
			t.Fatal(err)
		}
	}
	for i := range img.Pacts {
		put(pactKey(img.Pacts[i].Pact), appendPact(header(0), &img.Pacts[i]))
	}
	for i := range img.Authors {
		put(authorKey(&img.Authors[i]), appendAuthor(header(0), &img.Authors[i]))
	}
	for _, r := range img.Registers {
		put(registerKey(&r.Register.Op.Key), appendRegister(header(0), r))
	}
	put([]byte{kindMeta}, appendMeta(header(0), &img.Meta))
	file := fmt.Sprintf("1 %s %d\n", stateName(s.number), img.Meta.Index)
	if err := errors.Join(txn.CommitAt(img.Meta.Index, nil), os.WriteFile(filepath.Join(s.dir, currentFile), []byte(file), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// A page that package state wrote by hand is a RegisterPage of the schema, and
// each of its versions what package wire makes of it.
func TestPagesAreMessages(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 70)
	c := h.TakeDirty()
	img := h.Image()
	want := map[crdt.Offset]*state.Stored{}
	for _, r := range img.Registers {
		want[r.Offset] = r
	}
	found := 0
	for _, p := range c.Pages {
		var again []byte
		for _, r := range must(wire.ReadPage(p.Data)) {
			message := wire.AppendRegister(nil, &r)
			again = append(protowire.AppendTag(again, 1, protowire.BytesType), protowire.AppendBytes(nil, message)...)
			if w, ok := want[r.Offset]; ok {
				found++
				if !reflect.DeepEqual(state.Stored(r), *w) {
					t.Fatalf("offset %d: %+v, want %+v", r.Offset, r, *w)
				}
			}
		}
		if !bytes.Equal(again, p.Data) {
			t.Fatalf("page %d is written otherwise than its schema says", p.First)
		}
	}
	if found != len(want) || found == 0 {
		t.Fatalf("%d of %d registers are in pages", found, len(want))
	}
}
