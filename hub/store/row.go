package store

import (
	"encoding/binary"
	"fmt"

	"github.com/entente-sync/entente/hub/codec"
)

// rowFormat is the format of every row that has to do with no history.
const rowFormat = 2

// rowHeaderBytes: version of the row, CRC32C of key and value.
const rowHeaderBytes = 1 + 4

// header begins a row: the caller appends the value, set fills in the checksum.
func header(size int) []byte {
	return append(make([]byte, 0, rowHeaderBytes+size), rowFormat, 0, 0, 0, 0)
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
