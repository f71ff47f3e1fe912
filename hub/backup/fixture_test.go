package backup

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/hub/store"
	"github.com/entente-sync/entente/proto/pact"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	epoch crdt.Epoch = 0xe1
	now   int64      = 1_800_000_000_000
)

var hubID = command.HubID{0xab, 15: 1}

// machine is a state with n registers of two pacts, always the same.
func machine(t testing.TB, n int) *state.Machine {
	t.Helper()
	m := state.New()
	apply := func(cs ...command.Command) {
		t.Helper()
		res := m.Apply(m.Index()+1, command.Entry{TimeMillis: now, DriftMaxMillis: 1000, Commands: cs})
		for _, c := range res.Commands {
			if c.Reason != "" {
				t.Fatalf("fixture: %s", c.Reason)
			}
			for _, op := range c.Ops {
				if op.Outcome != state.OutcomeApplied {
					t.Fatalf("fixture: %s %s", op.Outcome, op.Reason)
				}
			}
		}
	}
	apply(&command.Found{Hub: hubID, Epoch: epoch})
	for _, name := range []crdt.Pact{"parts", "tickets"} {
		p := &pact.Pact{
			Name: name, Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
			Fields: []pact.Field{{Name: "title", Type: pact.TypeText}},
		}
		apply(&command.PutPact{Document: p.Encode()})
		pub := &command.Publish{Site: "acme", Agent: "main", Pact: name, Epoch: epoch}
		for i := range n / 2 {
			pub.Ops = append(pub.Ops, op(name, crdt.Seq(i+1)))
			if len(pub.Ops) == 500 {
				apply(pub)
				pub = &command.Publish{Site: "acme", Agent: "main", Pact: name, Epoch: epoch, After: pub.Ops[499].ID()}
			}
		}
		if len(pub.Ops) > 0 {
			apply(pub)
		}
	}
	return m
}

func op(name crdt.Pact, seq crdt.Seq) crdt.Op {
	return crdt.Op{
		Key: crdt.Key{
			Pact: name, Type: "ticket", Field: "title",
			Record: crdt.RecordID{0: 1, 12: byte(seq >> 24), 13: byte(seq >> 16), 14: byte(seq >> 8), 15: byte(seq)},
		},
		Stamp: crdt.StampOf(now-1000, uint16(seq)), Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1},
		Seq: seq, PactVersion: 1, Binding: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text(fmt.Sprintf("title %d", seq))),
	}
}

func headerOf(m *state.Machine) Header {
	hub, epoch := m.Hub()
	return Header{
		Hub: hub, Epoch: epoch, Index: m.Index(), Term: 3, Node: "n2", Software: "entente/test",
		Created: time.UnixMilli(now).UTC(), Voters: []string{"n1", "n2", "n3"},
	}
}

func bodyOf(m *state.Machine) func(io.Writer) error {
	return func(w io.Writer) error { return store.WriteSnapshot(w, m.Image()) }
}

func encode(t testing.TB, m *state.Machine, recipients ...age.Recipient) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, headerOf(m), recipients, bodyOf(m)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
