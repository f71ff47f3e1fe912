package crdt_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
)

var update = flag.Bool("update", false, "write the golden files anew")

type vector struct {
	Name   string `json:"name"`
	Bytes  string `json:"bytes"`
	Digest string `json:"digest"`
}

// The bytes of format 1 and their digests never change: they are in every log.
func TestVectorsOfFormat1(t *testing.T) {
	file := filepath.Join("testdata", "op-format-1.json")
	var got []vector
	for _, v := range crdttest.Vectors() {
		b := v.Op.AppendCanonical(nil)
		got = append(got, vector{v.Name, hex.EncodeToString(b), v.Op.Digest().String()})
	}
	if *update {
		out, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []vector
	if err := json.Unmarshal(src, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d vectors, the golden file has %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s:\n got %+v\nwant %+v", want[i].Name, got[i], want[i])
		}
		b, err := hex.DecodeString(want[i].Bytes)
		if err != nil {
			t.Fatal(err)
		}
		op, err := crdt.DecodeOp(b)
		if err != nil || op.Digest().String() != want[i].Digest {
			t.Errorf("%s decodes to %s, %v", want[i].Name, op.Digest(), err)
		}
	}
}

func TestOpFromTheFutureIsRefusedAsNewer(t *testing.T) {
	b := crdttest.Vectors()[0].Op.AppendCanonical(nil)
	for format := crdt.OpFormat + 1; format <= 255; format++ {
		b[0] = byte(format)
		if _, err := crdt.DecodeOp(b); !errors.Is(err, crdt.ErrNewer) || errors.Is(err, crdt.ErrMalformed) {
			t.Fatalf("format %d: %v", format, err)
		}
	}
	b[0] = 0
	if _, err := crdt.DecodeOp(b); !errors.Is(err, crdt.ErrMalformed) {
		t.Errorf("format 0: %v", err)
	}
}

func TestOpComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := crdttest.WideOps().Draw(t, "op")
		b := op.AppendCanonical(nil)
		back, err := crdt.DecodeOp(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := back.Validate(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.AppendCanonical(nil), b) || back.Digest() != op.Digest() ||
			back.Key != op.Key || back.ID() != op.ID() || back.Base != op.Base || back.Evidence != op.Evidence {
			t.Fatalf("%+v came back as %+v", op, back)
		}
	})
}

// Two ops that differ anywhere have different bytes: no field runs into the next.
func TestOpBytesAreInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := crdttest.Ops().Draw(t, "a"), crdttest.Ops().Draw(t, "b")
		same := a.Stamp == b.Stamp && a.ID() == b.ID() && a.Base == b.Base && a.PactVersion == b.PactVersion &&
			a.Binding == b.Binding && a.Evidence == b.Evidence && bytes.Equal(a.Value, b.Value)
		if same != bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
			t.Fatalf("%+v and %+v", a, b)
		}
	})
}

func TestCutAndPaddedOpsAreRefused(t *testing.T) {
	for _, v := range crdttest.Vectors() {
		b := v.Op.AppendCanonical(nil)
		for n := range b {
			if _, err := crdt.DecodeOp(b[:n]); !errors.Is(err, crdt.ErrMalformed) {
				t.Fatalf("%s: first %d of %d bytes: %v", v.Name, n, len(b), err)
			}
		}
		if _, err := crdt.DecodeOp(append(b, 0)); !errors.Is(err, crdt.ErrMalformed) {
			t.Errorf("%s: with a byte too many: %v", v.Name, err)
		}
	}
}

func TestDecodeOpKeepsTheLimitOfValues(t *testing.T) {
	op := crdttest.Op(1, "acme", 1, "")
	for size, fits := range map[int]bool{crdt.ValueBytesMax: true, crdt.ValueBytesMax + 1: false} {
		op.Value = make([]byte, size)
		_, err := crdt.DecodeOp(op.AppendCanonical(nil))
		if (err == nil) != fits || (op.Validate() == nil) != fits {
			t.Errorf("%d bytes: decode %v, validate %v", size, err, op.Validate())
		}
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	good := crdttest.Op(1, "acme", 1, "")
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := map[string]func(*crdt.Op){
		"pact":            func(o *crdt.Op) { o.Key.Pact = "Help Desk" },
		"type":            func(o *crdt.Op) { o.Key.Type = "" },
		"zero record":     func(o *crdt.Op) { o.Key.Record = crdt.RecordID{} },
		"field":           func(o *crdt.Op) { o.Key.Field = "ti tle" },
		"conflict record": func(o *crdt.Op) { o.Key.Field = crdt.LostField("title", crdt.Digest{}) },
		"site":            func(o *crdt.Op) { o.Author.Site = "-acme" },
		"agent":           func(o *crdt.Op) { o.Author.Agent = "a/b" },
		"incarnation":     func(o *crdt.Op) { o.Author.Incarnation = 0 },
		"seq":             func(o *crdt.Op) { o.Seq = 0 },
		"no stamp":        func(o *crdt.Op) { o.Stamp = 0 },
		"last stamp":      func(o *crdt.Op) { o.Stamp = crdt.StampMax },
		"no evidence":     func(o *crdt.Op) { o.Evidence.Class = 0 },
		"new evidence":    func(o *crdt.Op) { o.Evidence.Class = 5 },
		"no value":        func(o *crdt.Op) { o.Value = nil },
	}
	for name, spoil := range bad {
		op := good
		spoil(&op)
		if op.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzDecodeOp(f *testing.F) {
	for _, v := range crdttest.Vectors() {
		f.Add(v.Op.AppendCanonical(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		op, err := crdt.DecodeOp(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrMalformed) && !errors.Is(err, crdt.ErrNewer) {
				t.Fatalf("an error of its own kind: %v", err)
			}
			return
		}
		if !bytes.Equal(op.AppendCanonical(nil), b) {
			t.Fatalf("%x has two encodings", b)
		}
		_ = op.Validate()
	})
}
