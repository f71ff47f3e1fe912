package state

import (
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/pact"
)

// pactState is one pact: independent of every other.
type pactState struct {
	agreed    *pact.Pact
	document  []byte
	lineage   crdt.Lineage
	head      crdt.Offset // newest that was assigned
	feed      feed
	records   map[recordKey]*record
	authors   map[crdt.Author]*author
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
