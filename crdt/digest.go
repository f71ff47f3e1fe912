package crdt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

// Digest is the SHA-256 of an op's canonical bytes: it names the op's content
// and is the last tie-break of the join.
type Digest [sha256.Size]byte

// String returns 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Digest hashes the canonical bytes of o, without allocating while they are at
// most 2 KiB.
func (o *Op) Digest() Digest {
	var buf [2048]byte
	return sha256.Sum256(o.AppendCanonical(buf[:0]))
}

// Multiset is an order-free digest of a set of ops: the sum of their digests
// modulo 2^256 (Bellare and Micciancio's AdHash, 1997), with their count. Equal
// sets have equal multisets; it finds faults and missing keys, and does not
// withstand somebody who may choose 2^80 ops. The zero Multiset is empty.
type Multiset struct {
	sum   [4]uint64
	count uint64
}

// Add puts d in.
func (m *Multiset) Add(d Digest) {
	var carry uint64
	for i := range m.sum {
		m.sum[i], carry = bits.Add64(m.sum[i], binary.LittleEndian.Uint64(d[8*i:]), carry)
	}
	m.count++
}

// Remove takes d out again; it must have been put in.
func (m *Multiset) Remove(d Digest) {
	var borrow uint64
	for i := range m.sum {
		m.sum[i], borrow = bits.Sub64(m.sum[i], binary.LittleEndian.Uint64(d[8*i:]), borrow)
	}
	m.count--
}

// Count returns how many ops are in m.
func (m *Multiset) Count() uint64 { return m.count }

// MultisetBytes is the length of an encoded Multiset.
const MultisetBytes = 40

// Bytes encodes m: sum, then count, little-endian.
func (m *Multiset) Bytes() [MultisetBytes]byte {
	var out [MultisetBytes]byte
	for i, s := range m.sum {
		binary.LittleEndian.PutUint64(out[8*i:], s)
	}
	binary.LittleEndian.PutUint64(out[32:], m.count)
	return out
}

// MultisetFrom decodes what Bytes wrote.
func MultisetFrom(b [MultisetBytes]byte) Multiset {
	var m Multiset
	for i := range m.sum {
		m.sum[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	m.count = binary.LittleEndian.Uint64(b[32:])
	return m
}

// String is for people: the first 8 bytes of the sum in hexadecimal.
func (m *Multiset) String() string {
	b := m.Bytes()
	return hex.EncodeToString(b[:8])
}
