// Package outbox holds the ops that an agent made and that the hub's feed does
// not yet cover, in the order in which they were made. It is passive: typed tables
// over one transaction.
//
// A numbered op is never changed: (author, seq) names it for ever, and the hub
// may have it already. What must be made again becomes a new op at the end.
package outbox

import (
	"errors"
	"fmt"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/crdt"
)

// Tables of this package; agent/DESIGN.md lists all of them.
const (
	tableState    = 'O' // pact -> State
	tableEntry    = 'o' // pact, position -> Entry
	tableByID     = 'n' // pact, op id -> position
	tableRegister = 'p' // register, position -> nothing
)

const version = 1

// State is what an outbox remembers beyond its entries.
type State struct {
	Next uint64 // position of the next entry, from 1
	// Author and Seq are the newest op ever numbered here.
	Author crdt.Author
	Seq    crdt.Seq
	// Last is the op numbered last, "" after a new epoch: the next op's After.
	Last crdt.OpID
	// Len counts the entries.
	Len uint64
}

// Entry is one op in the outbox.
type Entry struct {
	Position uint64
	Op       crdt.Op
	// After is the op before it in this outbox, whoever its author; a hub that
	// does not know After answers gap. Zero: nothing came before.
	After crdt.OpID
	// Acked: the hub applied it and its feed covers it at Offset.
	Acked  bool
	Offset crdt.Offset
	// Rebase replaces Op.Base should the op ever be made again: the op that it was
	// made on was refused.
	Rebase *crdt.Base
}

// Base is what the op would be made on today.
func (e *Entry) Base() crdt.Base {
	if e.Rebase != nil {
		return *e.Rebase
	}
	return e.Op.Base
}

// ErrAuthor means that an op was to be numbered for an older incarnation.
var ErrAuthor = errors.New("outbox: author is older than the newest op")

// GetState returns the state of a pact's outbox.
func GetState(tx store.Tx, pact crdt.Pact) (State, error) {
	b, ok, err := tx.Get(pack.Key(tableState, string(pact)))
	if err != nil || !ok {
		return State{Next: 1}, err
	}
	r := pack.NewReader(b, version)
	s := State{Next: r.Uint()}
	id := r.OpID()
	s.Author, s.Seq = id.Author, id.Seq
	s.Last = r.OpID()
	s.Len = r.Uint()
	return s, r.Close("outbox state")
}

func putState(tx store.Tx, pact crdt.Pact, s State) error {
	w := pack.NewWriter(version)
	w.Uint(s.Next)
	w.OpID(crdt.OpID{Author: s.Author, Seq: s.Seq})
	w.OpID(s.Last)
	w.Uint(s.Len)
	return tx.Set(pack.Key(tableState, string(pact)), w.Bytes())
}

// Append numbers op for its author and puts it at the end. finish, if not nil,
// is called once seq is known, to seal the value.
func Append(tx store.Tx, op crdt.Op, finish func(*crdt.Op) error) (crdt.Op, error) {
	s, err := GetState(tx, op.Key.Pact)
	if err != nil {
		return op, err
	}
	switch c := op.Author.Compare(s.Author); {
	case c == 0:
		s.Seq++
	case s.Author.IsZero() || c > 0:
		s.Author, s.Seq = op.Author, 1
	default:
		return op, fmt.Errorf("%w: %s, newest %s", ErrAuthor, op.Author, s.Author)
	}
	op.Seq = s.Seq
	if finish != nil {
		if err := finish(&op); err != nil {
			return op, err
		}
	}
	if err := op.Validate(); err != nil {
		return op, fmt.Errorf("outbox: %w", err)
	}
	e := Entry{Position: s.Next, Op: op, After: s.Last}
	s.Next, s.Last = s.Next+1, op.ID()
	s.Len++
	w := pack.NewWriter(version)
	w.Uint(e.Position)
	return op, errors.Join(
		putEntry(tx, &e),
		tx.Set(idKey(op.Key.Pact, op.ID()), w.Bytes()),
		tx.Set(registerKey(op.Key, e.Position), []byte{version}),
		putState(tx, op.Key.Pact, s))
}

// Find returns the entry of one op.
func Find(tx store.Tx, pact crdt.Pact, id crdt.OpID) (Entry, bool, error) {
	b, ok, err := tx.Get(idKey(pact, id))
	if err != nil || !ok {
		return Entry{}, false, err
	}
	r := pack.NewReader(b, version)
	at := r.Uint()
	if err := r.Close("outbox index"); err != nil {
		return Entry{}, false, err
	}
	return entryAt(tx, pact, at)
}

func entryAt(tx store.Tx, pact crdt.Pact, at uint64) (Entry, bool, error) {
	b, ok, err := tx.Get(entryKey(pact, at))
	if err != nil || !ok {
		return Entry{}, false, err
	}
	e, err := decodeEntry(b, at)
	return e, err == nil, err
}

// Pending returns the entries of one register, oldest first.
func Pending(tx store.Tx, key crdt.Key) ([]Entry, error) {
	var positions []uint64
	prefix := registerPrefix(key)
	err := tx.Scan(prefix, nil, func(k, _ []byte) error {
		at, err := positionOf(k)
		positions = append(positions, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(positions))
	for _, at := range positions {
		e, ok, err := entryAt(tx, key.Pact, at)
		if err != nil || !ok {
			return nil, errors.Join(err, missing(!ok, at))
		}
		out = append(out, e)
	}
	return out, nil
}

// Batch returns entries that wait for an answer, from position from (0: the
// first) onwards, at most max.
func Batch(tx store.Tx, pact crdt.Pact, from uint64, max int) ([]Entry, error) {
	var out []Entry
	err := tx.Scan(pack.Key(tableEntry, string(pact)), entryKey(pact, from), func(k, b []byte) error {
		at, err := positionOf(k)
		if err != nil {
			return err
		}
		e, err := decodeEntry(b, at)
		if err != nil {
			return err
		}
		if !e.Acked {
			out = append(out, e)
		}
		if len(out) >= max {
			return store.ErrStop
		}
		return nil
	})
	return out, err
}

// Ack notes that the hub applied an op, covered by the feed at offset.
func Ack(tx store.Tx, e Entry, offset crdt.Offset) error {
	e.Acked, e.Offset = true, offset
	return putEntry(tx, &e)
}

// Rebase notes what the op of e would be made on if it were made again.
func Rebase(tx store.Tx, e Entry, base crdt.Base) error {
	e.Rebase = &base
	return putEntry(tx, &e)
}

// Drop removes an entry.
func Drop(tx store.Tx, e Entry) error {
	s, err := GetState(tx, e.Op.Key.Pact)
	if err != nil {
		return err
	}
	s.Len--
	return errors.Join(
		tx.Delete(entryKey(e.Op.Key.Pact, e.Position)),
		tx.Delete(idKey(e.Op.Key.Pact, e.Op.ID())),
		tx.Delete(registerKey(e.Op.Key, e.Position)),
		putState(tx, e.Op.Key.Pact, s))
}

// passedMax bounds what one transaction removes.
const passedMax = 1024

// Passed removes the acked entries at the front that a feed cursor has passed:
// from then on the feed itself holds their outcome. It removes a bounded number;
// the rest goes with the next slice or heartbeat.
func Passed(tx store.Tx, pact crdt.Pact, cursor crdt.Offset) error {
	var gone []Entry
	err := tx.Scan(pack.Key(tableEntry, string(pact)), nil, func(k, b []byte) error {
		at, err := positionOf(k)
		if err != nil {
			return err
		}
		e, err := decodeEntry(b, at)
		if err != nil {
			return err
		}
		if !e.Acked || e.Offset > cursor || len(gone) >= passedMax {
			return store.ErrStop
		}
		gone = append(gone, e)
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range gone {
		if err := Drop(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// After is the op before the first one that is to be published: everything up to
// it was answered, and what became of it is known. Zero: nothing was.
func After(tx store.Tx, pact crdt.Pact) (after crdt.OpID, err error) {
	s, err := GetState(tx, pact)
	if err != nil {
		return after, err
	}
	after = s.Last
	err = tx.Scan(pack.Key(tableEntry, string(pact)), nil, func(k, b []byte) error {
		at, err := positionOf(k)
		if err != nil {
			return err
		}
		e, err := decodeEntry(b, at)
		if err != nil {
			return err
		}
		after = e.After
		return store.ErrStop
	})
	return after, err
}

// Reopen makes every entry wait for an answer again, each behind the one before:
// its hub may not know what became of the ops that were refused in between.
func Reopen(tx store.Tx, pact crdt.Pact) error {
	all, err := List(tx, pact)
	if err != nil {
		return err
	}
	last, err := After(tx, pact)
	if err != nil {
		return err
	}
	for _, e := range all {
		e.Acked, e.Offset, e.After = false, 0, last
		if err := putEntry(tx, &e); err != nil {
			return err
		}
		last = e.Op.ID()
	}
	s, err := GetState(tx, pact)
	if err != nil {
		return err
	}
	s.Last = last
	return putState(tx, pact, s)
}

// List returns the whole outbox in order.
func List(tx store.Tx, pact crdt.Pact) ([]Entry, error) {
	var all []Entry
	err := tx.Scan(pack.Key(tableEntry, string(pact)), nil, func(k, b []byte) error {
		at, err := positionOf(k)
		if err != nil {
			return err
		}
		e, err := decodeEntry(b, at)
		all = append(all, e)
		return err
	})
	return all, err
}
