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

	clock    int64   // greatest of the leaders' since a pact keeps history, in ms; 0 while none does
	keepers  int     // pacts that keep history
	now      int64   // clock of the entry that is applied, in ms
	grown    int     // bytes that history holds on to because of that entry
	archive  Archive // history of the image that this was restored from, while no source has it
	archived bool    // Changes have taken it

	dirty dirty
	taken uint64 // index of the newest Changes

	generation uint64  // counts Load and Restore
	source     Source  // of pages that were given away; nil: none ever is
	saved      uint64  // index of the checkpoint whose pages the given ones are
	kept       []*page // that the source has too, oldest first
	keptBytes  int
	keptMax    int

	steady sync.Mutex // held while pages may not be given away; before mu

	// Apply's alone.
	warm    map[versionName][]byte // canonical ops that this entry may need: see Prepare
	ahead   []spot                 // of the batch at hand
	near    uint32                 // keeps what spots reads for its own sake
	known   crdt.Names
	scratch version
	torn    error // see Result.Err
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
	for author, a := range p.byName {
		if author.Site == site && author.Agent == agent {
			out = append(out, a.state())
		}
	}
	slices.SortFunc(out, func(a, b AuthorState) int { return a.Author.Compare(b.Author) })
	return out
}

// Get returns the newest version of one register, nil if it was never written.
// An error says that its page could not be read.
func (m *Machine) Get(key crdt.Key) (*Stored, error) {
	for try := 0; ; try++ {
		s, err := m.get(key)
		if !errors.Is(err, ErrPageGone) || try == triesMax {
			return s, err
		}
	}
}

// triesMax bounds how often a reader asks anew for pages that are rewritten
// meanwhile: once or twice, unless the source has lost them.
const triesMax = 10

func (m *Machine) get(key crdt.Key) (*Stored, error) {
	m.mu.RLock()
	p, ok := m.pacts[key.Pact]
	var at uint32
	if ok {
		at = p.at(p.find(key.Type, key.Record), p.fields.id(string(key.Field)))
	}
	if at == 0 {
		m.mu.RUnlock()
		return nil, nil
	}
	row := *p.rows.at(at)
	g := p.feed.pages[row.page]
	first, data := g.first, g.data
	r := m.reader(key.Pact)
	m.mu.RUnlock()
	data, err := r.bytes(first, data)
	if err != nil {
		return nil, err
	}
	e, err := findEntry(data, row.offset)
	if err != nil {
		return nil, err
	}
	v := Version{Op: e.op, Offset: e.offset, Birth: e.birth}
	return v.Decode(nil)
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
