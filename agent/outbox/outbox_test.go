package outbox

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

var update = flag.Bool("update", false, "rewrite the golden bytes")

func op(field crdt.Field, incarnation uint64) crdt.Op {
	return crdt.Op{
		Key:   crdt.Key{Pact: "ops", Type: "ticket", Record: crdt.RecordID{1}, Field: field},
		Stamp: 5, Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: incarnation}, PactVersion: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text("x")),
	}
}

func sample() Entry {
	o := op("title", 1)
	o.Seq = 1
	return Entry{Position: 3, Op: o, After: o.ID(), Acked: true, Offset: 9, Rebase: &crdt.Base{Pred: o.ID()}}
}

// TestOutboxIsAQueue drives the outbox against a slice: seqs are contiguous per
// author, After names the op before, and an entry goes only when it is acked and
// passed, front first.
func TestOutboxIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := store.NewMemory()
		var model []Entry
		var last crdt.OpID
		seq, incarnation := crdt.Seq(0), uint64(1)
		err := s.Update(func(tx store.Tx) error {
			for range rapid.IntRange(1, 30).Draw(t, "steps") {
				switch rapid.IntRange(0, 5).Draw(t, "what") {
				case 0:
					incarnation++
					seq = 0
				case 1, 2:
					field := rapid.SampledFrom([]crdt.Field{"title", "status"}).Draw(t, "field")
					got, err := Append(tx, op(field, incarnation), nil)
					if seq++; err != nil || got.Seq != seq {
						t.Fatalf("seq %d, want %d (%v)", got.Seq, seq, err)
					}
					model = append(model, Entry{Op: got, After: last})
					last = got.ID()
				case 3:
					if len(model) == 0 {
						continue
					}
					i := rapid.IntRange(0, len(model)-1).Draw(t, "acked")
					e, ok, err := Find(tx, "ops", model[i].Op.ID())
					if err != nil || !ok {
						t.Fatalf("find %s: %v %v", model[i].Op.ID(), ok, err)
					}
					model[i].Acked, model[i].Offset = true, crdt.Offset(rapid.IntRange(1, 9).Draw(t, "offset"))
					if err := Ack(tx, e, model[i].Offset); err != nil {
						return err
					}
				case 4:
					cursor := crdt.Offset(rapid.IntRange(1, 9).Draw(t, "cursor"))
					for len(model) > 0 && model[0].Acked && model[0].Offset <= cursor {
						model = model[1:]
					}
					if err := Passed(tx, "ops", cursor); err != nil {
						return err
					}
				case 5:
					if len(model) > 0 {
						last = model[0].After // what came before is answered
					}
					for i := range model {
						model[i].Acked, model[i].Offset, model[i].After = false, 0, last
						last = model[i].Op.ID()
					}
					if err := Reopen(tx, "ops"); err != nil {
						return err
					}
				}
				compare(t, tx, model)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func compare(t *rapid.T, tx store.Tx, model []Entry) {
	all, err := List(tx, "ops")
	if err != nil || len(all) != len(model) {
		t.Fatalf("%d entries, want %d (%v)", len(all), len(model), err)
	}
	waiting, pending := 0, 0
	for i, e := range all {
		if e.Op.ID() != model[i].Op.ID() || e.After != model[i].After || e.Acked != model[i].Acked {
			t.Fatalf("entry %d is %+v, want %+v", i, e, model[i])
		}
		if !e.Acked {
			waiting++
		}
		if e.Op.Key.Field == "title" {
			pending++
		}
	}
	batch, err := Batch(tx, "ops", 0, 100)
	if err != nil || len(batch) != waiting {
		t.Fatalf("batch of %d, want %d (%v)", len(batch), waiting, err)
	}
	key := op("title", 1).Key
	own, err := Pending(tx, key)
	if err != nil || len(own) != pending {
		t.Fatalf("%d pending, want %d (%v)", len(own), pending, err)
	}
	if st, err := GetState(tx, "ops"); err != nil || st.Len != uint64(len(model)) {
		t.Fatalf("state %+v (%v), want %d entries", st, err, len(model))
	}
}

func TestOlderAuthorIsRefused(t *testing.T) {
	err := store.NewMemory().Update(func(tx store.Tx) error {
		if _, err := Append(tx, op("title", 2), nil); err != nil {
			return err
		}
		_, err := Append(tx, op("title", 1), nil)
		return err
	})
	if !errors.Is(err, ErrAuthor) {
		t.Error(err)
	}
}

func TestOldBytesStayReadable(t *testing.T) {
	path := filepath.Join("testdata", "entry-1.hex")
	want := sample()
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(hex.EncodeToString(encodeEntry(&want))+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeEntry(b, 3)
	if err != nil || !bytes.Equal(encodeEntry(&got), encodeEntry(&want)) || *got.Rebase != *want.Rebase || got.Position != 3 {
		t.Errorf("read %+v (%v)", got, err)
	}
	b[0]++
	if _, err := decodeEntry(b, 3); !errors.Is(err, pack.ErrNewer) {
		t.Errorf("a newer row: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	e := sample()
	f.Add(encodeEntry(&e))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b, 1)
		if err != nil {
			return
		}
		once := encodeEntry(&e)
		again, err := decodeEntry(once, 1)
		if err != nil || !bytes.Equal(encodeEntry(&again), once) {
			t.Fatalf("%x (%v)", b, err)
		}
	})
}
