package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/state"
)

// historyFormat is the format of rows of history, and of the meta row of a state
// that keeps some: a program that would lose them refuses the store as newer.
const historyFormat = 3

// pruneMin is how many rows of history a checkpoint looks at besides twice as many
// as it adds, so that pruning keeps up with what is added; tests make it smaller.
var pruneMin = 4096

// keptPrefix is what the keys of a register's history begin with. Names hold no
// zero byte.
func keptPrefix(k *crdt.Key) []byte {
	b := make([]byte, 0, 4+len(k.Pact)+len(k.Type)+len(k.Record)+len(k.Field)+8)
	b = append(append(b, kindKept), k.Pact...)
	b = append(append(b, 0), k.Type...)
	b = append(append(b, 0), k.Record[:]...)
	return append(append(b, k.Field...), 0)
}

func keptKey(k *crdt.Key, offset crdt.Offset) []byte {
	return codec.AppendFixed64(keptPrefix(k), uint64(offset))
}

// keptPact returns the pact that a key of history is of.
func keptPact(key []byte) (crdt.Pact, bool) {
	name, _, ok := bytes.Cut(key[1:], []byte{0})
	return crdt.Pact(name), ok && len(name) > 0
}

// readKept checks a message of history, all of it, and returns its key.
func readKept(message []byte, names *crdt.Names) (v state.KeptVersion, key []byte, err error) {
	if v, err = state.ReadKept(message); err != nil {
		return v, nil, err
	}
	var op crdt.Op
	err = v.Op(&op, names)
	if errors.Is(err, crdt.ErrNewer) {
		err = fmt.Errorf("%w: %w", ErrNewer, err)
	}
	return v, keptKey(&op.Key, v.Offset), err
}

// checkKept checks a message of history against the key of its row.
func checkKept(key, message []byte) error {
	_, want, err := readKept(message, nil)
	if err == nil && !bytes.Equal(key, want) {
		err = fmt.Errorf("%w: a version of the history is in another one's row", ErrDamaged)
	}
	return err
}

// history writes what joins the history, and removes some of what may go.
func (w *writer) history(c *state.Changes) error {
	added, names := 0, new(crdt.Names)
	keep := func(message []byte) error {
		_, key, err := readKept(message, names)
		if err != nil {
			return err
		}
		row := append(header(len(message)), message...)
		row[0] = historyFormat
		if err := w.set(key, row); err != nil {
			return err
		}
		w.kept.add(pageTerm(key, row))
		w.fresh.add(pageTerm(key, row))
		added++
		return nil
	}
	if c.Archive != nil {
		if err := c.Archive.Each(keep); err != nil {
			return err
		}
		added = 0
	}
	for i := range c.Kept {
		if err := c.Kept[i].Each(keep); err != nil {
			return err
		}
	}
	if w.from == 0 || w.keptBefore.count == 0 {
		return nil
	}
	return w.prune(c, pruneMin+2*added)
}

// prune looks at rows of the checkpoint before, from where it ended the last time,
// and removes those that may go: whose successor, which is there too, became
// current before the cut. So of every register the version that was current at the
// cut stays, and all after it. A row that went is no predecessor: it would go twice,
// and out of the sum of the history twice.
func (w *writer) prune(c *state.Changes, rowsMax int) error {
	txn := w.db.NewTransactionAt(w.from, false)
	defer txn.Discard()
	options := badger.DefaultIteratorOptions
	options.Prefix = []byte{kindKept}
	it := txn.NewIterator(options)
	defer it.Close()
	var before keptRow // the row before, if it stays so far
	last := w.pruned   // of what was looked at
	for it.Seek(append([]byte{kindKept}, w.pruned...)); it.Valid(); it.Next() {
		if rowsMax--; rowsMax < 0 {
			w.pruned = last // its successor is not known yet
			return nil
		}
		row, err := readKeptRow(it.Item())
		if err != nil {
			return err
		}
		pact, _ := keptPact(row.key)
		cut, kept := c.Cut(pact)
		stays := row
		switch {
		case !kept, row.Offset <= cut.Head:
			err, stays = w.drop(&row), keptRow{}
		case before.precedes(&row) && row.Millis < cut.Millis:
			err = w.drop(&before)
		}
		if err != nil {
			return err
		}
		before, last = stays, row.key[1:]
	}
	w.pruned = nil
	return nil
}

// keptRow is a row of history.
type keptRow struct {
	state.KeptVersion
	key  []byte
	term uint64
	ts   uint64
}

func readKeptRow(item *badger.Item) (r keptRow, err error) {
	r.key, r.ts = item.KeyCopy(nil), item.Version()
	err = item.Value(func(row []byte) error {
		message, err := open(r.key, row)
		if err != nil {
			return err
		}
		r.term = pageTerm(r.key, row)
		r.KeptVersion, err = state.ReadKept(message)
		return err
	})
	if _, ok := keptPact(r.key); err == nil && !ok {
		err = fmt.Errorf("%w: the key of a version of the history is malformed", ErrDamaged)
	}
	return r, err
}

// precedes reports whether both rows are of one register.
func (r *keptRow) precedes(next *keptRow) bool {
	n := len(r.key) - 8
	return n > 0 && n == len(next.key)-8 && bytes.Equal(r.key[:n], next.key[:n])
}

func (w *writer) drop(r *keptRow) error {
	w.kept.remove(r.term)
	if r.ts > w.verified {
		w.fresh.remove(r.term)
	}
	return w.remove(r.key)
}

// Kept implements state.Source.
func (s *Store) Kept(key *crdt.Key, from crdt.Offset, index uint64, visit func(message []byte) (bool, error)) error {
	start := codec.AppendFixed64(nil, uint64(from))
	return s.readKept(index, keptPrefix(key), start, func(key, row []byte) (bool, error) {
		message, err := open(key, row)
		if err != nil {
			return false, fmt.Errorf("hub store: history: %w", err)
		}
		return visit(message)
	}, nil)
}

// AllKept implements state.Source. It reads what Hold keeps of a checkpoint, or
// answers ErrPageGone.
func (s *Store) AllKept(index uint64, visit func(message []byte) error) error {
	var want metaRow
	var found pageSum
	err := s.readKept(index, []byte{kindKept}, nil, func(key, row []byte) (bool, error) {
		message, err := open(key, row)
		if err != nil {
			return false, err
		}
		found.add(pageTerm(key, row))
		return true, visit(message)
	}, &want)
	if err == nil && found != want.kept {
		err = fmt.Errorf("hub store: %w: versions of the history are missing, left over or of another time", ErrDamaged)
	}
	return err
}

// readKept reads rows of history as of a checkpoint. Its meta row is put into meta,
// unless that is nil.
func (s *Store) readKept(index uint64, prefix, from []byte, visit func(key, row []byte) (bool, error), meta *metaRow) (err error) {
	defer rescue(&err)
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	ts, ok := s.stampOf(index)
	if !ok {
		return state.ErrPageGone
	}
	txn := s.db.NewTransactionAt(ts, false)
	defer txn.Discard()
	if meta != nil {
		if *meta, err = metaOf(txn); err != nil {
			return fmt.Errorf("hub store: history: %w", err)
		}
	}
	options := badger.DefaultIteratorOptions
	options.Prefix = prefix
	options.PrefetchSize = 16
	it := txn.NewIterator(options)
	defer it.Close()
	more := true
	for it.Seek(append(prefix, from...)); it.Valid() && more; it.Next() {
		item := it.Item()
		err := item.Value(func(row []byte) (err error) {
			more, err = visit(item.Key(), row)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyHistory reads back what checkpoints have added to the history since it
// was called last: before the log is cut, and without reading all of it each time.
func (s *Store) verifyHistory() (err error) {
	defer rescue(&err)
	txn := s.db.NewTransactionAt(s.ts, false)
	defer txn.Discard()
	options := badger.DefaultIteratorOptions
	options.Prefix, options.SinceTs = []byte{kindKept}, s.verified
	it := txn.NewIterator(options)
	defer it.Close()
	var found pageSum
	for it.Rewind(); it.Valid(); it.Next() {
		row, err := readKeptRow(it.Item())
		if err != nil {
			return err
		}
		found.add(row.term)
	}
	if found != s.fresh {
		return fmt.Errorf("%w: versions of the history are missing, left over or of another time", ErrDamaged)
	}
	s.verified, s.fresh = s.ts, pageSum{}
	return nil
}

// spool is history that was read from a snapshot: in a file without a name, since
// it may be many times the state. The file is gone when nobody refers to it.
type spool struct{ file *os.File }

// spooler writes a spool; the zero spooler begins one when something comes.
type spooler struct {
	spool *spool
	out   *bufio.Writer
	names *crdt.Names
}

func (s *spooler) add(message []byte) error {
	if s.spool == nil {
		f, err := os.CreateTemp("", "entente-history-")
		if err != nil {
			return err
		}
		if err := os.Remove(f.Name()); err != nil {
			return errors.Join(err, f.Close())
		}
		s.spool, s.out, s.names = &spool{f}, bufio.NewWriterSize(f, 256<<10), new(crdt.Names)
	}
	if _, _, err := readKept(message, s.names); err != nil {
		return err
	}
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(message)))
	if _, err := s.out.Write(size[:]); err != nil {
		return err
	}
	_, err := s.out.Write(message)
	return err
}

// end returns what was added; nil if nothing was.
func (s *spooler) end() (state.Archive, error) {
	if s.spool == nil {
		return nil, nil
	}
	return s.spool, s.out.Flush()
}

// Each implements state.Archive.
func (s *spool) Each(visit func(message []byte) error) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, info.Size()), 256<<10)
	var size [4]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(in, size[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return err
		}
		if err := visit(buf[:n]); err != nil {
			return err
		}
	}
}
