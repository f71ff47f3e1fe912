package store

import (
	"bytes"
	"errors"
	"slices"
	"sync"
)

// ErrReadOnly is returned by a write within View.
var ErrReadOnly = errors.New("agent store: a view cannot write")

// Memory is a Store that forgets everything when the process ends: for tests,
// and the oracle of the durable one. The zero Memory is not usable.
type Memory struct {
	mu     sync.RWMutex
	closed bool
	m      map[string][]byte
	keys   []string // sorted
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{m: make(map[string][]byte)} }

// Update runs fn alone; an error or a panic undoes what it wrote.
func (s *Memory) Update(fn func(Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	tx := &memoryTx{s: s, writable: true}
	done := false
	defer func() {
		if !done {
			tx.rollback()
		}
	}()
	err := fn(tx)
	done = err == nil
	return err
}

// View runs fn beside other views.
func (s *Memory) View(fn func(Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return fn(&memoryTx{s: s})
}

// Close forgets nothing yet, but refuses every later call.
func (s *Memory) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed = true
	return nil
}

// Clone copies the store, as a backup would.
func (s *Memory) Clone() *Memory {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := &Memory{m: make(map[string][]byte, len(s.m)), keys: slices.Clone(s.keys)}
	for k, v := range s.m {
		c.m[k] = v // values are never changed in place
	}
	return c
}

type memoryTx struct {
	s        *Memory
	writable bool
	undo     []undo
}

// undo restores one key; a nil value with had false removes it again.
type undo struct {
	key   string
	value []byte
	had   bool
}

func (tx *memoryTx) Get(key []byte) ([]byte, bool, error) {
	v, ok := tx.s.m[string(key)]
	return bytes.Clone(v), ok, nil
}

func (tx *memoryTx) Set(key, value []byte) error {
	if !tx.writable {
		return ErrReadOnly
	}
	tx.remember(string(key))
	tx.s.put(string(key), append([]byte{}, value...))
	return nil
}

func (tx *memoryTx) Delete(key []byte) error {
	if !tx.writable {
		return ErrReadOnly
	}
	tx.remember(string(key))
	tx.s.remove(string(key))
	return nil
}

func (tx *memoryTx) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	next := string(prefix)
	if string(from) > next {
		next = string(from)
	}
	for {
		i, _ := slices.BinarySearch(tx.s.keys, next)
		if i == len(tx.s.keys) || !bytes.HasPrefix([]byte(tx.s.keys[i]), prefix) {
			return nil
		}
		key := tx.s.keys[i]
		if err := fn([]byte(key), bytes.Clone(tx.s.m[key])); errors.Is(err, ErrStop) {
			return nil
		} else if err != nil {
			return err
		}
		next = key + "\x00"
	}
}

func (tx *memoryTx) remember(key string) {
	v, ok := tx.s.m[key]
	tx.undo = append(tx.undo, undo{key: key, value: v, had: ok})
}

func (tx *memoryTx) rollback() {
	for _, u := range slices.Backward(tx.undo) {
		if u.had {
			tx.s.put(u.key, u.value)
		} else {
			tx.s.remove(u.key)
		}
	}
}

func (s *Memory) put(key string, value []byte) {
	if _, ok := s.m[key]; !ok {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	s.m[key] = value
}

func (s *Memory) remove(key string) {
	if _, ok := s.m[key]; !ok {
		return
	}
	delete(s.m, key)
	if i, ok := slices.BinarySearch(s.keys, key); ok {
		s.keys = slices.Delete(s.keys, i, i+1)
	}
}
