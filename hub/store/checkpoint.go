package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/durable"
)

// Checkpoint makes changes durable. Their rows carry a timestamp above every
// other and are invisible until the meta row, written and synced last, says that
// all of them are there. After an error nothing is written any more, and the
// caller must stop: the changes are lost to this process, and a restart replays
// the log from the checkpoint before.
func (s *Store) Checkpoint(c *state.Changes) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if c.Meta.Index <= s.index.Load() {
		return nil // nothing was applied since
	}
	if err := s.checkpoint(c); err != nil {
		s.poison = fmt.Errorf("hub store: checkpoint: %w", err)
		return s.poison
	}
	return nil
}

func (s *Store) checkpoint(c *state.Changes) error {
	if err := s.look(); err != nil {
		return err
	}
	w := &writer{
		db: s.db, from: s.ts, at: max(c.Meta.Index, s.newest+1), pages: s.pages, leftovers: s.leftovers,
		kept: s.kept, keptBefore: s.kept, fresh: s.fresh, verified: s.verified, pruned: s.pruned,
	}
	if err := w.write(stateDir(s.dir, s.number), c, s.old); err != nil {
		return err
	}
	if err := writeCurrent(s.dir, current{s.number, c.Meta.Index}); err != nil {
		return err
	}
	s.advance(c.Meta.Index, w.at)
	s.newest, s.leftovers, s.old = w.at, nil, false
	s.kept, s.fresh, s.pruned = w.kept, w.fresh, w.pruned
	return nil
}

// look finds out, before the first checkpoint, what a crash left of one that did
// not end, and which pages there are.
func (s *Store) look() (err error) {
	if s.newest == 0 {
		s.newest, s.leftovers, err = leftovers(s.db, s.ts)
	}
	if err == nil && s.pages == nil {
		s.pages = newPages()
		if s.ts > 0 && !s.old {
			err = scanRows(s.db, s.ts, []byte{kindPage}, func(key, row []byte) error { return s.pages.row(key, row) })
		}
	}
	return err
}

// leftovers returns the newest timestamp in the database, and the keys of rows
// that are newer than its newest checkpoint.
func leftovers(db *badger.DB, checkpoint uint64) (newest uint64, keys map[string]struct{}, err error) {
	defer rescue(&err)
	txn := db.NewTransactionAt(newestIndex, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{AllVersions: true}) // removals too
	defer it.Close()
	newest, keys = checkpoint, map[string]struct{}{}
	for it.Rewind(); it.Valid(); it.Next() {
		if item := it.Item(); item.Version() > checkpoint {
			newest = max(newest, item.Version())
			keys[string(item.Key())] = struct{}{}
		}
	}
	return newest, keys, nil
}

// writer writes one checkpoint.
type writer struct {
	db        *badger.DB
	from, at  uint64 // timestamps of the checkpoint before and of this one
	pages     *pages
	leftovers map[string]struct{} // not yet put right
	batch     *badger.WriteBatch

	kept, keptBefore pageSum // the history, now and in the checkpoint before
	fresh            pageSum // what joined it behind the timestamp verified
	verified         uint64
	pruned           []byte // where pruning goes on
}

// write makes changes durable. The directory is synced before the meta row, so
// that no file of the rows can be missing when that is there, and after it. old
// says that the checkpoint before has a row for each register.
func (w *writer) write(dir string, c *state.Changes, old bool) error {
	w.batch = w.db.NewWriteBatchAt(w.at)
	defer w.batch.Cancel()
	err := w.rows(c)
	if err == nil && old {
		err = w.dropRegisters()
	}
	if err == nil {
		err = w.putRight()
	}
	if err == nil {
		err = w.batch.Flush()
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err == nil {
		err = w.meta(&c.Meta)
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	return err
}

// rows writes everything but the meta row, in as many transactions as it takes,
// each of them synced.
func (w *writer) rows(c *state.Changes) error {
	if c.Roster != nil {
		if err := w.set([]byte{kindRoster}, appendRoster(header(1024), c.Roster)); err != nil {
			return err
		}
	}
	for i := range c.Pacts {
		row := &c.Pacts[i]
		if err := w.set(pactKey(row.Pact), appendPact(header(256+len(row.Document)), row)); err != nil {
			return err
		}
	}
	for i := range c.Authors {
		row := &c.Authors[i]
		if err := w.set(authorKey(row), appendAuthor(header(256), row)); err != nil {
			return err
		}
	}
	for i := range c.Pages {
		if err := w.page(c.Pages[i].PageName, c.Pages[i].Data); err != nil {
			return err
		}
	}
	for _, t := range c.Thinned {
		data, err := readPage(w.db, t.PageName, w.from)
		if err == nil {
			data, err = t.Rewrite(data)
		}
		if err == nil {
			err = w.page(t.PageName, data)
		}
		if err != nil {
			return fmt.Errorf("page %d of pact %s: %w", t.First, t.Pact, err)
		}
	}
	for _, name := range c.Emptied {
		w.pages.remove(name)
		if err := w.remove(pageKey(name)); err != nil {
			return err
		}
	}
	return w.history(c)
}

func (w *writer) page(name state.PageName, data []byte) error {
	key, row := pageKey(name), append(header(len(data)), data...)
	if err := w.set(key, row); err != nil {
		return err
	}
	w.pages.set(name, pageTerm(key, row))
	return nil
}

func (w *writer) set(key, row []byte) error {
	delete(w.leftovers, string(key))
	return set(w.batch, key, row)
}

func (w *writer) remove(key []byte) error {
	delete(w.leftovers, string(key))
	return w.batch.Delete(key)
}

// dropRegisters removes the rows of format 1, whose content the pages now have.
func (w *writer) dropRegisters() error {
	return scanRows(w.db, w.from, []byte{kindRegister}, func(key, _ []byte) error {
		return w.remove(append([]byte(nil), key...))
	})
}

// putRight makes rows that an unfinished checkpoint left what they were before
// it: the log decides what registers hold, but not which page they are in.
func (w *writer) putRight() error {
	txn := w.db.NewTransactionAt(w.from, false)
	defer txn.Discard()
	for key := range w.leftovers {
		item, err := txn.Get([]byte(key))
		var row []byte
		if err == nil {
			row, err = item.ValueCopy(nil)
		}
		switch {
		case errors.Is(err, badger.ErrKeyNotFound):
			err = w.batch.Delete([]byte(key))
		case err == nil:
			if key[0] == kindKept && item.Version() <= w.verified {
				w.fresh.add(pageTerm([]byte(key), row))
			}
			err = w.batch.Set([]byte(key), row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) meta(m *state.Meta) error {
	txn := w.db.NewTransactionAt(newestIndex, true)
	defer txn.Discard()
	row := appendMetaRow(header(256), m, w.pages.sum, w.kept)
	if m.ClockMillis > 0 || w.kept.count > 0 {
		row[0] = historyFormat
	}
	if err := set(txn, []byte{kindMeta}, row); err != nil {
		return err
	}
	return txn.CommitAt(w.at, nil)
}

// metaRow is the newest meta row; the zero one in a new database.
type metaRow struct {
	state.Meta
	pages pageSum
	kept  pageSum
	ts    uint64
	old   bool // the checkpoint has a row for each register
}

func newestMeta(db *badger.DB) (m metaRow, err error) {
	defer rescue(&err)
	txn := db.NewTransactionAt(newestIndex, false)
	defer txn.Discard()
	return metaOf(txn)
}

// metaOf reads the meta row that a transaction sees.
func metaOf(txn *badger.Txn) (m metaRow, err error) {
	item, err := txn.Get([]byte{kindMeta})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return metaRow{}, nil
	}
	if err != nil {
		return metaRow{}, fmt.Errorf("%w: meta row: %w", ErrDamaged, err)
	}
	m.ts = item.Version()
	err = item.Value(func(row []byte) error {
		value, err := open(item.Key(), row)
		if err == nil {
			m.Meta, m.pages, m.kept, err = readMetaRow(value)
			m.old = row[0] == 1
		}
		return err
	})
	if err == nil && (m.Index > m.ts || m.old && m.Index != m.ts) {
		err = fmt.Errorf("%w: meta row of index %d at timestamp %d", ErrDamaged, m.Index, m.ts)
	}
	return m, err
}

// row takes in the row of a page.
func (p *pages) row(key, row []byte) error {
	name, ok := pageName(key)
	if _, err := open(key, row); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: a page's key is malformed", ErrDamaged)
	}
	p.set(name, pageTerm(key, row))
	return nil
}
