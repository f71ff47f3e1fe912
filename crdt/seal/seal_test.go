package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/seal"
	"github.com/entente-sync/entente/crdt/value"
)

func key(id string, fill byte) seal.Key {
	k := seal.Key{ID: id}
	for i := range k.Secret {
		k.Secret[i] = fill
	}
	return k
}

func linkOp() crdt.Op {
	return crdt.Op{
		Key: crdt.Key{
			Pact: "helpdesk", Type: "ticket", Record: crdt.RecordID{1},
			Field: crdt.LinkField("acme", "redmine"),
		},
		Stamp:    crdt.StampOf(1_700_000_000_000, 3),
		Author:   crdt.Author{Site: "acme", Agent: "one", Incarnation: 2},
		Seq:      7,
		Base:     crdt.Base{Birth: crdt.Position{Epoch: 9, Offset: 4}},
		Evidence: crdt.Evidence{Class: crdt.EvidenceHistory},
	}
}

func sealed(t testing.TB, k seal.Key, op crdt.Op, v value.Value) crdt.Op {
	t.Helper()
	envelope, err := seal.Seal(k, &op, v)
	if err != nil {
		t.Fatal(err)
	}
	op.Value = envelope
	return op
}

func TestSealedValueComesBack(t *testing.T) {
	k, v := key("acme-1", 5), value.Text("4711")
	op := sealed(t, k, linkOp(), v)
	got, err := seal.Open(k, &op)
	if err != nil || !got.Equal(v) {
		t.Fatalf("got %s, %v", got, err)
	}
	if id, err := seal.KeyID(op.Value); err != nil || id != "acme-1" {
		t.Errorf("key id %q, %v", id, err)
	}
	if bytes.Contains(op.Value, []byte("4711")) {
		t.Error("the envelope shows its content")
	}
	if again := sealed(t, k, linkOp(), v); !bytes.Equal(again.Value, op.Value) {
		t.Error("sealing is not deterministic")
	}
	if other := sealed(t, k, linkOp(), value.Text("4712")); bytes.Equal(nonce(other), nonce(op)) {
		t.Error("two contents of one (author, seq) share a nonce")
	}
}

func nonce(op crdt.Op) []byte { return op.Value[2+len("acme-1"):][:12] }

func TestEnvelopeOpensInNoOtherOp(t *testing.T) {
	k := key("acme-1", 5)
	op := sealed(t, k, linkOp(), value.Text("4711"))
	moves := map[string]func(*crdt.Op){
		"pact":         func(o *crdt.Op) { o.Key.Pact = "other" },
		"type":         func(o *crdt.Op) { o.Key.Type = "task" },
		"record":       func(o *crdt.Op) { o.Key.Record[15] = 1 },
		"field":        func(o *crdt.Op) { o.Key.Field = crdt.LinkField("acme", "rt") },
		"stamp":        func(o *crdt.Op) { o.Stamp++ },
		"site":         func(o *crdt.Op) { o.Author.Site = "globex" },
		"agent":        func(o *crdt.Op) { o.Author.Agent = "two" },
		"incarnation":  func(o *crdt.Op) { o.Author.Incarnation++ },
		"seq":          func(o *crdt.Op) { o.Seq++ },
		"pred":         func(o *crdt.Op) { o.Base.Pred = o.ID() },
		"birth":        func(o *crdt.Op) { o.Base.Birth.Offset++ },
		"pact version": func(o *crdt.Op) { o.PactVersion++ },
		"binding":      func(o *crdt.Op) { o.Binding++ },
		"evidence":     func(o *crdt.Op) { o.Evidence.Class = crdt.EvidencePoll },
	}
	for name, move := range moves {
		moved := op
		move(&moved)
		if _, err := seal.Open(k, &moved); !errors.Is(err, seal.ErrForged) {
			t.Errorf("another %s: %v, want ErrForged", name, err)
		}
	}
}

func TestEveryFlippedByteIsRefused(t *testing.T) {
	k := key("acme-1", 5)
	op := sealed(t, k, linkOp(), value.Text("4711"))
	for i := range op.Value {
		for bit := range 8 {
			flipped := op
			flipped.Value = bytes.Clone(op.Value)
			flipped.Value[i] ^= 1 << bit
			if _, err := seal.Open(k, &flipped); err == nil {
				t.Fatalf("byte %d, bit %d: accepted", i, bit)
			}
		}
	}
	for n := range op.Value {
		short := op
		short.Value = op.Value[:n]
		if _, err := seal.Open(k, &short); err == nil {
			t.Fatalf("first %d bytes: accepted", n)
		}
	}
}

func TestRefusalsHaveTheirOwnErrors(t *testing.T) {
	k := key("acme-1", 5)
	op := sealed(t, k, linkOp(), value.Text("4711"))
	newer := op
	newer.Value = append([]byte{seal.Format + 1}, op.Value[1:]...)
	if _, err := seal.Open(k, &newer); !errors.Is(err, seal.ErrNewer) || errors.Is(err, seal.ErrInvalid) {
		t.Errorf("newer format: %v", err)
	}
	if _, err := seal.OpenPlain(newer.Value); !errors.Is(err, seal.ErrNewer) {
		t.Errorf("newer format, plain: %v", err)
	}
	if _, err := seal.Open(key("acme-2", 5), &op); !errors.Is(err, seal.ErrKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := seal.Open(key("acme-1", 6), &op); !errors.Is(err, seal.ErrForged) {
		t.Errorf("another secret of the same id: %v", err)
	}
	if _, err := seal.OpenPlain(op.Value); !errors.Is(err, seal.ErrKey) {
		t.Errorf("sealed, opened as plain: %v", err)
	}
	for _, id := range []string{"", strings.Repeat("k", seal.KeyIDBytesMax+1)} {
		if _, err := seal.Seal(key(id, 5), &op, value.Null()); !errors.Is(err, seal.ErrInvalid) {
			t.Errorf("key id %q: %v", id, err)
		}
	}
	if _, err := seal.OpenPlain([]byte{seal.Format}); !errors.Is(err, seal.ErrInvalid) {
		t.Errorf("cut envelope: %v", err)
	}
}

func TestKeyNeverPrintsItsSecret(t *testing.T) {
	k := key("acme-1", 'S')
	if out, err := json.Marshal(map[string]any{"key": k, "pointer": &k}); err != nil || strings.Contains(string(out), "83") {
		t.Errorf("JSON, and so a log, shows %s, %v", out, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out := fmt.Sprintf(verb, k)
		for _, leak := range []string{"SSSS", "5353", "83 83", "0x53"} {
			if strings.Contains(out, leak) {
				t.Errorf("%s prints %s", verb, out)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := key("acme-1", 5)
	f.Add(sealed(f, k, linkOp(), value.Text("4711")).Value)
	f.Add(seal.Plain(value.Null()))
	f.Add([]byte{2, 0, 0})
	f.Add([]byte{1, 33})
	f.Fuzz(func(t *testing.T, envelope []byte) {
		op := linkOp()
		op.Value = envelope
		if v, err := seal.Open(k, &op); err == nil {
			if again := sealed(t, k, op, v); !bytes.Equal(again.Value, envelope) {
				t.Fatal("an envelope that Seal does not make was opened")
			}
		}
		if v, err := seal.OpenPlain(envelope); err == nil && !bytes.Equal(seal.Plain(v), envelope) {
			t.Fatal("a plain envelope has two encodings")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, op, v := key("acme-1", 5), linkOp(), value.Text("4711")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal.Seal(k, &op, v); err != nil {
			b.Fatal(err)
		}
	}
}
