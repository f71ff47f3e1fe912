// Package codec reads and writes the primitives of the hub's own formats:
// uvarints in their shortest form, fixed-width numbers, and byte strings with a
// length. One value has one encoding, and reading is total.
package codec

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C of the concatenated parts.
func Checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// AppendUvarint appends v.
func AppendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendFixed64 appends v in eight big-endian bytes.
func AppendFixed64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendBytes appends s behind its length.
func AppendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// Reader takes primitives off the front of a byte slice. After the first
// failure it returns zeros and Ok is false. What it hands out aliases the slice.
type Reader struct {
	rest   []byte
	failed bool
}

// NewReader reads b, which must not change meanwhile.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.rest) }

// Ok reports whether every read so far succeeded.
func (r *Reader) Ok() bool { return !r.failed }

// Done reports whether every read succeeded and nothing is left.
func (r *Reader) Done() bool { return !r.failed && len(r.rest) == 0 }

// Fail marks what was read as wrong for a reason that only the caller knows.
func (r *Reader) Fail() { r.failed = true }

// Take returns the next n bytes.
func (r *Reader) Take(n int) []byte {
	if r.failed || n < 0 || n > len(r.rest) {
		r.failed = true
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

// Byte returns the next byte.
func (r *Reader) Byte() byte {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Fixed64 reads what AppendFixed64 wrote.
func (r *Reader) Fixed64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads a number up to limit; longer forms of it are refused.
func (r *Reader) Uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 || v > limit || n > 1 && r.rest[n-1] == 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Bytes reads what AppendBytes wrote, at most bytesMax.
func (r *Reader) Bytes(bytesMax int) []byte {
	return r.Take(int(r.Uvarint(uint64(bytesMax))))
}

// String is Bytes as a string of its own.
func (r *Reader) String(bytesMax int) string { return string(r.Bytes(bytesMax)) }
