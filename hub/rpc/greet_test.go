package rpc

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

// lives is a hub's state that knows an agent by so many incarnations.
type lives uint64

func (lives) Hub() (command.HubID, crdt.Epoch) { return command.HubID{}, 1 }

func (lives) Pact(crdt.Pact) (state.PactInfo, error) {
	return state.PactInfo{Pact: &pact.Pact{Name: "tickets", Version: 1, Members: []crdt.Site{"acme"}}}, nil
}

func (n lives) Authors(_ crdt.Pact, site crdt.Site, agent crdt.AgentName) (out []state.AuthorState) {
	for i := range uint64(n) {
		out = append(out, state.AuthorState{Author: crdt.Author{Site: site, Agent: agent, Incarnation: i + 1}, Seen: 1})
	}
	return out
}

func (lives) History(state.Span) (state.Versions, error) {
	return state.Versions{}, state.ErrHistoryNone
}

func (lives) AsOf(state.Moment) (state.Registers, error) {
	return state.Registers{}, state.ErrHistoryNone
}

// A greeting stays small however often an agent was opened.
func TestGreetTellsOfTheNewestIncarnations(t *testing.T) {
	for n, oldest := range map[lives]uint64{3: 1, wire.AuthorsTold: 1, wire.AuthorsTold + 5: 6} {
		got := New(Config{State: n}).pactState(identity.Agent{Site: "acme", Name: "main"}, "tickets").Authors
		if len(got) != min(int(n), wire.AuthorsTold) || got[0].Author.Incarnation != oldest || got[len(got)-1].Author.Incarnation != uint64(n) {
			t.Errorf("of %d: %d, the oldest %d", n, len(got), got[0].Author.Incarnation)
		}
	}
}
