package state

import (
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// dirty is what changed since the changes taken before, apart from pages: feeds
// know theirs.
type dirty struct {
	pacts   map[crdt.Pact]struct{}
	authors []dirtyAuthor
	roster  bool
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

// Changes is what changed since the Changes before, at Meta.Index: what a store
// must do to what it has. No page is in two of the lists. It shares only immutable
// parts with the Machine, so it may be read while Apply goes on.
type Changes struct {
	Meta    Meta
	Roster  *Roster     // nil: as it was
	Pacts   []PactRow   // sorted
	Authors []AuthorRow // sorted
	Pages   []Page      // that are new, or have grown
	Thinned []*Thinned  // that lose their dead versions
	Emptied []PageName  // that are no more, if they ever were
	Kept    []Kept      // versions that join the history
	Cuts    []Cut       // sorted: what may leave it; of pacts that are not here, all may
	Archive Archive     // history that came with an image; nil is none

	generation uint64 // of the Machine's state
}

// Page is a page that is new, or has grown.
type Page struct {
	PageName
	Data []byte // message RegisterPage of storage.proto

	page *page
}

// Thinned is an old page whose dead versions shall go.
type Thinned struct {
	PageName

	page *page
	dead []uint64 // as of the Changes' index
	left int      // about how many are not
	thin thinned  // set by Rewrite
}

// Rewrite returns the page's new bytes for those that it has in the store. It
// must have been called before Persisted.
func (t *Thinned) Rewrite(data []byte) ([]byte, error) {
	var err error
	t.thin, err = thin(data, t.First, t.dead, t.left)
	return t.thin.data, err
}

// TakeDirty returns what changed since the last TakeDirty, Load or New, as of
// the applied index, and begins anew. Changes that cannot be made durable are
// lost: the caller must stop. Those that were are told to Persisted, in order.
func (m *Machine) TakeDirty() *Changes {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Changes{Meta: m.meta(), generation: m.generation}
	if m.dirty.roster {
		c.Roster = m.roster
	}
	for name := range m.dirty.pacts {
		c.Pacts = append(c.Pacts, m.pacts[name].row())
	}
	for _, d := range m.dirty.authors {
		c.Authors = append(c.Authors, d.author.row(d.pact))
		d.author.dirty = false
	}
	sortRows(c.Pacts, c.Authors)
	m.takeHistory(c)
	if m.index > m.taken { // else a store would take nothing, not even what is thin
		for _, name := range m.names() {
			m.pacts[name].feed.take(name, c)
		}
	}
	m.dirty, m.taken = dirty{}, m.index
	return c
}

// take adds the pages that changed to c.
func (f *feed) take(pact crdt.Pact, c *Changes) {
	for _, n := range f.fresh {
		if g := f.pages[n]; g != nil {
			g.fresh, g.taken = false, true
			c.Pages = append(c.Pages, Page{PageName{pact, g.first}, slices.Clip(g.data), g})
		}
	}
	var later []uint32
	for _, n := range f.thin {
		g := f.pages[n]
		switch {
		case g == nil:
		case g.stored:
			c.Thinned = append(c.Thinned, &Thinned{PageName: PageName{pact, g.first}, page: g, dead: slices.Clone(g.dead), left: g.live})
		default:
			later = append(later, n)
		}
	}
	for _, first := range f.emptied {
		c.Emptied = append(c.Emptied, PageName{pact, first})
	}
	f.fresh, f.thin, f.emptied = nil, later, nil
}

// Persisted tells that c is durable in the Machine's Source, which has its pages
// from now on: beyond what may be kept in memory they are given away.
func (m *Machine) Persisted(c *Changes) {
	m.steady.Lock()
	defer m.steady.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.generation != m.generation || m.source == nil {
		return // the state has been replaced since, or nobody has its pages
	}
	if c.Archive != nil {
		m.archive = nil
	}
	for _, p := range m.pacts {
		p.history.persisted(c.Meta.Index)
	}
	for _, t := range c.Thinned {
		m.keptBytes -= len(t.page.data)
		t.page.adopt(&t.thin)
		t.page.thin = false
		m.keptBytes += len(t.page.data)
	}
	for _, p := range c.Pages {
		if p.page.sealed && len(p.page.data) == len(p.Data) {
			p.page.stored = true
			m.keep(p.page)
		}
	}
	m.saved = c.Meta.Index
}

// KeepPages sets how many bytes of pages stay in memory though the Source has
// them, from the next Persisted on.
func (m *Machine) KeepPages(bytesMax int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keptMax = bytesMax
}

// keep remembers a page that the source has, and gives away the ones kept
// longest, until what is kept is within the bound.
func (m *Machine) keep(g *page) {
	m.kept = append(m.kept, g)
	m.keptBytes += len(g.data)
	i := 0
	for ; m.keptBytes > m.keptMax && i < len(m.kept); i++ {
		m.keptBytes -= len(m.kept[i].data)
		m.kept[i].data = nil
	}
	m.kept = slices.Delete(m.kept, 0, i)
}

func (m *Machine) meta() Meta {
	return Meta{
		Index: m.index, Hub: m.hub, Epoch: m.epoch, Pacts: m.sums(),
		AuditIndex: m.auditIndex, AuditPacts: m.auditPacts, Roster: m.roster.sum(), ClockMillis: m.clock,
	}
}

func (p *pactState) row() PactRow {
	row := PactRow{Pact: p.agreed.Name, Document: p.document, Lineage: slices.Clip(p.lineage)}
	if p.history != nil {
		row.HistoryMillis, row.HistoryHead = p.history.since, p.history.head
	}
	return row
}
