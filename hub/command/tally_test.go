package command_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/hub/command"
)

func tallyEntry() command.Entry {
	return command.Entry{TimeMillis: 1_800_000_000_123, DriftMaxMillis: 60_000, Commands: []command.Command{
		&command.Tally{Index: 77, Votes: []command.Vote{
			{Node: "n1", Voter: true, Answered: true, Digest: command.AuditDigest{1}},
			{Node: "n2", Voter: true},
			{Node: "n3", Answered: true, Digest: command.AuditDigest{2}},
		}},
	}}
}

// Bytes that version 1 wrote are read for ever, and written alike.
func TestOldTally(t *testing.T) {
	const file = "testdata/entry-v1-tally.hex"
	e := tallyEntry()
	if *update {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(e.Encode())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := command.Decode(b)
	if err != nil || !reflect.DeepEqual(got, e) || string(got.Encode()) != string(b) {
		t.Fatalf("%v\n%+v\nwant\n%+v", err, got, e)
	}
}

// The verdict against its definition: a state is the hub's if more than half of
// the voters have it; voters of two states, and neither the hub's, are a dispute.
func TestVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &command.Tally{Index: 1}
		for i := range rapid.IntRange(1, 7).Draw(t, "members") {
			v := command.Vote{Node: fmt.Sprint("n", i), Voter: rapid.Bool().Draw(t, "voter"), Answered: rapid.Bool().Draw(t, "answered")}
			if v.Answered {
				v.Digest[0] = rapid.ByteRange(1, 3).Draw(t, "state")
			}
			c.Votes = append(c.Votes, v)
		}
		voters, answered, different := 0, map[byte]int{}, map[byte]bool{}
		for _, v := range c.Votes {
			if v.Voter {
				voters++
			}
			if v.Answered {
				different[v.Digest[0]] = true
				if v.Voter {
					answered[v.Digest[0]]++
				}
			}
		}
		want, state := command.VerdictUnchecked, byte(0)
		if len(answered) > 1 {
			want = command.VerdictDisputed
		}
		for s := byte(1); s <= 3; s++ {
			if answered[s] > voters-answered[s] {
				want, state = command.VerdictAgreed, s
			}
		}
		if got, digest := c.Verdict(); got != want || digest[0] != state {
			t.Fatalf("%s %d, want %s %d: %+v", got, digest[0], want, state, c.Votes)
		}
		if c.Mismatch() != (len(different) > 1) {
			t.Fatalf("mismatch %v: %+v", c.Mismatch(), c.Votes)
		}
	})
}
