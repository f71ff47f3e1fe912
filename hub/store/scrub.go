package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// ErrOvertaken reports that the database was replaced under a scrub. Begin another.
var ErrOvertaken = errors.New("the store was replaced under the scrub")

// Scrub reads the newest checkpoint back, piece by piece beside other work, and
// compares it with its digests: what Verify does in one go, in bounded memory. It
// keeps the versions of its checkpoint from being dropped until End. One scrub at
// a time; it is for one goroutine.
type Scrub struct {
	store  *Store
	number uint64
	meta   metaRow
	next   []byte // key to go on at
	names  *interner
	sums   map[crdt.Pact]*command.PactDigest
	pages  pageSum
	kept   pageSum
	end    func()
}

// BeginScrub begins with the newest complete checkpoint. Without one there is
// nothing to read: the Scrub is done at its first step.
func (s *Store) BeginScrub() (c *Scrub, err error) {
	defer rescue(&err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	meta, err := newestMeta(s.db)
	if err != nil {
		return nil, fmt.Errorf("hub store: scrub: %w", err)
	}
	if meta.Index < s.index.Load() {
		return nil, fmt.Errorf("hub store: scrub: %w: the checkpoint of index %d is gone, the newest is of %d",
			ErrDamaged, s.index.Load(), meta.Index)
	}
	return &Scrub{
		store: s, number: s.number, meta: meta, names: newInterner(), sums: map[crdt.Pact]*command.PactDigest{},
		end: s.Hold(meta.Index),
	}, nil
}

// End lets the database drop what the scrub has kept. It may be called again.
func (c *Scrub) End() {
	c.end()
	c.end = func() {}
}

// Step reads rows of about bytesMax and says how much it read; done after the
// last row, when everything was as it was written. An error wraps ErrDamaged,
// ErrNewer, ErrOvertaken or ErrClosed. The store waits for one step.
func (c *Scrub) Step(bytesMax int) (rows, bytes int, done bool, err error) {
	defer rescue(&err)
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	switch {
	case c.store.db == nil:
		return 0, 0, false, ErrClosed
	case c.store.number != c.number:
		return 0, 0, false, ErrOvertaken
	case c.meta.Index == 0:
		return 0, 0, true, nil
	}
	rows, bytes, done, err = c.step(bytesMax)
	if err == nil && done {
		err = c.compare()
	}
	if err != nil {
		return rows, bytes, false, fmt.Errorf("hub store: scrub: %w", err)
	}
	return rows, bytes, done, nil
}

func (c *Scrub) step(bytesMax int) (rows, bytes int, done bool, err error) {
	txn := c.store.db.NewTransactionAt(c.meta.ts, false)
	defer txn.Discard()
	options := badger.DefaultIteratorOptions
	options.PrefetchSize = 16
	it := txn.NewIterator(options)
	defer it.Close()
	img := &state.Image{}
	for it.Seek(c.next); it.Valid(); it.Next() {
		item := it.Item()
		if bytes >= bytesMax {
			c.next = item.KeyCopy(c.next[:0])
			return rows, bytes, false, c.fold(img)
		}
		err := item.Value(func(row []byte) error {
			bytes += len(item.Key()) + len(row)
			value, err := open(item.Key(), row)
			if err != nil {
				return err
			}
			if item.Key()[0] == kindKept {
				c.kept.add(pageTerm(item.Key(), row))
				return checkKept(item.Key(), value)
			}
			if item.Key()[0] == kindPage {
				c.pages.add(pageTerm(item.Key(), row))
				return nil
			}
			return add(img, item.Key()[0], value, c.names)
		})
		if err != nil {
			return rows, bytes, false, err
		}
		rows++
	}
	return rows, bytes, true, c.fold(img)
}

// fold adds what was read to the sums.
func (c *Scrub) fold(img *state.Image) error {
	for _, row := range img.Pacts {
		agreed, err := pact.Decode(row.Document)
		if err != nil {
			return fmt.Errorf("%w: pact %s: %w", ErrDamaged, row.Pact, err)
		}
		c.sum(row.Pact).Version = agreed.Version
	}
	for i := range img.Authors {
		row := &img.Authors[i]
		sum := &c.sum(row.Pact).Authors
		sum.Count++
		sum.Seen += uint64(row.State.Seen) + uint64(row.State.Heard)
		for _, r := range row.Refused {
			sum.Refused += uint64(r.To-r.From) + 1
		}
	}
	for _, s := range img.Registers {
		sum := c.sum(s.Register.Op.Key.Pact)
		sum.Registers.Add(s.Register.Digest)
		sum.Head = max(sum.Head, s.Offset)
	}
	return nil
}

func (c *Scrub) sum(name crdt.Pact) *command.PactDigest {
	if c.sums[name] == nil {
		c.sums[name] = &command.PactDigest{Pact: name}
	}
	return c.sums[name]
}

func (c *Scrub) compare() error {
	if len(c.sums) != len(c.meta.Pacts) {
		return fmt.Errorf("%w: %d pacts, %d recorded", ErrDamaged, len(c.sums), len(c.meta.Pacts))
	}
	if c.pages != c.meta.pages {
		return fmt.Errorf("%w: pages are missing, left over or of another time", ErrDamaged)
	}
	if c.kept != c.meta.kept {
		return fmt.Errorf("%w: versions of the history are missing, left over or of another time", ErrDamaged)
	}
	for _, want := range c.meta.Pacts {
		if got := c.sums[want.Pact]; got != nil && !c.meta.old { // pages have a sum of their own
			got.Registers, got.Head = want.Registers, want.Head
		}
		if got := c.sums[want.Pact]; got == nil || *got != want {
			return fmt.Errorf("%w: pact %s does not have the digest that was recorded for it: rows are missing, stale or changed",
				ErrDamaged, want.Pact)
		}
	}
	return nil
}
