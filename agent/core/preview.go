package core

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
)

// preview takes a record in as takeIn does, on a copy of the store that is thrown
// away, and returns what that would have done.
func (s *step) preview(system string, rec *connectors.Record, ahead time.Duration) (out found, err error) {
	sub := &step{
		tx: &scratch{base: s.tx, changed: map[string][]byte{}}, cfg: s.cfg, now: s.now, self: s.self,
		shadows: map[shadowKey]*cached{}, attempts: s.attempts, began: s.began,
	}
	return sub.watched(system, rec, ahead)
}

// found is what became of one record of a job.
type found struct{ linkedBefore, linked, born, changed, held bool }

// watched is takeIn, and says what it did.
func (s *step) watched(system string, rec *connectors.Record, ahead time.Duration) (out found, err error) {
	if _, out.linkedBefore, err = s.linked(system, rec.Key); err != nil {
		return out, err
	}
	before := len(s.out)
	if err := s.takeIn(system, rec, ahead); err != nil {
		return out, err
	}
	for _, e := range s.out[before:] {
		switch e := e.(type) {
		case Write:
			out.changed = true
		case Notice:
			out.born = out.born || e.Kind == NoticeBorn
			out.changed = out.changed || e.Kind == NoticeEdit
			out.held = out.held || e.Kind == NoticeHeld
		}
	}
	_, out.linked, err = s.linked(system, rec.Key)
	return out, err
}

// scratch is a transaction whose writes stay in memory.
type scratch struct {
	base    store.Tx
	changed map[string][]byte // nil: deleted
}

func (o *scratch) Get(key []byte) ([]byte, bool, error) {
	if v, ok := o.changed[string(key)]; ok {
		return slices.Clone(v), v != nil, nil
	}
	return o.base.Get(key)
}

func (o *scratch) Set(key, value []byte) error {
	o.changed[string(key)] = append([]byte{}, value...)
	return nil
}

func (o *scratch) Delete(key []byte) error {
	o.changed[string(key)] = nil
	return nil
}

// Scan implements store.Tx. It lists the keys first: what fn writes behind its
// place may be missed, which nobody here depends on.
func (o *scratch) Scan(prefix, from []byte, fn func(key, value []byte) error) error {
	var keys []string
	err := o.base.Scan(prefix, from, func(key, _ []byte) error {
		keys = append(keys, string(key))
		return nil
	})
	if err != nil {
		return err
	}
	for key := range o.changed { // sorted below
		if strings.HasPrefix(key, string(prefix)) && key >= string(from) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		v, ok, err := o.Get([]byte(key))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := fn([]byte(key), v); errors.Is(err, store.ErrStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
