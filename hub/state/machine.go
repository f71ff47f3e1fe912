// Package state is the hub's merged state as a pure machine: Apply folds the
// log into registers, feeds and author memories. It reads no clock, makes no
// randomness, does no I/O, and depends on no map's order, so that every replica
// that applied the same entries holds the same bytes.
package state

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/pact"
)

// PactsMax bounds how many pacts one hub holds, so that an Audit fits an entry.
const PactsMax = 1024

// Errors of reading, to be matched with errors.Is.
var (
	ErrPactUnknown = errors.New("pact is unknown")
	ErrEpoch       = errors.New("cursor is of another epoch")
	ErrCursor      = errors.New("cursor is beyond the head")
)

// Machine is the state. One goroutine calls Apply, TakeDirty and Restore; every
// other method may be called by any goroutine at any time and waits at most for
// the entry that is being applied. The zero Machine is not usable: call New.
type Machine struct {
	mu    sync.RWMutex // guards everything below against readers
	index uint64
	hub   command.HubID
	epoch crdt.Epoch
	pacts map[crdt.Pact]*pactState

	roster *Roster // never nil

	auditIndex uint64
	auditPacts []command.PactDigest

	dirty dirty
}

// New returns the empty state, at index 0.
func New() *Machine { return &Machine{pacts: map[crdt.Pact]*pactState{}, roster: &Roster{}} }

// Index returns the index of the newest applied entry; 0 before the first.
func (m *Machine) Index() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index
}

// Hub returns the hub's id and current epoch; zero before Found was applied.
func (m *Machine) Hub() (command.HubID, crdt.Epoch) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.hub, m.epoch
}

// Pacts returns the names of all pacts, sorted.
func (m *Machine) Pacts() []crdt.Pact {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.names()
}

func (m *Machine) names() []crdt.Pact { return slices.Sorted(maps.Keys(m.pacts)) }

// PactInfo is where one pact stands. Everything in it is immutable.
type PactInfo struct {
	Pact     *pact.Pact // in force
	Document []byte     // its canonical bytes
	Head     crdt.Offset
	Epoch    crdt.Epoch
	Lineage  crdt.Lineage
	Digest   command.PactDigest
}

// Pact returns where the pact of that name stands.
func (m *Machine) Pact(name crdt.Pact) (PactInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.pacts[name]
	if !ok {
		return PactInfo{}, ErrPactUnknown
	}
	return PactInfo{
		Pact: p.agreed, Document: p.document, Head: p.head, Epoch: m.epoch,
		Lineage: slices.Clip(p.lineage), Digest: p.sum(),
	}, nil
}

// Authors returns every incarnation of one agent that the pact knows, oldest
// first.
func (m *Machine) Authors(name crdt.Pact, site crdt.Site, agent crdt.AgentName) []AuthorState {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.pacts[name]
	if !ok {
		return nil
	}
	var out []AuthorState
	for author, a := range p.authors {
		if author.Site == site && author.Agent == agent {
			out = append(out, a.state())
		}
	}
	slices.SortFunc(out, func(a, b AuthorState) int { return a.Author.Compare(b.Author) })
	return out
}

// Get returns the newest version of one register, nil if it was never written.
func (m *Machine) Get(key crdt.Key) *Stored {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.pacts[key.Pact]
	if !ok {
		return nil
	}
	rec, ok := p.records[recordKey{key.Type, key.Record}]
	if !ok {
		return nil
	}
	return rec.get(key.Field)
}

// Digests returns the applied index and the digest of every pact at it, sorted.
func (m *Machine) Digests() (index uint64, pacts []command.PactDigest) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index, m.sums()
}

// LastAudit returns what the newest Audit made this replica remember: the
// content of the leader's next Audit. The index is 0 before the first one.
func (m *Machine) LastAudit() (index uint64, pacts []command.PactDigest) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.auditIndex, m.auditPacts
}

func (m *Machine) sums() []command.PactDigest {
	out := make([]command.PactDigest, 0, len(m.pacts))
	for _, name := range m.names() {
		out = append(out, m.pacts[name].sum())
	}
	return out
}

// Slice is one piece of a feed.
type Slice struct {
	Entries []*Stored // ascending by offset; shared and immutable
	// Cursor is where to resume: everything up to here has been read.
	Cursor      crdt.Position
	Head        crdt.Offset
	PactVersion uint32
	Lineage     crdt.Lineage // immutable; another slice when it has changed
}

// Feed reads the newest versions behind a cursor, at most entriesMax of them
// and at most bytesMax of values (one entry may exceed it alone). Offset 0 reads
// from the start in any epoch; any other cursor must be of the current epoch and
// not beyond the head, else ErrEpoch or ErrCursor. What was overwritten is not
// read: no current version is skipped, and the cost is what is returned.
func (m *Machine) Feed(name crdt.Pact, after crdt.Position, entriesMax, bytesMax int) (Slice, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.pacts[name]
	switch {
	case !ok:
		return Slice{}, ErrPactUnknown
	case after.Offset != 0 && after.Epoch != m.epoch:
		return Slice{}, ErrEpoch
	case after.Offset > p.head:
		return Slice{}, ErrCursor
	}
	entries, cursor := p.feed.read(after.Offset, p.head, entriesMax, bytesMax)
	return Slice{
		Entries: entries, Cursor: crdt.Position{Epoch: m.epoch, Offset: cursor},
		Head: p.head, PactVersion: p.agreed.Version, Lineage: slices.Clip(p.lineage),
	}, nil
}
