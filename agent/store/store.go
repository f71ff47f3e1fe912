// Package store is the agent's durable memory: an ordered map of bytes with
// transactions. It knows nothing of what it keeps.
package store

import "errors"

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("agent store is closed")

// Tx reads and writes within one transaction. Keys and values that it returns
// are copies and belong to the caller; what is passed in is copied. A Tx is for
// one goroutine and dies with its transaction.
type Tx interface {
	// Get returns the value under key; ok is false if there is none.
	Get(key []byte) (value []byte, ok bool, err error)
	Set(key, value []byte) error
	Delete(key []byte) error
	// Scan calls fn for each key with prefix, from the key from (nil: the first)
	// onwards in byte order, and sees the transaction's own writes. It stops at
	// the first error, which it returns; ErrStop stops it without one. fn may write.
	Scan(prefix, from []byte, fn func(key, value []byte) error) error
}

// ErrStop ends a Scan early and is not an error.
var ErrStop = errors.New("stop scanning")

// Store keeps the map. Update runs fn in a read-write transaction: when it
// returns nil everything fn wrote is on stable storage, when it returns an error
// none of it is. View runs fn without writing, on one consistent state. Both are
// safe for concurrent use; updates run one after another.
type Store interface {
	Update(fn func(Tx) error) error
	View(fn func(Tx) error) error
	Close() error
}
