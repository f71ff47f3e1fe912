package state

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// ErrDamaged means that an image is not the state that it says it is: rows are
// missing, doubled or of another time. Nothing may be concluded from it.
var ErrDamaged = errors.New("hub state is damaged")

// Restore replaces the whole state by a full image, of which it keeps the
// registers. It checks every row against Meta (counts, digests, heads) before it
// touches anything; an error wraps ErrDamaged, or is one of package pact, and
// leaves the Machine as it was. Afterwards nothing is dirty: the caller has the
// image on disk already, or puts it there.
func (m *Machine) Restore(img *Image) error {
	pacts, err := build(img)
	if err != nil {
		return err
	}
	for _, d := range img.Meta.Pacts {
		if p, ok := pacts[d.Pact]; !ok || p.sum() != d {
			return fmt.Errorf("%w: pact %s does not have the digest that was recorded for it", ErrDamaged, d.Pact)
		}
	}
	if len(pacts) != len(img.Meta.Pacts) {
		return fmt.Errorf("%w: %d pacts, %d recorded", ErrDamaged, len(pacts), len(img.Meta.Pacts))
	}
	roster := cmp.Or(img.Roster, &Roster{})
	if roster.sum() != img.Meta.Roster || !roster.check() {
		return fmt.Errorf("%w: the roster does not have the digest that was recorded for it", ErrDamaged)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.hub, m.epoch, m.pacts = img.Meta.Index, img.Meta.Hub, img.Meta.Epoch, pacts
	m.roster = roster
	m.auditIndex, m.auditPacts = img.Meta.AuditIndex, img.Meta.AuditPacts
	m.dirty = dirty{}
	return nil
}

func build(img *Image) (map[crdt.Pact]*pactState, error) {
	pacts := make(map[crdt.Pact]*pactState, len(img.Pacts))
	for _, row := range img.Pacts {
		agreed, err := pact.Decode(row.Document)
		if err != nil {
			return nil, fmt.Errorf("pact %s: %w", row.Pact, err)
		}
		if agreed.Name != row.Pact || pacts[row.Pact] != nil {
			return nil, fmt.Errorf("%w: the row of pact %s holds %s", ErrDamaged, row.Pact, agreed.Name)
		}
		p := newPactState()
		p.agreed, p.document, p.lineage = agreed, row.Document, row.Lineage
		pacts[row.Pact] = p
	}
	for i := range img.Authors {
		row := &img.Authors[i]
		p, ok := pacts[row.Pact]
		if !ok || p.authors[row.State.Author] != nil {
			return nil, fmt.Errorf("%w: author %s of pact %s is there twice, or without the pact", ErrDamaged, row.State.Author, row.Pact)
		}
		p.load(row)
	}
	for _, s := range img.Registers {
		p, ok := pacts[s.Register.Op.Key.Pact]
		if !ok {
			return nil, fmt.Errorf("%w: register %s without a pact", ErrDamaged, s.Register.Op.Key)
		}
		if err := p.loadRegister(s); err != nil {
			return nil, err
		}
	}
	for name, p := range pacts {
		if err := p.finish(); err != nil {
			return nil, fmt.Errorf("pact %s: %w", name, err)
		}
	}
	return pacts, nil
}

func (p *pactState) load(row *AuthorRow) {
	a := &author{
		name: row.State.Author, seen: row.State.Seen, applied: row.State.Applied, heard: row.State.Heard,
		refused: slices.Clone(row.Refused),
	}
	p.authors[a.name] = a
	p.sumSeen += uint64(a.seen) + uint64(a.heard)
	p.sumRefused += a.refusals()
}

func (p *pactState) loadRegister(s *Stored) error {
	rec := p.record(&s.Register.Op)
	if rec.put(s) != nil {
		return fmt.Errorf("%w: register %s is there twice", ErrDamaged, s.Register.Op.Key)
	}
	p.feed.push(s)
	p.registers.Add(s.Register.Digest)
	switch field := s.Register.Op.Key.Field; {
	case field == crdt.FieldLife:
		life, err := crdt.DecodeLife(s.Register.Op.Value)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		rec.deleted = life.Deleted
	case field.IsLost():
		lost, err := crdt.DecodeLost(&s.Register.Op)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if lost.State == crdt.LostOpen {
			rec.open(conflict{name: field, field: lost.Loser.Key.Field, loser: lost.Loser.ID(), pred: lost.Loser.Base.Pred})
		}
	}
	return nil
}

// finish orders what came in the order of keys. Conflicts are kept in the order
// of opening, which is that of their offsets.
func (p *pactState) finish() error {
	byOffset := func(a, b slot) int { return cmp.Compare(a.offset, b.offset) }
	if !slices.IsSortedFunc(p.feed.slots, byOffset) {
		slices.SortFunc(p.feed.slots, byOffset)
	}
	for i, s := range p.feed.slots {
		if s.offset == 0 || i > 0 && s.offset == p.feed.slots[i-1].offset {
			return fmt.Errorf("%w: offset %d is there twice", ErrDamaged, s.offset)
		}
	}
	if n := len(p.feed.slots); n > 0 {
		p.head = p.feed.slots[n-1].offset
	}
	for _, rec := range p.records {
		slices.SortFunc(rec.conflicts, func(a, b conflict) int {
			return cmp.Compare(rec.get(a.name).Offset, rec.get(b.name).Offset)
		})
	}
	return nil
}
