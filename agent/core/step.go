package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// Errors of Step. None of them is caused by what a system or a hub says.
var (
	ErrUnopened = errors.New("agent core: the first event must be Opened")
	ErrEvent    = errors.New("agent core: unknown event")
)

// Step takes one event and returns what to do after tx committed. An error
// means that the store failed or that its bytes cannot be read; the caller rolls
// back and nothing happened. Equal store, configuration and event give equal
// writes and effects.
func Step(tx store.Tx, cfg *Config, ev Event) ([]Effect, error) {
	s := &step{tx: tx, cfg: cfg, now: ev.now(), shadows: map[shadowKey]*cached{}}
	if err := s.run(ev); err != nil {
		return nil, fmt.Errorf("agent core: %T: %w", ev, err)
	}
	return s.out, nil
}

// step is the work of one event.
type step struct {
	tx   store.Tx
	cfg  *Config
	now  int64
	self identity
	out  []Effect

	shadows map[shadowKey]*cached
	order   []shadowKey // of shadows, as first touched
	publish map[crdt.Pact]bool

	// began is when the read of what is at hand began, 0 for now.
	began int64
	// attempts is how often the item at hand failed before.
	attempts uint64
	// saidBytes counts the comments that this step said.
	saidBytes int
}

type shadowKey struct {
	system string
	record crdt.RecordID
}

type cached struct {
	record *shadow.Record // nil: not linked
	dirty  bool
}

func (s *step) run(ev Event) error {
	known, err := s.loadIdentity()
	if err != nil {
		return err
	}
	if opened, ok := ev.(Opened); ok {
		err = s.opened(opened)
	} else if !known {
		return ErrUnopened
	} else {
		err = s.dispatch(ev)
	}
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Systems)) {
		if err := s.schedule(name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.publish)) {
		s.emit(Publish{Pact: name, Rewind: s.publish[name]})
	}
	return s.flush()
}

func (s *step) dispatch(ev Event) error {
	switch e := ev.(type) {
	case Greeted:
		return s.greeted(e)
	case Fed:
		return s.fed(e)
	case Offered:
		return s.offered(e)
	case Acked:
		return s.acked(e)
	case Listed:
		return s.listed(e)
	case Hinted:
		return s.hinted(e)
	case Observed:
		return s.observed(e)
	case Missing:
		return s.missing(e)
	case Written:
		return s.written(e)
	case Found:
		return s.found(e)
	case Released:
		return s.released(e)
	case JobStarted:
		return s.jobStarted(e)
	case JobTold:
		return s.jobTold(e)
	case Reread:
		return s.reread(e)
	case JobListed:
		return s.jobListed(e)
	case Handled:
		return s.handled(e)
	case Restored:
		return s.restored(e)
	case Woken:
		return nil
	}
	return fmt.Errorf("%w: %T", ErrEvent, ev)
}

func (s *step) emit(e Effect) { s.out = append(s.out, e) }

// send notes that the outbox of a pact has something to send.
func (s *step) send(name crdt.Pact, rewind bool) {
	if s.publish == nil {
		s.publish = map[crdt.Pact]bool{}
	}
	s.publish[name] = s.publish[name] || rewind
}

// shadow returns the shadow of a record in a system, nil if it is not linked.
// Changes must be announced with touch.
func (s *step) shadow(system string, id crdt.RecordID) (*shadow.Record, error) {
	at := shadowKey{system, id}
	if c, ok := s.shadows[at]; ok {
		return c.record, nil
	}
	r, ok, err := shadow.Get(s.tx, system, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		r = nil
	}
	s.shadows[at] = &cached{record: r}
	s.order = append(s.order, at)
	return r, nil
}

// touch announces that r, the shadow of a record in a system, is new or changed.
func (s *step) touch(system string, r *shadow.Record) {
	at := shadowKey{system, r.ID}
	c, ok := s.shadows[at]
	if !ok {
		c = &cached{}
		s.shadows[at] = c
		s.order = append(s.order, at)
	}
	c.record, c.dirty = r, true
}

func (s *step) flush() error {
	for _, at := range s.order {
		c := s.shadows[at]
		if !c.dirty {
			continue
		}
		if err := shadow.Put(s.tx, at.system, c.record); err != nil {
			return err
		}
	}
	return nil
}

// link makes a new shadow, written through at once so that a look-up by key
// sees it within this step.
func (s *step) link(system string, id crdt.RecordID, key connectors.Key, generation uint64) (*shadow.Record, error) {
	r := &shadow.Record{ID: id, Key: key, Generation: generation, Fields: map[crdt.Field]shadow.Field{}}
	s.touch(system, r)
	return r, shadow.Put(s.tx, system, r)
}

// systemsOf returns the names of the systems bound to a pact, sorted.
func (s *step) systemsOf(name crdt.Pact) []string {
	var out []string
	for system, sys := range s.cfg.Systems {
		if sys.Binding.Pact() == name {
			out = append(out, system)
		}
	}
	slices.Sort(out)
	return out
}

// pactOf returns the pact of a system, nil if this site has not accepted it.
func (s *step) pactOf(system string) *pact.Pact {
	sys, ok := s.cfg.Systems[system]
	if !ok {
		return nil
	}
	return s.cfg.Pacts[sys.Binding.Pact()]
}
