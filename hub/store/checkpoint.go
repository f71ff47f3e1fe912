package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/state"
)

// rowHeaderBytes: version of the row, CRC32C of key and value.
const rowHeaderBytes = 1 + 4

// Checkpoint makes durable what changed since the image before. Its rows carry
// the image's index as their timestamp and are invisible until the meta row,
// written and synced last, says that all of them are there. After an error
// nothing is written any more, and the caller must stop: the image is lost to
// this process, and a restart replays the log from the checkpoint before.
func (s *Store) Checkpoint(img *state.Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if img.Meta.Index <= s.index.Load() {
		return nil // nothing was applied since
	}
	err := write(s.db, stateDir(s.dir, s.number), img)
	if err == nil {
		err = writeCurrent(s.dir, current{s.number, img.Meta.Index})
	}
	if err != nil {
		s.poison = fmt.Errorf("hub store: checkpoint: %w", err)
		return s.poison
	}
	s.use(s.number, s.db, img.Meta.Index)
	return nil
}

// write makes img durable in db. The directory is synced before the meta row,
// so that no file of the rows can be missing when that is there, and after it.
func write(db *badger.DB, dir string, img *state.Image) error {
	if err := writeRows(db, img); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := writeMeta(db, &img.Meta); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeRows writes everything but the meta row, in as many transactions as it
// takes, each of them synced.
func writeRows(db *badger.DB, img *state.Image) error {
	batch := db.NewWriteBatchAt(img.Meta.Index)
	defer batch.Cancel()
	if img.Roster != nil {
		if err := set(batch, []byte{kindRoster}, appendRoster(header(1024), img.Roster)); err != nil {
			return err
		}
	}
	for i := range img.Pacts {
		row := &img.Pacts[i]
		if err := set(batch, pactKey(row.Pact), appendPact(header(256+len(row.Document)), row)); err != nil {
			return err
		}
	}
	for i := range img.Authors {
		row := &img.Authors[i]
		if err := set(batch, authorKey(row), appendAuthor(header(256), row)); err != nil {
			return err
		}
	}
	for _, s := range newest(img.Registers) {
		op := &s.Register.Op
		if err := set(batch, registerKey(&op.Key), appendRegister(header(512+len(op.Value)), s)); err != nil {
			return err
		}
	}
	return batch.Flush()
}

func writeMeta(db *badger.DB, meta *state.Meta) error {
	txn := db.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	if err := set(txn, []byte{kindMeta}, appendMeta(header(256), meta)); err != nil {
		return err
	}
	return txn.CommitAt(meta.Index, nil)
}

// newest drops the versions of a partial image that were overwritten within it,
// and sorts the others by key, as the database does.
func newest(registers []*state.Stored) []*state.Stored {
	sorted := slices.Clone(registers)
	slices.SortFunc(sorted, func(a, b *state.Stored) int {
		if c := a.Register.Op.Key.Compare(b.Register.Op.Key); c != 0 {
			return c
		}
		return int(int64(b.Offset - a.Offset)) // newest first
	})
	return slices.CompactFunc(sorted, func(a, b *state.Stored) bool { return a.Register.Op.Key == b.Register.Op.Key })
}

// header begins a row: the caller appends the value, set fills in the checksum.
func header(size int) []byte {
	return append(make([]byte, 0, rowHeaderBytes+size), Format, 0, 0, 0, 0)
}

func set(w interface{ Set(k, v []byte) error }, key, row []byte) error {
	binary.BigEndian.PutUint32(row[1:], codec.Checksum(row[:1], key, row[rowHeaderBytes:]))
	return w.Set(key, row)
}

// open checks a row and returns its value, which aliases it.
func open(key, row []byte) ([]byte, error) {
	if len(row) < rowHeaderBytes ||
		binary.BigEndian.Uint32(row[1:]) != codec.Checksum(row[:1], key, row[rowHeaderBytes:]) {
		return nil, fmt.Errorf("%w: a row of %d bytes does not match its checksum", ErrDamaged, len(row))
	}
	if row[0] > Format {
		return nil, fmt.Errorf("%w: row format %d, known up to %d", ErrNewer, row[0], Format)
	}
	return row[rowHeaderBytes:], nil
}

// newestMeta reads the newest meta row; a new database has the zero one.
func newestMeta(db *badger.DB) (state.Meta, error) {
	txn := db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	item, err := txn.Get([]byte{kindMeta})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return state.Meta{}, nil
	}
	if err != nil {
		return state.Meta{}, fmt.Errorf("%w: meta row: %w", ErrDamaged, err)
	}
	var meta state.Meta
	err = item.Value(func(row []byte) error {
		value, err := open(item.Key(), row)
		if err == nil {
			meta, err = readMeta(value)
		}
		return err
	})
	if err == nil && meta.Index != item.Version() {
		err = fmt.Errorf("%w: meta row of index %d at timestamp %d", ErrDamaged, meta.Index, item.Version())
	}
	return meta, err
}

// Load reads the newest complete checkpoint as a full image, its registers in
// the order of keys; before the first checkpoint it is the zero image. Each row is
// checked by itself here. Whether all of them are there is for
// state.Machine.Restore to say, which compares with the digests in Meta.
func (s *Store) Load() (*state.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	img, err := load(s.db)
	if err != nil {
		return nil, fmt.Errorf("hub store: load: %w", err)
	}
	return img, nil
}

// Verify reads the newest checkpoint back from disk and reports what Load or
// Restore would: nil, or why the log must not be truncated below it.
func (s *Store) Verify() error {
	img, err := s.Load()
	if err != nil {
		return err
	}
	if err := state.New().Restore(img); err != nil {
		return fmt.Errorf("hub store: verify: %w", err)
	}
	return nil
}

func load(db *badger.DB) (img *state.Image, err error) {
	defer rescue(&err)
	meta, err := newestMeta(db)
	if err != nil || meta.Index == 0 {
		return &state.Image{}, err
	}
	img = &state.Image{Meta: meta}
	names := newInterner()
	txn := db.NewTransactionAt(meta.Index, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		err := item.Value(func(row []byte) error {
			value, err := open(item.Key(), row)
			if err != nil {
				return err
			}
			return add(img, item.Key()[0], value, names)
		})
		if err != nil {
			return nil, err
		}
	}
	return img, nil
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
