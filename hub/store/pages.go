package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

// pageSum says which pages there are and what is in each: a row that is missing,
// left over or of another time changes it.
type pageSum struct{ count, sum uint64 }

func (s *pageSum) add(term uint64)    { s.count, s.sum = s.count+1, s.sum+term }
func (s *pageSum) remove(term uint64) { s.count, s.sum = s.count-1, s.sum-term }

// pageTerm is what a row, which carries its checksum, adds to the sum.
func pageTerm(key, row []byte) uint64 {
	h := sha256.New()
	h.Write(key)
	h.Write(row[:rowHeaderBytes])
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// pages remembers the term of each page, so that a checkpoint knows the sum
// without reading what it does not change.
type pages struct {
	sum   pageSum
	terms map[crdt.Pact]map[crdt.Offset]uint64
}

func newPages() *pages { return &pages{terms: map[crdt.Pact]map[crdt.Offset]uint64{}} }

func (p *pages) set(name state.PageName, term uint64) {
	p.remove(name)
	of := p.terms[name.Pact]
	if of == nil {
		of = map[crdt.Offset]uint64{}
		p.terms[name.Pact] = of
	}
	of[name.First] = term
	p.sum.add(term)
}

func (p *pages) remove(name state.PageName) {
	if term, ok := p.terms[name.Pact][name.First]; ok {
		delete(p.terms[name.Pact], name.First)
		p.sum.remove(term)
	}
}

// Page implements state.Source. It waits for nothing but a database that is being
// replaced.
func (s *Store) Page(name state.PageName, index uint64) ([]byte, error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	ts, ok := s.stampOf(index)
	if !ok {
		return nil, state.ErrPageGone
	}
	data, err := readPage(s.db, name, ts)
	if err != nil && !errors.Is(err, state.ErrPageGone) {
		return nil, fmt.Errorf("hub store: page %d of pact %s: %w", name.First, name.Pact, err)
	}
	return data, err
}

func readPage(db *badger.DB, name state.PageName, ts uint64) (data []byte, err error) {
	defer rescue(&err)
	txn := db.NewTransactionAt(ts, false)
	defer txn.Discard()
	key := pageKey(name)
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, state.ErrPageGone
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	row, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return open(key, row)
}

// Hold implements state.Source: versions at that index stay until release.
func (s *Store) Hold(index uint64) (release func()) {
	s.holding.Lock()
	defer s.holding.Unlock()
	s.held[index]++
	return func() {
		s.holding.Lock()
		defer s.holding.Unlock()
		if s.held[index]--; s.held[index] == 0 {
			delete(s.held, index)
		}
	}
}

// stamp notes the timestamp of the newest checkpoint, and returns the oldest one
// that can still be asked for. The checkpoint before stays readable: a Machine
// learns of the newest a moment later.
func (s *Store) stamp(index, ts, before uint64) uint64 {
	s.holding.Lock()
	defer s.holding.Unlock()
	s.stamps[index] = ts
	oldest := ts
	for i, at := range s.stamps {
		if i != index && i != before && s.held[i] == 0 {
			delete(s.stamps, i)
			continue
		}
		oldest = min(oldest, at)
	}
	return oldest
}

// forget drops what is known of checkpoints: they were another database's.
func (s *Store) forget() {
	s.holding.Lock()
	defer s.holding.Unlock()
	clear(s.stamps)
}

func (s *Store) stampOf(index uint64) (ts uint64, ok bool) {
	s.holding.Lock()
	defer s.holding.Unlock()
	ts, ok = s.stamps[index]
	return ts, ok
}

// scanRows calls visit with every row of the checkpoint at ts whose key begins
// with prefix, in order. Key and row are valid until visit returns.
func scanRows(db *badger.DB, ts uint64, prefix []byte, visit func(key, row []byte) error) (err error) {
	defer rescue(&err)
	txn := db.NewTransactionAt(ts, false)
	defer txn.Discard()
	options := badger.DefaultIteratorOptions
	options.Prefix = prefix
	it := txn.NewIterator(options)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		err := item.Value(func(row []byte) error { return visit(item.Key(), row) })
		if err != nil {
			return err
		}
	}
	return nil
}

// newestIndex reads at whatever there is.
const newestIndex = math.MaxUint64
