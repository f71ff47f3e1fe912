package store

import (
	"fmt"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

const (
	epoch crdt.Epoch = 0xe1
	now   int64      = 1_800_000_000_000
)

// hub drives a Machine through entries that are always the same.
type hub struct {
	*state.Machine
	next map[crdt.Author]crdt.Seq
	last map[crdt.Key]map[crdt.Author]crdt.OpID
}

func newHub(t testing.TB) *hub {
	t.Helper()
	return found(t, state.New())
}

// found makes the hub's pact in an empty Machine.
func found(t testing.TB, m *state.Machine) *hub {
	t.Helper()
	h := &hub{m, map[crdt.Author]crdt.Seq{}, map[crdt.Key]map[crdt.Author]crdt.OpID{}}
	p := &pact.Pact{
		Name: "tickets", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Deletes: []crdt.Site{"acme"}, Fields: []pact.Field{{Name: "title", Type: pact.TypeText}},
	}
	res := h.apply(&command.Found{Hub: command.HubID{1}, Epoch: epoch}, &command.PutPact{Document: p.Encode()})
	for _, c := range res.Commands {
		if c.Reason != "" {
			t.Fatalf("founding: %s", c.Reason)
		}
	}
	return h
}

func (h *hub) apply(cs ...command.Command) state.Result {
	e := command.Entry{TimeMillis: now, DriftMaxMillis: 1000, Commands: cs}
	done, err := h.Prepare(e)
	if err != nil {
		panic(err)
	}
	defer done()
	return h.Apply(h.Index()+1, e)
}

// edit writes a title as site, on the site's own version before: two sites on
// one record conflict.
func (h *hub) edit(t testing.TB, site crdt.Site, record int, title string) {
	t.Helper()
	a := crdt.Author{Site: site, Agent: "main", Incarnation: 1}
	h.next[a]++
	op := crdt.Op{
		Key:   crdt.Key{Pact: "tickets", Type: "ticket", Record: crdt.RecordID{0: 1, 13: byte(record >> 16), 14: byte(record >> 8), 15: byte(record)}, Field: "title"},
		Stamp: crdt.StampOf(now-1000+int64(h.next[a]>>16), uint16(h.next[a])), Author: a, Seq: h.next[a], PactVersion: 1, Binding: 1,
		Evidence: crdt.Evidence{Class: crdt.EvidencePoll}, Value: crdt.Plain(value.Text(title)),
	}
	if h.last[op.Key] == nil {
		h.last[op.Key] = map[crdt.Author]crdt.OpID{}
	}
	op.Base.Pred = h.last[op.Key][a]
	h.last[op.Key][a] = op.ID()
	res := h.apply(&command.Publish{Site: site, Agent: "main", Pact: "tickets", Epoch: epoch, Ops: []crdt.Op{op}})
	if r := res.Commands[0].Ops[0]; r.Outcome != state.OutcomeApplied {
		t.Fatalf("edit: %s %s", r.Outcome, r.Reason)
	}
}

// tell makes the hub know of nodes: one that told of itself, one that was
// removed, one that a token is for.
func (h *hub) tell(t testing.TB) {
	t.Helper()
	res := h.apply(
		&command.Node{Act: command.NodeAdmit, Name: "n1"},
		&command.Node{
			Act: command.NodeTell, Name: "n1", Nodes: "n1.hub.example:7444", Agents: "n1.hub.example:7443",
			Software: "v1", Speaks: command.KindToken, ExpiresMillis: now + 1e10,
		},
		&command.Node{Act: command.NodeReplace, Name: "n1", Replaces: "n0"},
		&command.Node{Act: command.NodeRemove, Name: "n2", Why: "its disk died"},
		&command.Token{Act: command.TokenIssue, ID: command.TokenID{1}, Node: "n3", Replaces: "n9", Secret: [32]byte{2}, ExpiresMillis: now + 1000},
		&command.Token{Act: command.TokenIssue, ID: command.TokenID{2}, Node: "n4", Secret: [32]byte{3}, ExpiresMillis: now + 1000},
		&command.Token{Act: command.TokenSpend, ID: command.TokenID{2}, Key: [32]byte{4}},
	)
	for i, c := range res.Commands {
		if c.Reason != "" {
			t.Fatalf("command %d about nodes: %s", i, c.Reason)
		}
	}
}

// fill writes n records as acme, a conflict on each fifth, and one refusal.
func (h *hub) fill(t testing.TB, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		h.step(t, i)
	}
	a := crdt.Author{Site: "globex", Agent: "main", Incarnation: 1}
	h.next[a]++
	bad := crdt.Op{Author: a, Seq: h.next[a]}
	h.apply(&command.Publish{Site: "globex", Agent: "main", Pact: "tickets", Epoch: epoch, Ops: []crdt.Op{bad}})
}

// step writes one of 50 records, so that rows are overwritten.
func (h *hub) step(t testing.TB, i int) {
	t.Helper()
	h.edit(t, "acme", i%50, fmt.Sprintf("acme %d", i))
	if i%5 == 0 {
		h.edit(t, "globex", i%50, fmt.Sprintf("globex %d", i))
	}
}
