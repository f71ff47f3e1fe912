package replica

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
)

// unrotated is a meta store that takes the first commit, which makes the log, and
// none after it: as a crash does that comes before a rotation is committed.
type unrotated struct {
	*metadb.BoltMetaDB
	taken int
}

func (u *unrotated) CommitState(s types.PersistentState) error {
	if u.taken++; u.taken > 1 {
		return errors.New("the crash came before")
	}
	return u.BoltMetaDB.CommitState(s)
}

// sealedTail leaves a log in dir whose newest segment is sealed in its file only,
// and returns the last entry of it and the one before the batch that sealed it.
func sealedTail(t *testing.T, dir string) (last, before uint64) {
	t.Helper()
	meta := &unrotated{BoltMetaDB: &metadb.BoltMetaDB{}}
	w, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(4<<10))
	if err != nil {
		t.Fatal(err)
	}
	for from := uint64(1); ; from += 5 {
		if err := w.StoreLogs(entries(from, from+4)); errors.Is(err, wal.ErrSealed) {
			last, before = from-1, from-6
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), meta.Close()); err != nil {
		t.Fatal(err)
	}
	return last, before
}

// appendsAfter opens the log as a node does, twice, wants its entries up to last
// and appends more.
func appendsAfter(t *testing.T, dir string, last uint64) {
	t.Helper()
	for range 2 {
		meta := &metadb.BoltMetaDB{}
		if err := healTail(dir, meta); err != nil {
			t.Fatal(err)
		}
		w, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(4<<10))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.LastIndex(); err != nil || got != last {
			t.Fatalf("the log ends at %d, %v, want %d", got, err, last)
		}
		for i, want := range entries(1, last) {
			var got raft.Log
			if err := w.GetLog(uint64(i)+1, &got); err != nil || got.Index != want.Index || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("entry %d: %+v, %v", i+1, got, err)
			}
		}
		for range 40 { // over more than one rotation
			if err := w.StoreLogs(entries(last+1, last+5)); err != nil {
				t.Fatalf("append behind %d: %v", last, err)
			}
			last += 5
		}
		if err := errors.Join(w.Close(), meta.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCrashBeforeTheRotation(t *testing.T) {
	dir := t.TempDir()
	last, _ := sealedTail(t, dir)
	appendsAfter(t, dir, last)
}

// The batch that seals the segment is torn: it was never acknowledged.
func TestTornSeal(t *testing.T) {
	dir := t.TempDir()
	_, before := sealedTail(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[bytes.LastIndex(raw, []byte("the content of one entry"))] ^= 1
	if err := os.WriteFile(files[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	appendsAfter(t, dir, before)
}

// A crash within the mending itself leaves a file that nothing names.
func TestCrashWhileMending(t *testing.T) {
	dir := t.TempDir()
	last, _ := sealedTail(t, dir)
	meta := &metadb.BoltMetaDB{}
	state, err := meta.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := meta.Close(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "00000000000000000001-0000000000000001.wal")
	if state.NextSegmentID != 1 {
		t.Fatalf("the next segment is %d", state.NextSegmentID)
	}
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	appendsAfter(t, dir, last)
}
