package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func snapshot(t testing.TB, h *hub) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSnapshot(&b, h.Image()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// restored reads a snapshot into a new Machine.
func restored(b []byte) (*state.Machine, error) {
	img, err := ReadSnapshot(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	m := state.New()
	return m, m.Restore(img)
}

func TestSnapshotRoundTrip(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 80)
	b := snapshot(t, h)
	m, err := restored(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m.Image(), h.Image()) {
		t.Fatal("the state that comes back is another one")
	}
	var again bytes.Buffer
	if err := WriteSnapshot(&again, m.Image()); err != nil || !bytes.Equal(again.Bytes(), b) {
		t.Fatalf("equal states have unequal snapshots (%v)", err)
	}
	s := mustOpen(t, t.TempDir())
	if err := s.Restore(m.Image()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, s, h.Image())
	again.Reset()
	if err := s.Stream(&again); err != nil || !bytes.Equal(again.Bytes(), b) {
		t.Fatalf("the store streams another snapshot than the state's: %v", err)
	}
}

func TestSnapshotDamage(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 3)
	b := snapshot(t, h)
	for n := range len(b) {
		if _, err := ReadSnapshot(bytes.NewReader(b[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d of %d bytes: %v, want ErrDamaged", n, len(b), err)
		}
	}
	for i := range b {
		flipped := bytes.Clone(b)
		flipped[i] ^= 0x04
		_, err := ReadSnapshot(bytes.NewReader(flipped))
		version := i == len(snapshotMagic)
		if version != errors.Is(err, ErrNewer) || version == errors.Is(err, ErrDamaged) {
			t.Fatalf("bit flipped in byte %d of %d: %v", i, len(b), err)
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(append(bytes.Clone(b), 0))); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a byte after the end: %v", err)
	}
}

// A snapshot whose records are all right, but not those of its meta record.
func TestSnapshotOfAnotherState(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 3)
	img := h.Image()
	img.Registers = img.Registers[1:]
	var b bytes.Buffer
	if err := WriteSnapshot(&b, img); err != nil {
		t.Fatal(err)
	}
	if _, err := restored(b.Bytes()); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a register is missing: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestSnapshotWriteError(t *testing.T) {
	if err := WriteSnapshot(brokenWriter{}, newHub(t).Image()); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("got %v", err)
	}
}

// Bytes that version 1 wrote are read for ever.
func TestOldSnapshot(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 6)
	oldSnapshot(t, h, filepath.Join("testdata", "snapshot-v1.hex"))
	h.tell(t)
	oldSnapshot(t, h, filepath.Join("testdata", "snapshot-v1-roster.hex"))
}

func oldSnapshot(t *testing.T, h *hub, file string) {
	t.Helper()
	if *update {
		writeGolden(t, file, hex.EncodeToString(snapshot(t, h)))
	}
	old, err := hex.DecodeString(strings.Join(strings.Fields(string(must(os.ReadFile(file)))), ""))
	if err != nil {
		t.Fatal(err)
	}
	m, err := restored(old)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m.Image(), h.Image()) {
		t.Fatal("old bytes are read as another state")
	}
}

// Rows: one line each, key and row.
func TestOldRows(t *testing.T) {
	h := newHub(t)
	h.fill(t, 0, 6)
	oldRows(t, h.Image(), filepath.Join("testdata", "rows-v1.hex"))
	h.tell(t)
	oldRows(t, h.Image(), filepath.Join("testdata", "rows-v1-roster.hex"))
}

func oldRows(t *testing.T, img *state.Image, file string) {
	t.Helper()
	if *update {
		w := &goldenRows{}
		rows := []error{
			set(w, []byte{kindMeta}, appendMeta(header(0), &img.Meta)),
			set(w, pactKey(img.Pacts[0].Pact), appendPact(header(0), &img.Pacts[0])),
		}
		if img.Roster != nil {
			rows = append(rows, set(w, []byte{kindRoster}, appendRoster(header(0), img.Roster)))
		}
		for i := range img.Authors {
			rows = append(rows, set(w, authorKey(&img.Authors[i]), appendAuthor(header(0), &img.Authors[i])))
		}
		for _, s := range img.Registers {
			rows = append(rows, set(w, registerKey(&s.Register.Op.Key), appendRegister(header(0), s)))
		}
		if err := errors.Join(rows...); err != nil {
			t.Fatal(err)
		}
		writeGolden(t, file, w.String())
	}
	got, names := &state.Image{}, newInterner()
	for line := range strings.Lines(string(must(os.ReadFile(file)))) {
		words := strings.Fields(line)
		key, row := must(hex.DecodeString(words[0])), must(hex.DecodeString(words[1]))
		value, err := open(key, row)
		if err != nil {
			t.Fatal(err)
		}
		if err := add(got, key[0], value, names); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, img) {
		t.Fatal("old rows are read as another state")
	}
}

type goldenRows struct{ strings.Builder }

func (g *goldenRows) Set(key, row []byte) error {
	g.WriteString(hex.EncodeToString(key) + " " + hex.EncodeToString(row) + "\n")
	return nil
}

func writeGolden(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// FuzzRow reads arbitrary values of every kind: an error or a row, no panic.
func FuzzRow(f *testing.F) {
	h := newHub(f)
	h.fill(f, 0, 2)
	h.tell(f)
	img := h.Image()
	f.Add(byte(kindRoster), appendRoster(nil, img.Roster))
	f.Add(byte(kindMeta), appendMeta(nil, &img.Meta))
	f.Add(byte(kindPact), appendPact(nil, &img.Pacts[0]))
	f.Add(byte(kindAuthor), appendAuthor(nil, &img.Authors[1]))
	f.Add(byte(kindRegister), appendRegister(nil, img.Registers[0]))
	f.Fuzz(func(t *testing.T, kind byte, value []byte) {
		got := &state.Image{}
		err := add(got, kind, value, newInterner())
		if err == nil {
			err = state.New().Restore(got)
		}
		known := []error{nil, ErrDamaged, ErrNewer, pact.ErrMalformed, pact.ErrNewer, pact.ErrInvalid}
		if !slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) }) {
			t.Fatalf("untyped error: %v", err)
		}
	})
}
