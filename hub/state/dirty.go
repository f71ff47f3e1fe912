package state

import (
	"cmp"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// dirty is what changed since the image before. Registers are a log of pointers
// and not a map: that is the cheapest thing that Apply can do for a checkpoint,
// and the writer sorts and drops the doubles off Apply's path.
type dirty struct {
	registers []*Stored
	pacts     map[crdt.Pact]struct{}
	authors   []dirtyAuthor
	roster    bool
}

type dirtyAuthor struct {
	pact   crdt.Pact
	author *author
}

func (d *dirty) pact(name crdt.Pact) {
	if d.pacts == nil {
		d.pacts = map[crdt.Pact]struct{}{}
	}
	d.pacts[name] = struct{}{}
}

func (d *dirty) author(p *pactState, a *author) {
	if !a.dirty {
		a.dirty = true
		d.authors = append(d.authors, dirtyAuthor{p.agreed.Name, a})
	}
}

// TakeDirty returns what changed since the last TakeDirty, Restore or New, as of
// the applied index, and begins anew. It takes time for each pact and each
// author that was active, none for each register. An image that cannot be made
// durable is lost: the caller must stop.
func (m *Machine) TakeDirty() *Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	img := &Image{Meta: m.meta(), Registers: m.dirty.registers}
	if m.dirty.roster {
		img.Roster = m.roster
	}
	for name := range m.dirty.pacts {
		img.Pacts = append(img.Pacts, m.pacts[name].row())
	}
	for _, d := range m.dirty.authors {
		img.Authors = append(img.Authors, d.author.row(d.pact))
		d.author.dirty = false
	}
	img.sort()
	m.dirty = dirty{}
	return img
}

// Image returns the whole state. Apply waits while a pointer is copied for each
// register; readers don't.
func (m *Machine) Image() *Image {
	m.mu.RLock()
	defer m.mu.RUnlock()
	img := &Image{Meta: m.meta()}
	if !m.roster.isEmpty() {
		img.Roster = m.roster
	}
	for _, name := range m.names() {
		p := m.pacts[name]
		img.Pacts = append(img.Pacts, p.row())
		img.Registers = append(img.Registers, p.feed.all()...)
		for _, a := range p.authors {
			img.Authors = append(img.Authors, a.row(name))
		}
	}
	img.sort()
	return img
}

func (m *Machine) meta() Meta {
	return Meta{
		Index: m.index, Hub: m.hub, Epoch: m.epoch, Pacts: m.sums(),
		AuditIndex: m.auditIndex, AuditPacts: m.auditPacts, Roster: m.roster.sum(),
	}
}

func (p *pactState) row() PactRow {
	return PactRow{Pact: p.agreed.Name, Document: p.document, Lineage: slices.Clip(p.lineage)}
}

// sort orders pacts and authors, which come out of maps.
func (img *Image) sort() {
	slices.SortFunc(img.Pacts, func(a, b PactRow) int { return cmp.Compare(a.Pact, b.Pact) })
	slices.SortFunc(img.Authors, func(a, b AuthorRow) int {
		if c := cmp.Compare(a.Pact, b.Pact); c != 0 {
			return c
		}
		return a.State.Author.Compare(b.State.Author)
	})
}
