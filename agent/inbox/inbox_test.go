package inbox

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

var update = flag.Bool("update", false, "rewrite the golden bytes")

func register(stamp crdt.Stamp, birth crdt.Offset) crdt.Register {
	op := crdt.Op{
		Key:   crdt.Key{Pact: "ops", Type: "ticket", Record: crdt.RecordID{1}, Field: "title"},
		Stamp: stamp, Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}, Seq: crdt.Seq(stamp), PactVersion: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text("x")),
	}
	r := crdt.NewRegister(op, crdt.Position{})
	if birth > 0 {
		r.Birth = crdt.Position{Epoch: 1, Offset: birth}
	}
	return r
}

func feed() Feed {
	return Feed{
		Epoch: 1, Offset: 2, Head: 3, Lineage: crdt.Lineage{{Child: 1, Parent: 9, At: 4}}, Met: true, Known: 5, Doubt: 6,
		Whole: 2, Held: []crdt.Position{{Epoch: 9, Offset: 3}},
		Offer: Offer{Open: true, Next: []byte("k"), Head: 1, Older: crdt.Lineage{{Child: 9, Parent: 8, At: 1, From: 1}}, Taken: 2, Refused: 1},
	}
}

func TestPutJoins(t *testing.T) {
	err := store.NewMemory().Update(func(tx store.Tx) error {
		for i, step := range []struct {
			put     crdt.Register
			changed bool
			stamp   crdt.Stamp
			birth   crdt.Offset
		}{
			{register(5, 0), true, 5, 0},
			{register(5, 7), false, 5, 7}, // the same op, its birth became known
			{register(4, 8), false, 5, 7},
			{register(6, 9), true, 6, 9},
			{register(6, 9), false, 6, 9},
		} {
			changed, err := Put(tx, &step.put)
			if err != nil {
				return err
			}
			now, err := Register(tx, step.put.Op.Key)
			if err != nil || changed != step.changed || now.Op.Stamp != step.stamp || now.Birth.Offset != step.birth {
				t.Errorf("step %d: changed %v, stamp %d, birth %s (%v)", i, changed, now.Op.Stamp, now.Birth, err)
			}
		}
		all, err := OfRecord(tx, register(1, 0).Op.Key)
		if len(all) != 1 {
			t.Errorf("%d registers", len(all))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConflictsCountsOpenOnes(t *testing.T) {
	loser, winner := register(5, 7), register(6, 8)
	lost := crdt.NewLost(&loser, &winner)
	closed := lost.Resolved(&winner)
	open, resolved := crdt.NewRegister(lost.Op(), crdt.Position{}), crdt.NewRegister(closed.Op(), crdt.Position{})
	err := store.NewMemory().Update(func(tx store.Tx) error {
		for i, step := range []struct {
			put  crdt.Register
			want int
		}{{winner, 0}, {open, 1}, {open, 1}, {resolved, 0}, {open, 0}} {
			if _, err := Put(tx, &step.put); err != nil {
				return err
			}
			got, err := Conflicts(tx, "ops")
			other, otherErr := Conflicts(tx, "op")
			if err != nil || otherErr != nil || got != step.want || other != 0 {
				t.Errorf("step %d: %d open, want %d; %d of another pact (%v, %v)", i, got, step.want, other, err, otherErr)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestChildren(t *testing.T) {
	err := store.NewMemory().Update(func(tx store.Tx) error {
		parent := crdt.RecordID{1}
		err := errors.Join(AddChild(tx, "ops", parent, crdt.RecordID{3}), AddChild(tx, "ops", parent, crdt.RecordID{2}),
			AddChild(tx, "ops", crdt.RecordID{8}, crdt.RecordID{9}))
		if err != nil {
			return err
		}
		got, err := Children(tx, "ops", parent)
		if !slices.Equal(got, []crdt.RecordID{{2}, {3}}) {
			t.Errorf("children %v", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOldBytesStayReadable(t *testing.T) {
	first, err := os.ReadFile(filepath.Join("testdata", "rows-1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	digits, _, _ := strings.Cut(strings.TrimPrefix(string(first), "feed "), "\n")
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	was, err := decodeFeed(b)
	if now := feed(); err != nil || was.Epoch != now.Epoch || was.Head != now.Head || was.Doubt != now.Doubt ||
		!slices.Equal(was.Lineage, now.Lineage) || !was.Offer.Open {
		t.Errorf("version 1 of a feed's place reads as %+v (%v)", was, err)
	}
	path := filepath.Join("testdata", "rows-2.txt")
	r := register(5, 7)
	want := fmt.Sprintf("feed %x\nregister %x\n", encodeFeed(feed()), encodeRegister(&r))
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(want), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		again, err := reread(name, b)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s reads as %x (%v)", name, again, err)
		}
		b[0]++
		if _, err := reread(name, b); !errors.Is(err, pack.ErrNewer) {
			t.Errorf("a newer %s: %v", name, err)
		}
	}
	if string(golden) != want {
		t.Errorf("rows are written as\n%s", want)
	}
}

func reread(name string, b []byte) ([]byte, error) {
	if name == "feed" {
		f, err := decodeFeed(b)
		return encodeFeed(f), err
	}
	r, err := decodeRegister(b)
	return encodeRegister(&r), err
}

func FuzzDecode(f *testing.F) {
	r := register(5, 7)
	f.Add(true, encodeFeed(feed()))
	f.Add(false, encodeRegister(&r))
	f.Fuzz(func(t *testing.T, isFeed bool, b []byte) {
		name := "register"
		if isFeed {
			name = "feed"
		}
		once, err := reread(name, b)
		if err != nil {
			return
		}
		if twice, err := reread(name, once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s %x (%v)", name, b, err)
		}
	})
}
