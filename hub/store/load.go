package store

import (
	"bytes"
	"fmt"
	"io"
	"runtime"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// keptMax bounds the bytes of pages that a Machine keeps though they are stored:
// subscribers that follow closely read what was written lately.
const keptMax = 32 << 20

// LoadInto makes m the state of the newest checkpoint; the empty state before the
// first. Its Source is source, which asks this store. Every row is checked, and all
// of them are compared with the digests in the meta row. An error leaves m as it
// was.
func (s *Store) LoadInto(m *state.Machine, source state.Source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return ErrClosed
	}
	if err := s.loadInto(m, source); err != nil {
		return fmt.Errorf("hub store: load: %w", err)
	}
	return nil
}

func (s *Store) loadInto(m *state.Machine, source state.Source) error {
	if s.ts == 0 {
		return m.Load(state.NewLoader(state.Meta{}), source, keptMax)
	}
	meta, err := newestMeta(s.db)
	if err != nil {
		return err
	}
	img, err := loadRows(s.db, s.ts, &meta.Meta)
	if err != nil {
		return err
	}
	if meta.old {
		return m.RestoreFrom(img, source, keptMax)
	}
	l, err := state.Begin(img)
	if err != nil {
		return err
	}
	found, err := loadPages(s.db, s.ts, l)
	if err == nil && found.sum != meta.pages {
		err = fmt.Errorf("%w: pages are missing, left over or of another time", ErrDamaged)
	}
	if err == nil {
		err = m.Load(l, source, keptMax)
	}
	if err != nil {
		return err
	}
	s.pages = found
	return nil
}

// loadRows reads everything but pages, as an image.
func loadRows(db *badger.DB, ts uint64, meta *state.Meta) (*state.Image, error) {
	img, names := &state.Image{}, newInterner()
	for _, kind := range []byte{kindRoster, kindPact, kindAuthor, kindRegister} {
		err := scanRows(db, ts, []byte{kind}, func(key, row []byte) error {
			value, err := open(key, row)
			if err != nil {
				return err
			}
			return add(img, kind, value, names)
		})
		if err != nil {
			return nil, err
		}
	}
	img.Meta = *meta
	return img, nil
}

// loading is a page on its way into a Loader.
type loading struct {
	key, row []byte
	data     []byte
	digests  []crdt.Digest
	err      error
	done     chan struct{} // closed when the fields above are set
}

// loadPages reads every page into l. Checksums and digests, which are most of
// the work, are made for several pages at once.
func loadPages(db *badger.DB, ts uint64, l *state.Loader) (*pages, error) {
	workers := runtime.GOMAXPROCS(0)
	found := newPages()
	ordered, work := make(chan *loading, 4*workers), make(chan *loading, 4*workers)
	stop := make(chan struct{})
	for range workers {
		go func() {
			for p := range work {
				if p.data, p.err = open(p.key, p.row); p.err == nil {
					p.digests, p.err = state.Digests(p.data)
				}
				close(p.done)
			}
		}()
	}
	var scanned error
	go func() {
		defer close(ordered)
		defer close(work)
		scanned = scanRows(db, ts, []byte{kindPage}, func(key, row []byte) error {
			p := &loading{key: bytes.Clone(key), row: bytes.Clone(row), done: make(chan struct{})}
			select {
			case ordered <- p:
				work <- p
				return nil
			case <-stop:
				return errEnough
			}
		})
	}()
	var err error
	for p := range ordered {
		if err != nil {
			continue // the scan ends soon
		}
		<-p.done
		if err = p.into(l, found); err != nil {
			close(stop)
		}
	}
	if err == nil {
		err = scanned
	}
	return found, err
}

func (p *loading) into(l *state.Loader, found *pages) error {
	name, ok := pageName(p.key)
	switch {
	case p.err != nil:
		return p.err
	case !ok:
		return fmt.Errorf("%w: a page's key is malformed", ErrDamaged)
	}
	found.set(name, pageTerm(p.key, p.row))
	return l.Page(name, p.data, p.digests)
}

// Load reads the newest complete checkpoint as an image, checked like LoadInto;
// before the first checkpoint it is the zero image.
func (s *Store) Load() (*state.Image, error) {
	f, err := s.freeze()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Meta.Index == 0 {
		return &state.Image{}, nil
	}
	return f.Image()
}

// Stream writes the newest complete checkpoint as a snapshot, checked like
// LoadInto before the first byte: damage must not spread.
func (s *Store) Stream(w io.Writer) error {
	f, err := s.freeze()
	if err != nil {
		return err
	}
	defer f.Close()
	return WriteFrozen(w, f)
}

// freeze loads the newest checkpoint, but for its pages, which stay until the
// state is closed.
func (s *Store) freeze() (*state.Frozen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	m := state.New()
	if err := s.loadInto(m, s); err != nil {
		return nil, fmt.Errorf("hub store: load: %w", err)
	}
	return m.Freeze(), nil
}

// Verify reads the newest checkpoint back from disk and reports what Load would
// of its rows: nil, or why the log must not be truncated below it. Of pages it
// compares checksums, and that it is these pages: what is in them was compared
// with the digests when they were made.
func (s *Store) Verify() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return ErrClosed
	}
	if err := s.verify(); err != nil {
		return fmt.Errorf("hub store: verify: %w", err)
	}
	return nil
}

func (s *Store) verify() error {
	if s.ts == 0 {
		return nil
	}
	meta, err := newestMeta(s.db)
	if err != nil {
		return err
	}
	img, err := loadRows(s.db, s.ts, &meta.Meta)
	if err != nil {
		return err
	}
	if meta.old {
		return state.New().Restore(img)
	}
	found := newPages()
	if err := scanRows(s.db, s.ts, []byte{kindPage}, found.row); err != nil {
		return err
	}
	if found.sum != meta.pages {
		return fmt.Errorf("%w: pages are missing, left over or of another time", ErrDamaged)
	}
	if err := s.verifyHistory(); err != nil {
		return err
	}
	return compareRows(img)
}

// compareRows compares everything but registers with the digests in Meta.
func compareRows(img *state.Image) error {
	t := &tally{pacts: map[crdt.Pact]*command.PactDigest{}, names: newInterner()}
	if err := t.image(img); err != nil {
		return err
	}
	t.Meta = img.Meta
	for _, want := range img.Meta.Pacts {
		if got := t.pacts[want.Pact]; got != nil {
			got.Registers, got.Head = want.Registers, want.Head
		}
	}
	return t.compare()
}

// add reads one row, or one record of a snapshot, into img.
func add(img *state.Image, kind byte, value []byte, names *interner) error {
	switch kind {
	case kindMeta:
		meta, err := readMeta(value)
		img.Meta = meta
		return err
	case kindRoster:
		roster, err := readRoster(value)
		img.Roster = roster
		return err
	case kindPact:
		row, err := readPact(value)
		img.Pacts = append(img.Pacts, row)
		return err
	case kindAuthor:
		row, err := readAuthor(value)
		img.Authors = append(img.Authors, row)
		return err
	case kindRegister:
		s, err := readRegister(value, names)
		img.Registers = append(img.Registers, s)
		return err
	}
	return fmt.Errorf("%w: kind of row %q", ErrNewer, kind)
}
