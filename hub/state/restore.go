package state

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// ErrDamaged means that an image is not the state that it says it is: rows are
// missing, doubled or of another time. Nothing may be concluded from it.
var ErrDamaged = errors.New("hub state is damaged")

// Restore replaces the whole state by an image. It checks every row against Meta
// (counts, digests, heads) before it touches anything; an error wraps ErrDamaged,
// or is one of package pact, and leaves the Machine as it was. Afterwards every
// register is for the next Changes to take, and nothing else is.
func (m *Machine) Restore(img *Image) error {
	return m.restore(img, nil, 0)
}

// RestoreFrom is Restore for an image that source holds, though not as pages.
// They are in the next Changes after an entry was applied.
func (m *Machine) RestoreFrom(img *Image, source Source, keptMax int) error {
	if err := m.restore(img, source, keptMax); err != nil {
		return err
	}
	m.taken = m.index
	return nil
}

func (m *Machine) restore(img *Image, source Source, keptMax int) error {
	l, err := Begin(img)
	if err != nil {
		return err
	}
	byOffset := func(a, b *Stored) int { return cmp.Compare(a.Offset, b.Offset) }
	registers := img.Registers
	if !slices.IsSortedFunc(registers, byOffset) { // of several pacts, or as version 1 kept them
		registers = slices.Clone(registers)
		slices.SortStableFunc(registers, byOffset)
	}
	for _, s := range registers {
		if err := l.register(s); err != nil {
			return err
		}
	}
	return m.take(l, img.History, source, keptMax)
}

// FullChanges returns an image as Changes to nothing, checked as Restore does.
func FullChanges(img *Image) (*Changes, error) {
	m := New()
	if err := m.Restore(img); err != nil {
		return nil, err
	}
	c := m.TakeDirty()
	c.Roster, c.Pacts, c.Authors = img.Roster, slices.Clone(img.Pacts), slices.Clone(img.Authors)
	sortRows(c.Pacts, c.Authors)
	return c, nil
}

// Loader builds a state from what a store holds. Rows come in this order: pacts,
// authors, then pages, ascending within a pact. It is for one goroutine.
type Loader struct {
	meta   Meta
	roster *Roster
	pacts  map[crdt.Pact]*pactState
	names  crdt.Names
	op     crdt.Op
}

// NewLoader begins to load the state that meta sums up.
func NewLoader(meta Meta) *Loader {
	return &Loader{meta: meta, roster: &Roster{}, pacts: make(map[crdt.Pact]*pactState, len(meta.Pacts))}
}

// Begin begins to load an image, from its roster, pacts and authors.
func Begin(img *Image) (*Loader, error) {
	l := NewLoader(img.Meta)
	l.Roster(img.Roster)
	for i := range img.Pacts {
		if err := l.Pact(&img.Pacts[i]); err != nil {
			return nil, err
		}
	}
	for i := range img.Authors {
		if err := l.Author(&img.Authors[i]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Roster adds the roster; nil is an empty one.
func (l *Loader) Roster(r *Roster) { l.roster = cmp.Or(r, l.roster) }

// Pact adds a pact.
func (l *Loader) Pact(row *PactRow) error {
	agreed, err := pact.Decode(row.Document)
	if err != nil {
		return fmt.Errorf("pact %s: %w", row.Pact, err)
	}
	if agreed.Name != row.Pact || l.pacts[row.Pact] != nil {
		return fmt.Errorf("%w: the row of pact %s holds %s", ErrDamaged, row.Pact, agreed.Name)
	}
	p := newPactState()
	p.agreed, p.document, p.lineage = agreed, row.Document, row.Lineage
	if row.HistoryMillis > 0 {
		p.history = newHistory(row.HistoryMillis, row.HistoryHead, agreed.Limits.HistoryDays)
	}
	for _, d := range l.meta.Pacts {
		if d.Pact == row.Pact {
			p.records.found.reserve(int(min(d.Registers.Count(), reserveMax)))
		}
	}
	l.pacts[row.Pact] = p
	return nil
}

// reserveMax bounds what a damaged count may make us allocate.
const reserveMax = 1 << 20

// Author adds an author.
func (l *Loader) Author(row *AuthorRow) error {
	p, ok := l.pacts[row.Pact]
	if !ok || p.byName[row.State.Author] != nil {
		return fmt.Errorf("%w: author %s of pact %s is there twice, or without the pact", ErrDamaged, row.State.Author, row.Pact)
	}
	a := p.newAuthor(row.State.Author)
	if row.State.Seen > 0 {
		p.answered(a)
	}
	a.seen, a.applied, a.heard = row.State.Seen, row.State.Applied, row.State.Heard
	a.refused = slices.Clone(row.Refused)
	p.sumSeen += uint64(a.seen) + uint64(a.heard)
	p.sumRefused += a.refusals()
	return nil
}

// register adds a register, which is behind every other of its pact.
func (l *Loader) register(s *Stored) error {
	p, ok := l.pacts[s.Register.Op.Key.Pact]
	if !ok {
		return fmt.Errorf("%w: register %s without a pact", ErrDamaged, s.Register.Op.Key)
	}
	op := &s.Register.Op
	if p.at(p.find(op.Key.Type, op.Key.Record), p.fields.id(string(op.Key.Field))) != 0 {
		return fmt.Errorf("%w: register %s is there twice", ErrDamaged, op.Key)
	}
	if s.Offset <= p.head {
		return fmt.Errorf("%w: offset %d is there twice", ErrDamaged, s.Offset)
	}
	e := entry{op: op.AppendCanonical(nil), offset: s.Offset, birth: s.Register.Birth}
	n, _ := p.feed.push(&e)
	return p.load(&s.Register, s.Offset, n)
}

// Digests returns the digest of each op in a page, for Page: the dear part of
// loading, which may be done for many pages at once.
func Digests(data []byte) ([]crdt.Digest, error) {
	var out []crdt.Digest
	for len(data) > 0 {
		e, rest, err := nextEntry(data)
		if err != nil {
			return nil, err
		}
		out = append(out, sha256.Sum256(e.op))
		data = rest
	}
	return out, nil
}

// Page adds a page, whose digests are those that Digests returned. It keeps none
// of data: it stays with the store.
func (l *Loader) Page(name PageName, data []byte, digests []crdt.Digest) error {
	p, ok := l.pacts[name.Pact]
	if !ok {
		return fmt.Errorf("%w: page %d without pact %s", ErrDamaged, name.First, name.Pact)
	}
	if len(digests) == 0 || name.First <= p.head {
		return fmt.Errorf("%w: page %d of pact %s is empty, or not behind the one before", ErrDamaged, name.First, name.Pact)
	}
	n := p.feed.place(&page{first: name.First, sealed: true, taken: true, stored: true})
	g := p.feed.pages[n]
	for i, digest := range digests {
		e, rest, err := nextEntry(data)
		if err == nil && (e.offset <= p.head || e.offset < g.first || !g.reach(e.offset)) {
			err = fmt.Errorf("%w: version %d of pact %s is not behind the one before", ErrDamaged, e.offset, name.Pact)
		}
		if err == nil {
			err = l.names.DecodeOp(&l.op, e.op)
		}
		if err != nil {
			return fmt.Errorf("version %d of page %d: %w: %w", i, name.First, ErrDamaged, err)
		}
		r := crdt.Register{Op: l.op, Digest: digest, Birth: e.birth}
		if err := p.load(&r, e.offset, n); err != nil {
			return err
		}
		data = rest
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: page %d of pact %s has more versions than digests", ErrDamaged, name.First, name.Pact)
	}
	return nil
}

// load puts a version, which is in a page, over what its register had.
func (p *pactState) load(r *crdt.Register, offset crdt.Offset, n uint32) error {
	if p.byName[r.Op.Author] == nil {
		return fmt.Errorf("%w: register %s is by author %s, who is not there", ErrDamaged, r.Op.Key, r.Op.Author)
	}
	rec := p.record(&r.Op.Key)
	field := p.fields.intern(string(r.Op.Key.Field))
	at := p.place(rec, field, p.at(rec, field))
	p.fill(at, r, offset, n)
	p.head = offset
	p.registers.Add(r.Digest)
	switch field := r.Op.Key.Field; {
	case field == crdt.FieldLife:
		life, err := crdt.DecodeLife(r.Op.Value)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		p.records.rows.at(rec).setDeleted(life.Deleted)
	case field.IsLost():
		return p.loadLost(rec, at, r)
	}
	return nil
}

// loadLost notes what a conflict record says. Open ones come in the order of
// opening, which is that of their offsets.
func (p *pactState) loadLost(rec, at uint32, r *crdt.Register) error {
	lost, err := crdt.DecodeLost(&r.Op)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	p.recorded(rec, at, &lost)
	return nil
}

// finish compares what was loaded with its summary.
func (l *Loader) finish() error {
	for _, d := range l.meta.Pacts {
		if p, ok := l.pacts[d.Pact]; !ok || p.sum() != d {
			return fmt.Errorf("%w: pact %s does not have the digest that was recorded for it", ErrDamaged, d.Pact)
		}
	}
	if len(l.pacts) != len(l.meta.Pacts) {
		return fmt.Errorf("%w: %d pacts, %d recorded", ErrDamaged, len(l.pacts), len(l.meta.Pacts))
	}
	for _, p := range l.pacts {
		if p.history != nil && (l.meta.ClockMillis < p.history.since || p.agreed.Limits.HistoryDays <= 0) {
			return fmt.Errorf("%w: pact %s keeps history since a time that was not yet", ErrDamaged, p.agreed.Name)
		}
	}
	if l.roster.sum() != l.meta.Roster || !l.roster.check() {
		return fmt.Errorf("%w: the roster does not have the digest that was recorded for it", ErrDamaged)
	}
	return nil
}

// Load replaces the whole state by a loaded one, whose pages source has. Errors
// are those of Restore. Afterwards nothing is dirty. Of pages that source has, at
// most keptMax bytes stay in memory.
func (m *Machine) Load(l *Loader, source Source, keptMax int) error {
	if err := m.take(l, nil, source, keptMax); err != nil {
		return err
	}
	m.taken = m.index
	return nil
}

// take replaces the state by a loaded one. archive is the history of it that source
// lacks, nil if that is none.
func (m *Machine) take(l *Loader, archive Archive, source Source, keptMax int) error {
	if err := l.finish(); err != nil {
		return err
	}
	m.steady.Lock()
	defer m.steady.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.hub, m.epoch, m.pacts = l.meta.Index, l.meta.Hub, l.meta.Epoch, l.pacts
	m.roster = l.roster
	m.auditIndex, m.auditPacts = l.meta.AuditIndex, l.meta.AuditPacts
	m.clock, m.keepers, m.archive, m.archived = l.meta.ClockMillis, 0, archive, false
	for _, p := range l.pacts {
		if p.history != nil {
			m.keepers++
		}
	}
	m.dirty, m.taken, m.torn = dirty{}, 0, nil
	m.generation++
	m.source, m.saved = source, l.meta.Index
	m.kept, m.keptBytes, m.keptMax = nil, 0, keptMax
	return nil
}
