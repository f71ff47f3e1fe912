package core

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

var update = flag.Bool("update", false, "rewrite the golden bytes")

// codec is one table's row, decoded and encoded again.
type codec struct {
	name   string
	sample []byte
	again  func([]byte) ([]byte, error)
}

func codecs() []codec {
	id := crdt.OpID{Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 3}, Seq: 9}
	record := crdt.RecordID{1, 2, 3}
	in := &intent{
		ID: 4, Kind: connectors.WriteUpdate, State: stateDoubt, Record: record, Key: "12", Revision: "r1", Mark: "7",
		CalledMillis: 10, SinceMillis: 20, Attempts: 1, Receipt: connectors.Receipt{Key: "12", Revision: "r2"}, Body: "b",
		Fields: map[crdt.Field]intentField{"title": {
			Before:  tuple{"subject": value.Text("a")},
			Writes:  tuple{"subject": value.Text("b")},
			Version: shadow.Version{ID: id, Stamp: 5, Birth: crdt.Position{Epoch: 1, Offset: 2}},
		}},
	}
	return []codec{
		{
			"identity", encodeIdentity(&identity{Seed: [32]byte{1}, Incarnation: 2, Generation: 1, AheadMillis: -3, NextIntent: 4}),
			func(b []byte) ([]byte, error) { v, err := decodeIdentity(b); return encodeIdentity(&v), err },
		},
		{
			"system", encodeSystem(systemState{Cursor: []byte("c"), InFlight: 2, HourMillis: 3, Creates: 4, ListedMillis: 5}),
			func(b []byte) ([]byte, error) { v, err := decodeSystem(b); return encodeSystem(v), err },
		},
		{
			"work", encodeWork(work{DueMillis: 1, Issued: true, Again: true, Void: true, Attempts: 2}),
			func(b []byte) ([]byte, error) { v, err := decodeWork(b); return encodeWork(v), err },
		},
		{
			"hold", encodeHold(Hold{
				System: "desk", Record: record, Field: "title", Key: "12", Code: "c", Message: "m",
				SinceMillis: 1, Outgoing: true, Version: id,
			}),
			func(b []byte) ([]byte, error) { v, err := decodeHold(b); return encodeHold(v), err },
		},
		{
			"word", encodeWord(Word{Skip: true, AtMillis: 1, By: "ana", Reason: "r", code: "c", version: id}),
			func(b []byte) ([]byte, error) { v, err := decodeWord(b); return encodeWord(v), err },
		},
		{
			"job", encodeJob(&Job{
				Kind: JobBackfill, State: JobPaused, DryRun: true, SinceMillis: -1, Filter: "f", Rate: 2, By: "ana", StartedMillis: 3,
				ActiveMillis: 4, RunMillis: 5, EndedMillis: 6, Whole: true, Total: 7, Waits: "rate", WaitsMillis: 8, cursor: []byte("c"), asked: true,
				Count: JobCount{Entered: 1, Connected: 2, Changed: 3, Held: 4, Unchanged: 5, Left: 6, Failed: 7},
			}),
			func(b []byte) ([]byte, error) { v, err := decodeJob(b); return encodeJob(&v), err },
		},
		{
			"queued", encodeQueued(queued{issued: true, own: true, dry: true}),
			func(b []byte) ([]byte, error) { v, err := decodeQueued(b); return encodeQueued(v), err },
		},
		{
			"intent", encodeIntent(in),
			func(b []byte) ([]byte, error) { v, err := decodeIntent(b); return encodeIntent(v), err },
		},
	}
}

// TestOldBytesStayReadable decodes what version 1 of each row wrote.
func TestOldBytesStayReadable(t *testing.T) {
	path := filepath.Join("testdata", "rows-1.txt")
	if *update {
		var b strings.Builder
		for _, c := range codecs() {
			fmt.Fprintf(&b, "%s %s\n", c.name, hex.EncodeToString(c.sample))
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]byte{}
	for line := range strings.Lines(string(golden)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if rows[name], err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range codecs() {
		if again, err := c.again(rows[c.name]); err != nil || !bytes.Equal(again, c.sample) {
			t.Errorf("%s: %x reads as %x (%v)", c.name, rows[c.name], again, err)
		}
	}
}

func TestNewerRowsAreRefused(t *testing.T) {
	for _, c := range codecs() {
		newer := bytes.Clone(c.sample)
		newer[0]++
		if _, err := c.again(newer); !errors.Is(err, pack.ErrNewer) {
			t.Errorf("%s: %v", c.name, err)
		}
		for n := range c.sample {
			if _, err := c.again(c.sample[:n]); !errors.Is(err, pack.ErrCorrupt) {
				t.Errorf("%s cut to %d bytes: %v", c.name, n, err)
			}
		}
	}
}

// FuzzRows: any bytes give a row or an error, and a row that was read is
// written and read again as itself.
func FuzzRows(f *testing.F) {
	for i, c := range codecs() {
		f.Add(byte(i), c.sample)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		all := codecs()
		c := all[int(which)%len(all)]
		once, err := c.again(b)
		if err != nil {
			return
		}
		twice, err := c.again(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s: %x became %x (%v)", c.name, once, twice, err)
		}
	})
}
