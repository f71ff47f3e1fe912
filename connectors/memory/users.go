package memory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// ErrNoRecord is wrapped when a user names a record that is not there.
var ErrNoRecord = errors.New("no such record")

// The methods below are the users' side: no fault strikes them, but
// normalisers, clocks and history work on them as on everybody. A zero at means
// the system's time now.

// Create adds a record as user.
func (s *System) Create(user string, fields map[string]value.Value, at time.Time) connectors.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.create(user, "", fields, s.moment(at)).key
}

// Edit changes fields as user.
func (s *System) Edit(user string, key connectors.Key, fields map[string]value.Value, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live(key)
	if err != nil {
		return err
	}
	s.setAll(r, user, fields, s.moment(at))
	return nil
}

// AddComment appends a comment as user and returns its key.
func (s *System) AddComment(user string, key connectors.Key, body string, internal bool, at time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live(key)
	if err != nil {
		return "", err
	}
	return s.comment(r, user, body, internal, "", s.moment(at)), nil
}

// Delete deletes a record.
func (s *System) Delete(key connectors.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live(key)
	if err != nil {
		return err
	}
	r.deleted = true
	s.touch(r, s.clock())
	return nil
}

// DeleteAll is a disaster: every record is deleted. It returns how many.
func (s *System) DeleteAll() int {
	n := 0
	for _, key := range s.Keys() {
		if s.Delete(key) == nil {
			n++
		}
	}
	return n
}

// Get returns the truth about a record, deleted or not, with nothing hidden.
// Self marks the system's own connector account.
func (s *System) Get(key connectors.Key) (connectors.Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.automate()
	r := s.records[key]
	if r == nil {
		return connectors.Record{}, false
	}
	return s.show(r, s.account), true
}

// Keys lists the records that are not deleted, oldest first.
func (s *System) Keys() []connectors.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(s.sortedKeys(), func(k connectors.Key) bool { return s.records[k].deleted })
}

func (s *System) sortedKeys() []connectors.Key {
	keys := slices.Collect(maps.Keys(s.records))
	slices.SortFunc(keys, func(a, b connectors.Key) int { return number(a) - number(b) })
	return keys
}

// number of a key that the system itself made.
func number(k connectors.Key) int {
	n, _ := strconv.Atoi(string(k))
	return n
}

func (s *System) live(key connectors.Key) (*record, error) {
	s.automate()
	if r := s.records[key]; r != nil && !r.deleted {
		return r, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoRecord, key)
}

func (s *System) moment(at time.Time) time.Time {
	if at.IsZero() {
		return s.clock()
	}
	return s.grain(at.UTC())
}

// Snapshot is a system's content at one moment.
type Snapshot struct {
	records            map[connectors.Key]*record
	keys, seq, changes uint64
}

// Snapshot copies the content.
func (s *System) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{copyAll(s.records), s.keys, s.seq, s.changes}
}

// Restore puts the system back, as a restored backup does: revisions, numbers
// and keys go back too, so later ones are given out a second time.
func (s *System) Restore(old Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.keys, s.seq, s.changes, s.due = copyAll(old.records), old.keys, old.seq, old.changes, nil
}

func copyAll(records map[connectors.Key]*record) map[connectors.Key]*record {
	copied := make(map[connectors.Key]*record, len(records))
	for key, r := range records {
		c := *r
		c.fields, c.comments, c.history = maps.Clone(r.fields), slices.Clone(r.comments), slices.Clone(r.history)
		copied[key] = &c
	}
	return copied
}
