package store

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// keptRows is the rows of a history, one a line, and the meta row last.
func keptRows(t *testing.T, a *annals) string {
	t.Helper()
	w := &goldenRows{}
	err := scanRows(a.store.db, a.store.ts, nil, func(key, row []byte) error {
		if key[0] == kindKept || key[0] == kindMeta {
			return w.Set(bytes.Clone(key), bytes.Clone(row))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.String()
}

// Bytes of the first history, rows of format 3 and a snapshot of format 2, are
// written and read as they were for ever.
func TestOldHistory(t *testing.T) {
	a := newAnnals(t, 2)
	for i := range 4 {
		a.edit(now+int64(i)*1000, []crdt.Site{"acme", "globex"}[i%2], 0, i == 2)
	}
	a.checkpoint()
	var b bytes.Buffer
	if err := a.store.Stream(&b); err != nil {
		t.Fatal(err)
	}
	for file, now := range map[string]string{
		"rows-v3-history.hex":     keptRows(t, a),
		"snapshot-v2-history.hex": hex.EncodeToString(b.Bytes()),
	} {
		path := filepath.Join("testdata", file)
		if *update {
			writeGolden(t, path, now)
		}
		if old := string(must(os.ReadFile(path))); strings.TrimSpace(old) != strings.TrimSpace(now) {
			t.Errorf("%s: other bytes than it had", file)
		}
	}
	old := must(hex.DecodeString(strings.TrimSpace(string(must(os.ReadFile(filepath.Join("testdata", "snapshot-v2-history.hex")))))))
	checked, err := CheckSnapshot(bytes.NewReader(old))
	if err != nil || checked.History != 5 {
		t.Fatalf("%d versions of history, want 4 titles and a conflict record: %v", checked.History, err)
	}
	img, err := ReadSnapshot(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, t.TempDir())
	m := state.New()
	if err := s.Restore(img); err != nil {
		t.Fatal(err)
	}
	if err := s.LoadInto(m, s); err != nil {
		t.Fatal(err)
	}
	a.Machine = m
	for i := range 4 {
		a.compare(now + int64(i)*1000)
	}
}

// A snapshot without one of its versions, or with another one, is refused, and a
// newer one named so.
func TestHistorySnapshotDamage(t *testing.T) {
	a := newAnnals(t, 2)
	a.edit(now, "acme", 0, false)
	var b bytes.Buffer
	f := a.Freeze()
	defer f.Close()
	if err := WriteFrozen(&b, f); err != nil {
		t.Fatal(err)
	}
	for i := range b.Len() {
		flipped := bytes.Clone(b.Bytes())
		flipped[i] ^= 1
		if _, err := ReadSnapshot(bytes.NewReader(flipped)); err == nil {
			t.Fatalf("byte %d flipped: no error", i)
		}
	}
}
