package state_test

import (
	"cmp"
	"slices"
	"sync"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// disk is a store in memory: what its checkpoints were, page by page.
type disk struct {
	mu      sync.Mutex
	shared  bool // others read while Apply runs
	shut    bool // nothing may be read
	meta    state.Meta
	pacts   map[crdt.Pact]state.PactRow
	authors map[crdt.Author]state.AuthorRow
	pages   map[state.PageName][]written
	history []written        // messages, never removed
	taken   []*state.Changes // not yet written
	reads   int              // of pages
}

type written struct {
	index uint64
	data  []byte // nil: removed
}

func newDisk() *disk {
	return &disk{
		pacts: map[crdt.Pact]state.PactRow{}, authors: map[crdt.Author]state.AuthorRow{},
		pages: map[state.PageName][]written{},
	}
}

// newDiskLog is a log whose Machine gives every page away as soon as it can.
func newDiskLog(t tb) *log {
	t.Helper()
	l := newLog(t)
	l.toDisk(t)
	return l
}

// toDisk gives away what the log's Machine holds.
func (l *log) toDisk(t tb) {
	t.Helper()
	l.disk = newDisk()
	l.disk.checkpoint(t, l.m)
	l.m = l.disk.load(t)
}

// checkpoint takes what is dirty, and gives it away.
func (d *disk) checkpoint(t tb, m *state.Machine) {
	t.Helper()
	d.take(m)
	d.settle(t, m)
}

// take takes what is dirty; the Machine goes on.
func (d *disk) take(m *state.Machine) { d.taken = append(d.taken, m.TakeDirty()) }

// settle gives away what was taken.
func (d *disk) settle(t tb, m *state.Machine) {
	t.Helper()
	for _, c := range d.taken {
		d.write(t, c)
		m.Persisted(c)
	}
	d.taken = nil
}

func (d *disk) write(t tb, c *state.Changes) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta = c.Meta
	for _, r := range c.Pacts {
		d.pacts[r.Pact] = r
	}
	for _, r := range c.Authors {
		d.authors[r.State.Author] = r
	}
	put := func(name state.PageName, data []byte) {
		d.pages[name] = append(d.pages[name], written{c.Meta.Index, slices.Clone(data)})
	}
	for _, p := range c.Pages {
		put(p.PageName, p.Data)
	}
	for _, p := range c.Thinned {
		data, err := p.Rewrite(d.at(p.PageName, c.Meta.Index-1))
		if err != nil {
			t.Fatal(err)
		}
		put(p.PageName, data)
	}
	for _, name := range c.Emptied {
		put(name, nil)
	}
	keep := func(message []byte) error {
		d.history = append(d.history, written{c.Meta.Index, slices.Clone(message)})
		return nil
	}
	if c.Archive != nil {
		check(t, c.Archive.Each(keep))
	}
	for i := range c.Kept {
		check(t, c.Kept[i].Each(keep))
	}
}

// at returns a page as it was at a checkpoint.
func (d *disk) at(name state.PageName, index uint64) (data []byte) {
	for _, w := range d.pages[name] {
		if w.index <= index {
			data = w.data
		}
	}
	return data
}

func (d *disk) Page(name state.PageName, index uint64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	data := d.at(name, index)
	switch {
	case d.shut:
		panic("a page is read while Apply runs")
	case data == nil:
		return nil, state.ErrPageGone
	}
	return data, nil
}

func (*disk) Hold(uint64) func() { return func() {} }

func (d *disk) Kept(key *crdt.Key, from crdt.Offset, index uint64, visit func([]byte) (bool, error)) error {
	var op crdt.Op
	more := true
	return d.AllKept(index, func(message []byte) error {
		v, err := state.ReadKept(message)
		if err == nil {
			err = v.Op(&op, new(crdt.Names))
		}
		if err == nil && more && v.Offset >= from && op.Key == *key {
			more, err = visit(message)
		}
		return err
	})
}

func (d *disk) AllKept(index uint64, visit func([]byte) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.history {
		if w.index <= index {
			if err := visit(w.data); err != nil {
				return err
			}
		}
	}
	return nil
}

// load makes a Machine of the newest checkpoint.
func (d *disk) load(t tb) *state.Machine {
	t.Helper()
	l := state.NewLoader(d.meta)
	for _, r := range d.pacts {
		check(t, l.Pact(&r))
	}
	for _, r := range d.authors {
		check(t, l.Author(&r))
	}
	var names []state.PageName
	for name := range d.pages {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b state.PageName) int { return cmp.Compare(a.First, b.First) })
	for _, name := range names {
		if data := d.at(name, d.meta.Index); data != nil {
			digests, err := state.Digests(data)
			check(t, err)
			check(t, l.Page(name, data, digests))
		}
	}
	m := state.New()
	check(t, m.Load(l, d, 0))
	return m
}

func check(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
