package shadow

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

var update = flag.Bool("update", false, "rewrite the golden bytes")

func sample() *Record {
	return &Record{
		ID: crdt.RecordID{1, 2}, Key: "12", Revision: "r1", Mark: "7", Updated: -5, Generation: 2, Solo: true,
		Fields: map[crdt.Field]Field{
			"title": {
				Shown: map[string]value.Value{"subject": value.Text("a"), "empty": value.Null()},
				Version: Version{
					ID:    crdt.OpID{Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}, Seq: 2},
					Stamp: 3, Birth: crdt.Position{Epoch: 4, Offset: 5},
				},
				WroteMillis: 6, EchoWritten: "w", EchoShown: "s",
			},
			"never": {},
			"none":  {Shown: map[string]value.Value{}},
		},
	}
}

func TestOldBytesStayReadable(t *testing.T) {
	path := filepath.Join("testdata", "record-1.hex")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(hex.EncodeToString(encode(sample()))+"\n"), 0o644)); err != nil {
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
	got, err := decode(b)
	if err != nil || !reflect.DeepEqual(got, sample()) {
		t.Errorf("read %+v (%v)", got, err)
	}
	b[0]++
	if _, err := decode(b); !errors.Is(err, pack.ErrNewer) {
		t.Errorf("a newer row: %v", err)
	}
}

func TestLinksGoBothWays(t *testing.T) {
	s := store.NewMemory()
	err := s.Update(func(tx store.Tx) error {
		want := sample()
		if err := Put(tx, "desk", want); err != nil {
			return err
		}
		got, ok, err := Get(tx, "desk", want.ID)
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("get %+v %v %v", got, ok, err)
		}
		id, ok, err := ByKey(tx, "desk", want.Key)
		if err != nil || !ok || id != want.ID {
			t.Errorf("by key %s %v %v", id, ok, err)
		}
		if _, ok, _ := Get(tx, "other", want.ID); ok {
			t.Error("another system shows it")
		}
		child := crdt.RecordID{9}
		if err := LinkComment(tx, "desk", want.ID, child, ""); err != nil {
			return err
		}
		if key, ok, err := Child(tx, "desk", child); key != "" || !ok || err != nil {
			t.Errorf("child %q %v %v", key, ok, err)
		}
		if err := LinkComment(tx, "desk", want.ID, child, "c1"); err != nil {
			return err
		}
		if back, ok, err := Comment(tx, "desk", want.ID, "c1"); back != child || !ok || err != nil {
			t.Errorf("comment %s %v %v", back, ok, err)
		}
		n, err := Count(tx, "desk")
		if n != 1 {
			t.Errorf("%d linked", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(sample()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		once := encode(r)
		again, err := decode(once)
		if err != nil || !bytes.Equal(encode(again), once) {
			t.Fatalf("%x (%v)", b, err)
		}
	})
}
