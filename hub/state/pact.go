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
	agreed   *pact.Pact
	document []byte
	lineage  crdt.Lineage
	head     crdt.Offset // newest that was assigned

	feed      feed
	records   records
	rows      slab[row]             // one for each register
	conflicts map[uint32][]conflict // open ones of each record, in the order of opening
	registers crdt.Multiset         // of every current version
	types     names
	fields    names
	history   *history // nil: none is kept

	authors []*author // by the number in a row; number 0 is nil
	byName  map[crdt.Author]*author
	recent  *author           // the one found last: ops come in runs
	own     map[crdt.Site]int // authors of each site of whom an op was answered
	heard   int               // authors of whom none was: offers told of them

	sumSeen    uint64 // see command.AuthorSum
	sumRefused uint64
}

func newPactState() *pactState {
	return &pactState{
		conflicts: map[uint32][]conflict{}, authors: make([]*author, 1), byName: map[crdt.Author]*author{},
		own: map[crdt.Site]int{},
	}
}

func (p *pactState) sum() command.PactDigest {
	return command.PactDigest{
		Pact: p.agreed.Name, Version: p.agreed.Version, Head: p.head, Registers: p.registers,
		Authors: command.AuthorSum{Count: uint64(len(p.byName)), Seen: p.sumSeen, Refused: p.sumRefused},
	}
}

// author returns what is known of the author of that name, nil if nothing.
// Apply alone may call it.
func (p *pactState) author(name crdt.Author) *author {
	if p.recent != nil && p.recent.name == name {
		return p.recent
	}
	a, ok := p.byName[name]
	if ok {
		p.recent = a
	}
	return a
}

// newAuthor begins to remember an author, who is not known.
func (p *pactState) newAuthor(name crdt.Author) *author {
	a := &author{name: name, number: uint32(len(p.authors))}
	p.authors = append(p.authors, a)
	p.byName[name] = a
	p.heard++
	return a
}
