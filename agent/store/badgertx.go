package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/dgraph-io/badger/v4"
)

// ErrDamaged means that a row does not match its checksum: the disk or the
// database lost bytes. Nothing may be concluded from such a store.
var ErrDamaged = errors.New("agent store is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// badgerTx adds a checksum over key and value to every row, since the database
// does not notice every lost bit.
type badgerTx struct{ txn *badger.Txn }

func (t badgerTx) Get(key []byte) ([]byte, bool, error) {
	item, err := t.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("agent store: get: %w", err)
	}
	value, err := open(item)
	return value, err == nil, err
}

func (t badgerTx) Set(key, value []byte) error {
	row := make([]byte, 4, 4+len(value))
	binary.LittleEndian.PutUint32(row, checksum(key, value))
	if err := t.txn.Set(append([]byte(nil), key...), append(row, value...)); err != nil {
		return fmt.Errorf("agent store: set: %w", err)
	}
	return nil
}

func (t badgerTx) Delete(key []byte) error {
	if err := t.txn.Delete(append([]byte(nil), key...)); err != nil {
		return fmt.Errorf("agent store: delete: %w", err)
	}
	return nil
}

// Scan collects a bounded slice of rows at a time, so that fn may write and the
// iterator (of which a read-write transaction allows only one) is never open
// meanwhile.
func (t badgerTx) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	const rowsMax = 256
	for {
		rows, err := t.collect(prefix, from, rowsMax)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := fn(r.key, r.value); err != nil {
				if errors.Is(err, ErrStop) {
					return nil
				}
				return err
			}
		}
		if len(rows) < rowsMax {
			return nil
		}
		from = append(append([]byte(nil), rows[len(rows)-1].key...), 0)
	}
}

type row struct{ key, value []byte }

func (t badgerTx) collect(prefix, from []byte, rowsMax int) ([]row, error) {
	opts := badger.DefaultIteratorOptions
	opts.Prefix = prefix
	opts.PrefetchSize = min(rowsMax, 32)
	it := t.txn.NewIterator(opts)
	defer it.Close()
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	var rows []row
	for it.Seek(from); it.Valid() && len(rows) < rowsMax; it.Next() {
		item := it.Item()
		value, err := open(item)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{key: item.KeyCopy(nil), value: value})
	}
	return rows, nil
}

// open copies the value of item and checks it.
func open(item *badger.Item) ([]byte, error) {
	raw, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("agent store: read: %w", err)
	}
	if len(raw) < 4 || binary.LittleEndian.Uint32(raw) != checksum(item.Key(), raw[4:]) {
		return nil, fmt.Errorf("%w: row of %d bytes", ErrDamaged, len(raw))
	}
	return raw[4:], nil
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}
