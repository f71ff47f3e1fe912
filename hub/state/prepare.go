package state

import (
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// Prepare reads what Apply may need of pages that were given away, so that Apply
// itself does no I/O: the versions that may become conflict records, and conflict
// records that may be closed. The goroutine that applies calls it before each
// Apply of the same entry, if the Machine has a Source, and calls done after it: no
// page is given away in between. An error says that a page could not be read; the
// entry must not be applied, and done is nil.
//
// It looks at the state as it is before the entry. What the entry's own ops put
// is in memory, so they make nothing else needed.
func (m *Machine) Prepare(e command.Entry) (done func(), err error) {
	m.steady.Lock()
	clear(m.warm)
	for _, c := range e.Commands {
		if err := m.prepareCommand(c); err != nil {
			m.steady.Unlock()
			return nil, err
		}
	}
	return m.steady.Unlock, nil
}

func (m *Machine) prepareCommand(c command.Command) error {
	if m.source == nil {
		return nil
	}
	switch c := c.(type) {
	case *command.Publish:
		p, ok := m.pacts[c.Pact]
		if !ok {
			return nil
		}
		for i, at := range m.spots(p, c.Ops) {
			op := &c.Ops[i]
			if p.knows(op.ID()) {
				continue // its answer is in the index
			}
			if err := m.prepare(p, op, at, crdt.Digest{}); err != nil {
				return fmt.Errorf("read what op %s meets: %w", op.ID(), err)
			}
		}
	case *command.Offer:
		p, ok := m.pacts[c.Pact]
		for i := 0; ok && i < len(c.Registers); i++ {
			op := &c.Registers[i].Op
			if err := m.prepare(p, op, p.spot(&op.Key), op.Digest()); err != nil {
				return fmt.Errorf("read what register %s meets: %w", op.Key, err)
			}
		}
	}
	return nil
}

// ErrTorn means that an entry was applied in part, because a version that it meets
// was not read beforehand: a fault of this program, not of the data. The state on
// disk is whole; the one in memory must not be used any more.
var ErrTorn = errors.New("an entry met a version that is not in memory")

// unread is what whole panics with, and Apply recovers.
type unread struct{ err error }

// prepare fetches what op may meet where it leads. offered is its digest, if it is offered: a
// register that stands here already meets nothing.
func (m *Machine) prepare(p *pactState, op *crdt.Op, on spot, offered crdt.Digest) error {
	if on.rec == 0 {
		return nil
	}
	record := p.records.rows.at(on.rec)
	var errs []error
	if on.at != 0 {
		row := p.rows.at(on.at)
		seen := row.author&rowPred == 0 && p.id(row) == op.Base.Pred && offered == crdt.Digest{}
		if !seen && row.digest != offered {
			errs = append(errs, m.fetch(p, on.at))
		}
	}
	for _, c := range p.opened(on.rec) {
		if c.field == on.field && c.loser == op.Base.Pred {
			errs = append(errs, m.fetch(p, c.row))
		}
	}
	switch {
	case op.Key.Field == crdt.FieldLife:
		for _, ref := range p.records.registers(record) {
			errs = append(errs, m.fetch(p, ref.row))
		}
	case record.deleted():
		errs = append(errs, m.fetch(p, p.at(on.rec, p.fields.id(string(crdt.FieldLife)))))
	}
	return errors.Join(errs...)
}

// fetch brings the page of a row into memory, until the next Prepare.
func (m *Machine) fetch(p *pactState, at uint32) error {
	g := p.feed.pages[p.rows.at(at).page]
	if g.data != nil {
		return nil
	}
	name := PageName{p.agreed.Name, g.first}
	if _, ok := m.warm[name]; ok {
		return nil
	}
	data, err := m.source.Page(name, m.saved)
	if errors.Is(err, ErrPageGone) { // the page is in the state's newest checkpoint
		err = fmt.Errorf("%w: page %d of pact %s: %w", ErrDamaged, name.First, name.Pact, err)
	}
	if err != nil {
		return err
	}
	if m.warm == nil {
		m.warm = map[PageName][]byte{}
	}
	m.warm[name] = data
	return nil
}
