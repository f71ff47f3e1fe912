package state

import (
	"cmp"
	"crypto/sha256"
	"math"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// AuthorState is how far one author of one pact is known.
type AuthorState struct {
	Author  crdt.Author
	Seen    crdt.Seq // newest that was answered for good
	Applied crdt.Seq // newest that was applied
	Heard   crdt.Seq // newest among the ops that members offered
}

// RefusedRun is a run of seqs that were refused for one reason.
type RefusedRun struct {
	From, To crdt.Seq // inclusive
	Reason   Reason
}

// AuthorRow is everything known of one author of one pact.
type AuthorRow struct {
	Pact    crdt.Pact
	State   AuthorState
	Refused []RefusedRun // ascending
}

// PactRow is a pact without its registers and authors.
type PactRow struct {
	Pact     crdt.Pact
	Document []byte // canonical bytes of package pact
	Lineage  crdt.Lineage
	// Where the pact's history begins: a leader's clock, and the newest offset then;
	// zero if it keeps none.
	HistoryMillis int64
	HistoryHead   crdt.Offset
}

// Meta is the summary of a state. It alone says which rows belong to it.
type Meta struct {
	// Index of the newest entry in the state; 0 before the first.
	Index uint64
	Hub   command.HubID // zero before Found
	Epoch crdt.Epoch
	// Pacts sums up every pact, sorted.
	Pacts []command.PactDigest
	// AuditIndex and AuditPacts are what the newest Audit made us remember.
	AuditIndex uint64
	AuditPacts []command.PactDigest
	// Roster is the digest of the roster; zero while that is empty.
	Roster [sha256.Size]byte
	// ClockMillis is the greatest clock of a leader in the log since some pact keeps
	// history; 0 while none does.
	ClockMillis int64
}

// Image is a whole state, decoded: for states of moderate size. Treat it as
// read-only.
type Image struct {
	Meta    Meta
	Roster  *Roster // nil where it is empty
	Pacts   []PactRow
	Authors []AuthorRow
	// Registers, each once. A Machine gives them in ascending order of offset
	// within a pact; Restore takes them in any order.
	Registers []*Stored
	// History is what pacts keep of old versions; nil is nothing.
	History Archive
}

// Image returns the whole state, of a Machine that has all of it in memory. Where
// a Source has pages, use Freeze: Image panics if one cannot be read.
func (m *Machine) Image() *Image {
	f := m.Freeze()
	defer f.Close()
	img, err := f.Image()
	if err != nil {
		panic(err)
	}
	return img
}

// Frozen is a state as it was at one index. It holds what it needs of the
// Machine, which goes on, and reads the pages that were given away as they then
// were. It is for one goroutine, which must Close it.
type Frozen struct {
	Meta    Meta
	Roster  *Roster     // nil where it is empty
	Pacts   []PactRow   // sorted
	Authors []AuthorRow // sorted
	feeds   []frozenFeed
	history []Kept // that the source lacks
	archive Archive
	source  Source // nil: none
	saved   uint64 // index of the checkpoint that the source shall read
	release func()
}

type frozenFeed struct {
	reader reader
	views  []view
}

// Freeze returns the state as it is. Apply waits meanwhile, some 100 ns a page.
func (m *Machine) Freeze() *Frozen {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f := &Frozen{Meta: m.meta(), release: func() {}}
	if !m.roster.isEmpty() {
		f.Roster = m.roster
	}
	if m.source != nil {
		f.source, f.saved, f.release = m.source, m.saved, m.source.Hold(m.saved)
	}
	f.archive = m.archive
	for _, name := range m.names() {
		p := m.pacts[name]
		f.Pacts = append(f.Pacts, p.row())
		f.feeds = append(f.feeds, frozenFeed{
			reader: m.reader(name), views: p.feed.views(0, math.MaxInt),
		})
		f.history = append(f.history, p.history.unsaved(name)...)
		for _, a := range p.byName {
			f.Authors = append(f.Authors, a.row(name))
		}
	}
	sortRows(f.Pacts, f.Authors)
	return f
}

// Close releases the pages.
func (f *Frozen) Close() { f.release() }

// Registers calls visit with each register's message (StoredRegister of
// storage.proto), pact by pact in ascending order of offset. The message is
// valid until visit returns.
func (f *Frozen) Registers(visit func(message []byte) error) error {
	for i := range f.feeds {
		err := f.feeds[i].each(func(e *entry) error { return visit(e.message) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *frozenFeed) each(visit func(e *entry) error) error {
	for i := range f.views {
		_, err := f.reader.each(&f.views[i], 0, func(e *entry) (bool, error) { return true, visit(e) })
		if err != nil {
			return err
		}
	}
	return nil
}

// Image decodes f.
func (f *Frozen) Image() (*Image, error) {
	img := &Image{Meta: f.Meta, Roster: f.Roster, Pacts: f.Pacts, Authors: f.Authors}
	var names crdt.Names
	for i := range f.feeds {
		err := f.feeds[i].each(func(e *entry) error {
			v := Version{Op: e.op, Offset: e.offset, Birth: e.birth}
			s, err := v.Decode(&names)
			img.Registers = append(img.Registers, s)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if f.source == nil { // then it is in memory, or in the archive
		img.History = f.unsourced()
		return img, nil
	}
	var history messages
	err := f.History(func(message []byte) error {
		history = append(history, slices.Clone(message))
		return nil
	})
	if len(history) > 0 {
		img.History = history
	}
	return img, err
}

// sortRows orders what comes out of maps.
func sortRows(pacts []PactRow, authors []AuthorRow) {
	slices.SortFunc(pacts, func(a, b PactRow) int { return cmp.Compare(a.Pact, b.Pact) })
	slices.SortFunc(authors, func(a, b AuthorRow) int {
		if c := cmp.Compare(a.Pact, b.Pact); c != 0 {
			return c
		}
		return a.State.Author.Compare(b.State.Author)
	})
}
