package state

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

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
// is in memory, so they make nothing else needed. One page is in memory at a time;
// the versions that are needed stay until done: see DESIGN for how many that may be.
func (m *Machine) Prepare(e command.Entry) (done func(), err error) {
	m.steady.Lock()
	w := wanted{}
	learned := false
	for _, c := range e.Commands {
		m.prepareCommand(c, w, learned)
		switch c.(type) {
		case *command.Offer, *command.Fork:
			learned = true
		}
	}
	if err := m.read(w); err != nil {
		m.cool()
		return nil, err
	}
	return m.cool, nil
}

func (m *Machine) cool() {
	m.warm = nil
	m.steady.Unlock()
}

// wanted is the versions that an entry may meet, by the page that the source has.
type wanted map[PageName][]crdt.Offset

// add asks for the version in a row.
func (w wanted) add(p *pactState, at uint32) {
	row := p.rows.at(at)
	if g := p.feed.pages[row.page]; g.data == nil {
		name := PageName{p.agreed.Name, g.first}
		w[name] = append(w[name], row.offset)
	}
}

// prepareCommand adds what a command may meet. learned: commands before it in the
// entry may change what hubs and members are known to have seen.
func (m *Machine) prepareCommand(c command.Command, w wanted, learned bool) {
	if m.source == nil {
		return
	}
	switch c := c.(type) {
	case *command.Publish:
		p, ok := m.pacts[c.Pact]
		if !ok {
			return
		}
		for i, at := range m.spots(p, c.Ops) {
			op := &c.Ops[i]
			if p.knows(op.ID()) {
				continue // its answer is in the index
			}
			w.prepare(p, op, at, crdt.Digest{}, learned)
		}
	case *command.Offer:
		p, ok := m.pacts[c.Pact]
		for i := 0; ok && i < len(c.Registers); i++ {
			op := &c.Registers[i].Op
			w.prepare(p, op, p.spot(&op.Key), op.Digest(), learned || len(c.Lineage) > 0)
		}
	}
}

// ErrTorn means that an entry was applied in part, because a version that it meets
// was not read beforehand: a fault of this program, not of the data. The state on
// disk is whole; the one in memory must not be used any more.
var ErrTorn = errors.New("an entry met a version that is not in memory")

// unread is what whole panics with, and Apply recovers.
type unread struct{ err error }

// prepare adds what op may meet where it leads. offered is its digest, if it is offered: a
// register that stands here already meets nothing.
func (w wanted) prepare(p *pactState, op *crdt.Op, on spot, offered crdt.Digest, learned bool) {
	if on.rec == 0 {
		return
	}
	record := p.records.rows.at(on.rec)
	if on.at != 0 {
		row := p.rows.at(on.at)
		seen := row.author&rowPred == 0 && p.id(row) == op.Base.Pred && offered == crdt.Digest{}
		if !seen && row.digest != offered {
			w.add(p, on.at)
		}
	}
	for _, c := range p.opened(on.rec) {
		if c.field == on.field && c.loser == op.Base.Pred {
			w.add(p, c.row)
		}
	}
	switch {
	case op.Key.Field == crdt.FieldLife:
		w.buried(p, op, record, learned)
	case record.deleted():
		w.add(p, p.at(on.rec, p.fields.id(string(crdt.FieldLife))))
	}
}

// buried adds what op, on ~life, may bury: what its delete has not seen as far as is
// known before the entry, or every edit if that may change.
func (w wanted) buried(p *pactState, op *crdt.Op, record *record, learned bool) {
	life, err := crdt.DecodeLife(op.Value)
	switch {
	case err != nil, !life.Deleted: // refused, or buries nothing
	case learned:
		for _, ref := range p.records.registers(record) {
			if !crdt.Field(p.fields.text(ref.field)).Reserved() {
				w.add(p, ref.row)
			}
		}
	default:
		for _, at := range p.unseen(record, &life) {
			w.add(p, at)
		}
	}
}

// versionName names one version of a hub.
type versionName struct {
	pact   crdt.Pact
	offset crdt.Offset
}

// read brings the versions into memory, until done.
func (m *Machine) read(w wanted) error {
	byPlace := func(a, b PageName) int { return cmp.Or(cmp.Compare(a.Pact, b.Pact), cmp.Compare(a.First, b.First)) }
	for _, name := range slices.SortedFunc(maps.Keys(w), byPlace) {
		data, err := m.source.Page(name, m.saved)
		if errors.Is(err, ErrPageGone) { // the page is in the state's newest checkpoint
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		for _, offset := range w[name] {
			if err != nil {
				break
			}
			err = m.heat(versionName{name.Pact, offset}, data)
		}
		if err != nil {
			return fmt.Errorf("read what an entry meets: page %d of pact %s: %w", name.First, name.Pact, err)
		}
	}
	return nil
}

// heat keeps a version of a page, and nothing else of it.
func (m *Machine) heat(name versionName, page []byte) error {
	if _, ok := m.warm[name]; ok {
		return nil
	}
	e, err := findEntry(page, name.offset)
	if err != nil {
		return err
	}
	if m.warm == nil {
		m.warm = map[versionName][]byte{}
	}
	m.warm[name] = slices.Clone(e.op)
	return nil
}
