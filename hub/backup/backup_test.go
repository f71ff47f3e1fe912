package backup

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
)

func is(err error, code Code) bool { return errors.Is(err, &Fault{Code: code}) }

func TestRoundTrip(t *testing.T) {
	m := machine(t, 40)
	id := identity(t)
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		recipients []age.Recipient
		identities []age.Identity
	}{
		"plain":        {},
		"sealed":       {[]age.Recipient{identity(t).Recipient(), id.Recipient()}, []age.Identity{identity(t), id}},
		"post-quantum": {[]age.Recipient{quantum.Recipient()}, []age.Identity{quantum}},
	} {
		b := encode(t, m, c.recipients...)
		want := headerOf(m)
		want.Sealed = len(c.recipients) > 0
		h, meta, err := Inspect(bytes.NewReader(b), c.identities)
		if err != nil || !reflect.DeepEqual(h, want) || !reflect.DeepEqual(meta, &m.Image().Meta) {
			t.Errorf("%s: inspect: %+v, %+v, %v", name, h, meta, err)
		}
		report, err := Check(bytes.NewReader(b), c.identities)
		if err != nil || report.Bytes != int64(len(b)) || report.Registers != 40 || report.Pacts != 2 || report.Index != m.Index() {
			t.Errorf("%s: check: %+v, %v", name, report, err)
		}
		_, back, err := Load(bytes.NewReader(b), c.identities)
		if err != nil || !reflect.DeepEqual(back.Image(), m.Image()) {
			t.Errorf("%s: load: %v", name, err)
		}
		if want.Sealed && bytes.Contains(b, []byte("title 1")) {
			t.Errorf("%s: a value can be read", name)
		}
	}
}

// Without a key the header of a sealed backup is readable, and nothing else.
func TestSealed(t *testing.T) {
	m := machine(t, 4)
	b := encode(t, m, identity(t).Recipient())
	h, meta, err := Inspect(bytes.NewReader(b), nil)
	if err != nil || meta != nil || h.Hub != hubID || !h.Sealed {
		t.Errorf("inspect: %+v, %+v, %v", h, meta, err)
	}
	if _, err := Check(bytes.NewReader(b), nil); !is(err, CodeSealed) {
		t.Errorf("check: %v", err)
	}
	if _, _, err := Load(bytes.NewReader(b), []age.Identity{identity(t)}); !is(err, CodeIdentity) {
		t.Errorf("another's identity: %v", err)
	}
}

// Nobody can tell with a header of his own what a sealed body is.
func TestBodyBelongsToItsHeader(t *testing.T) {
	m := machine(t, 4)
	id := identity(t)
	b := encode(t, m, id.Recipient())
	_, head, err := readHeader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	other := headerOf(m)
	other.Sealed, other.Node = true, "n9"
	forged := append(other.encode(), b[len(head):]...)
	if _, _, err := Inspect(bytes.NewReader(forged), []age.Identity{id}); !is(err, CodeDamaged) {
		t.Errorf("a header of another node: %v", err)
	}
	lie := headerOf(m)
	lie.Index++
	var plain bytes.Buffer
	if err := Write(&plain, lie, nil, bodyOf(m)); err != nil {
		t.Fatal(err)
	}
	for name, read := range readers(nil) {
		if err := read(bytes.NewReader(plain.Bytes())); !is(err, CodeDamaged) {
			t.Errorf("%s of a header that lies: %v", name, err)
		}
	}
}

func readers(identities []age.Identity) map[string]func(io.Reader) error {
	return map[string]func(io.Reader) error{
		"inspect": func(r io.Reader) error { _, _, err := Inspect(r, identities); return err },
		"check":   func(r io.Reader) error { _, err := Check(r, identities); return err },
		"load":    func(r io.Reader) error { _, _, err := Load(r, identities); return err },
	}
}

// Every byte matters: one that is changed or missing is found.
func TestDamage(t *testing.T) {
	m := machine(t, 4)
	id := identity(t)
	for name, b := range map[string][]byte{"plain": encode(t, m), "sealed": encode(t, m, id.Recipient())} {
		read := func(b []byte) error { _, err := Check(bytes.NewReader(b), []age.Identity{id}); return err }
		step := 1
		if name == "sealed" {
			step = 7 // a key agreement each time
		}
		for n := 0; n < len(b); n += step {
			if err := read(b[:n]); !is(err, CodeDamaged) {
				t.Fatalf("%s: cut to %d of %d bytes: %v", name, n, len(b), err)
			}
		}
		for i := 0; i < len(b); i += step {
			flipped := bytes.Clone(b)
			flipped[i] ^= 0x04
			err := read(flipped)
			var known *Fault
			if !errors.As(err, &known) || known.Code == CodeExists {
				t.Fatalf("%s: bit flipped in byte %d of %d: %v", name, i, len(b), err)
			}
			want := CodeDamaged
			switch {
			case i < len(magic):
				want = CodeForeign
			case i == len(magic):
				want = CodeNewer
			}
			// A flipped stanza of age may no longer be this identity's; a flipped
			// format byte of the snapshot says newer.
			if known.Code != want && (known.Code != CodeIdentity || name == "plain") && known.Code != CodeNewer {
				t.Fatalf("%s: bit flipped in byte %d of %d: %v, want %s", name, i, len(b), err, want)
			}
		}
		if err := read(append(bytes.Clone(b), 0)); !is(err, CodeDamaged) {
			t.Fatalf("%s: a byte behind the end: %v", name, err)
		}
	}
}

// A source that fails says nothing about the backup.
func TestUnreadable(t *testing.T) {
	id := identity(t)
	for _, b := range [][]byte{encode(t, machine(t, 4)), encode(t, machine(t, 4), id.Recipient())} {
		for _, n := range []int{0, 10, 60, len(b) / 2, len(b)} {
			broken := io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(os.ErrDeadlineExceeded))
			var known *Fault
			if _, err := Check(broken, []age.Identity{id}); !errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &known) {
				t.Errorf("after %d of %d bytes: %v", n, len(b), err)
			}
		}
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, os.ErrClosed
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteError(t *testing.T) {
	m := machine(t, 4)
	for _, recipients := range [][]age.Recipient{nil, {identity(t).Recipient()}} {
		size := len(encode(t, m, recipients...))
		for _, left := range []int{0, 100, 200, size - 1} {
			if err := Write(&brokenWriter{left}, headerOf(m), recipients, bodyOf(m)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%d bytes fit: %v", left, err)
			}
		}
		broken := func(io.Writer) error { return store.ErrClosed }
		if err := Write(io.Discard, headerOf(m), recipients, broken); !errors.Is(err, store.ErrClosed) {
			t.Errorf("no body: %v", err)
		}
	}
}

// The key of testdata, made for it; it guards nothing.
const goldenIdentity = "AGE-SECRET-KEY-18QZUZ9G2D7DGPUQUT4TWANNPRF52XDAX63SLF88DPDFPFT07GW6SYXZYT5"

// Bytes that version 1 wrote are read for ever.
func TestOldBackups(t *testing.T) {
	id, err := age.ParseX25519Identity(goldenIdentity)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, 6)
	for name, recipients := range map[string][]age.Recipient{"plain": nil, "sealed": {id.Recipient()}} {
		file := filepath.Join("testdata", "backup-v1-"+name+".hex")
		if *update {
			text := hex.EncodeToString(encode(t, m, recipients...))
			if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		old, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		h, back, err := Load(bytes.NewReader(old), []age.Identity{id})
		want := headerOf(m)
		want.Sealed = len(recipients) > 0
		if err != nil || !reflect.DeepEqual(h, want) || !reflect.DeepEqual(back.Image(), m.Image()) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
		if name == "plain" && !bytes.Equal(old, encode(t, m)) {
			t.Error("the same state is written in other bytes: raise Format")
		}
	}
}

func TestCodes(t *testing.T) {
	seen := map[Code]bool{}
	for _, a := range Codes() {
		if seen[a.Code] || a.Next == "" {
			t.Errorf("%s is there twice or says nothing", a.Code)
		}
		seen[a.Code] = true
		if err := fault(a.Code, state.ErrDamaged); !strings.Contains(err.Error(), a.Next) || !errors.Is(err, state.ErrDamaged) || !is(err, a.Code) {
			t.Errorf("%v", err)
		}
	}
	if is(fault(CodeDamaged, io.EOF), CodeNewer) || Next("backup.unknown") == "" {
		t.Error("codes are mixed up")
	}
}

func FuzzRead(f *testing.F) {
	m := machine(f, 4)
	f.Add(encode(f, m))
	f.Add(encode(f, m)[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		report, err := Check(bytes.NewReader(b), nil)
		h, back, loaded := Load(bytes.NewReader(b), nil)
		if err == nil && loaded == nil && (report.Index != h.Index || back.Index() != h.Index) {
			t.Fatal("two readings differ")
		}
		if err != nil && loaded == nil {
			t.Fatalf("the cheap check refuses what the whole one takes: %v", err)
		}
	})
}
