package state_test

import (
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

const (
	tickets  crdt.Pact  = "tickets"
	epochOne crdt.Epoch = 0xe1
	now      int64      = 1_800_000_000_000
	driftMax uint64     = 60_000
)

var hubID = command.HubID{1, 2, 3}

// agreement is the pact of all tests: status is acme's, deletes are acme's and
// globex's, notes changes in version 2.
func agreement(version uint32) *pact.Pact {
	p := &pact.Pact{
		Name: tickets, Version: version, Members: []crdt.Site{"acme", "globex", "initech"},
		Record: "ticket", Deletes: []crdt.Site{"acme", "globex"},
		Fields: []pact.Field{
			{Name: "comments", Type: pact.TypeComments},
			{Name: "labels", Type: pact.TypeTextSet},
			{Name: "notes", Type: pact.TypeText},
			{Name: "status", Type: pact.TypeEnum, Values: []string{"new", "open"}, Writers: []crdt.Site{"acme"}},
			{Name: "title", Type: pact.TypeText},
		},
	}
	if version > 1 {
		p.Fields[2].Since = 2
	}
	return p
}

// tb is what the tests need of testing.TB, which a rapid.T is too.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// log applies entries at ascending indexes and keeps them.
type log struct {
	m       *state.Machine
	disk    *disk // nil: all of the state is in memory
	index   uint64
	entries []command.Entry
}

// newLog founds a hub with the pact in force.
func newLog(t tb) *log {
	t.Helper()
	l := &log{m: state.New()}
	res := l.apply(&command.Found{Hub: hubID, Epoch: epochOne}, &command.PutPact{Document: agreement(1).Encode()})
	for _, c := range res.Commands {
		if c.Reason != "" {
			t.Fatalf("founding: %s", c.Reason)
		}
	}
	return l
}

// apply sends commands through the codec, as raft does.
func (l *log) apply(cs ...command.Command) state.Result {
	e := command.Entry{TimeMillis: now, DriftMaxMillis: driftMax, Commands: cs}
	decoded, err := command.Decode(e.Encode())
	if err != nil {
		panic(err)
	}
	l.index++
	l.entries = append(l.entries, decoded)
	done, err := l.m.Prepare(decoded)
	if err != nil {
		panic(err)
	}
	defer done()
	if l.disk != nil && !l.disk.shared {
		l.disk.shut = true // Apply does no I/O
		defer func() { l.disk.shut = false }()
	}
	return l.m.Apply(l.index, decoded)
}

// get reads one register.
func (l *log) get(k crdt.Key) *state.Stored { return get(l.m, k) }

func get(m *state.Machine, k crdt.Key) *state.Stored {
	s, err := m.Get(k)
	if err != nil {
		panic(err)
	}
	return s
}

// publish sends ops of one agent in one batch.
func (l *log) publish(epoch crdt.Epoch, after crdt.OpID, ops ...crdt.Op) []state.OpResult {
	c := &command.Publish{
		Site: ops[0].Author.Site, Agent: ops[0].Author.Agent, Pact: tickets, Epoch: epoch, After: after, Ops: ops,
	}
	return l.apply(c).Commands[0].Ops
}

func key(record byte, field crdt.Field) crdt.Key {
	return crdt.Key{Pact: tickets, Type: "ticket", Record: crdt.RecordID{15: record}, Field: field}
}

func author(site crdt.Site, incarnation uint64) crdt.Author {
	return crdt.Author{Site: site, Agent: "main", Incarnation: incarnation}
}

// edit is an op with everything but its base.
func edit(a crdt.Author, seq crdt.Seq, k crdt.Key, millis int64, text string) crdt.Op {
	return crdt.Op{
		Key: k, Stamp: crdt.StampOf(now-10_000+millis, 0), Author: a, Seq: seq, PactVersion: 1, Binding: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidenceHistory}, Value: crdt.Plain(value.Text(text)),
	}
}

// on gives op its base.
func on(op crdt.Op, pred crdt.OpID, birth crdt.Offset) crdt.Op {
	op.Base.Pred = pred
	if birth != 0 {
		op.Base.Birth = crdt.Position{Epoch: epochOne, Offset: birth}
	}
	return op
}

// feedAll reads the whole feed in pages of n.
func feedAll(t tb, m *state.Machine, after crdt.Position, n int) []*state.Stored {
	t.Helper()
	var out []*state.Stored
	for {
		s, err := m.Feed(tickets, after, n, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := s.Decode()
		check(t, err)
		out = append(out, entries...)
		if after = s.Cursor; after.Offset == s.Head {
			return out
		}
	}
}
