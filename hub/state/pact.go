package state

import (
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/pact"
)

// lineageMax bounds the forks that a pact remembers; wire.LineageMax is the same.
const lineageMax = 1024

// pactState is one pact: independent of every other.
type pactState struct {
	agreed    *pact.Pact
	document  []byte
	lineage   crdt.Lineage
	head      crdt.Offset // newest that was assigned
	feed      feed
	records   map[recordKey]*record
	authors   map[crdt.Author]*author
	recent    *author                 // the one found last: ops come in runs
	registers crdt.Multiset           // of every current version
	types     map[crdt.Type]crdt.Type // of child records, one copy each

	sumSeen    uint64 // see command.AuthorSum
	sumRefused uint64
}

func newPactState() *pactState {
	return &pactState{
		records: map[recordKey]*record{}, authors: map[crdt.Author]*author{}, types: map[crdt.Type]crdt.Type{},
	}
}

func (p *pactState) sum() command.PactDigest {
	return command.PactDigest{
		Pact: p.agreed.Name, Version: p.agreed.Version, Head: p.head, Registers: p.registers,
		Authors: command.AuthorSum{Count: uint64(len(p.authors)), Seen: p.sumSeen, Refused: p.sumRefused},
	}
}

// author returns what is known of the author of that name, nil if nothing.
// Apply alone may call it.
func (p *pactState) author(name crdt.Author) *author {
	if p.recent != nil && p.recent.name == name {
		return p.recent
	}
	a, ok := p.authors[name]
	if ok {
		p.recent = a
	}
	return a
}
