package core

import (
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/crdt"
)

// offeredMax bounds what one step offers, and walkedMax what it looks at.
const (
	offeredMax = 32
	walkedMax  = 1024
)

// offer brings own ops back to a hub that forgot them: one that was restored
// from a backup, or is new. What this agent said and the hub does not know is said
// again by its present incarnation, with the old stamp and base; the other members
// do the same, and together they hold everything.
func (s *step) offer(name crdt.Pact) error {
	f, err := inbox.GetFeed(s.tx, name)
	if err != nil || !f.Offer.Open {
		return err
	}
	var lost []crdt.Register
	walked, more := 0, false
	err = inbox.Walk(s.tx, name, f.Offer.Next, func(key []byte, r crdt.Register) error {
		if walked++; walked > walkedMax || len(lost) >= offeredMax {
			f.Offer.Next, more = key, true
			return store.ErrStop
		}
		if s.forgotten(&f, &r) {
			lost = append(lost, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range lost {
		if err := s.offerOne(&lost[i]); err != nil {
			return err
		}
	}
	if !more {
		f.Offer, f.Seen = inbox.Offer{}, nil
	} else {
		s.emit(Wake{AtMillis: s.now})
	}
	return inbox.PutFeed(s.tx, name, f)
}

// forgotten reports whether r is an own op that the hub of a new epoch does not
// know.
func (s *step) forgotten(f *inbox.Feed, r *crdt.Register) bool {
	author := r.Op.Author
	return author.Site == s.cfg.Site && author.Agent == s.cfg.Agent && author.Incarnation != s.self.Incarnation &&
		!r.Op.Key.Field.IsLost() && r.Op.Seq > f.Seen[author.Incarnation] && !untold(f.Seen, author.Incarnation)
}

// untold reports whether an incarnation is older than those that a hub told of
// because they are too many: it knows what that one said.
func untold(told map[uint64]crdt.Seq, incarnation uint64) bool {
	if len(told) < AuthorsTold {
		return false
	}
	for n := range told {
		if n <= incarnation {
			return false
		}
	}
	return true
}

// offerOne says one forgotten op again, unless it waits in the outbox anyway.
func (s *step) offerOne(r *crdt.Register) error {
	op := r.Op
	if _, waiting, err := outbox.Find(s.tx, op.Key.Pact, op.ID()); err != nil || waiting {
		return err
	}
	again, err := s.resay(op, op.Base, op.Stamp)
	if err != nil {
		return err
	}
	said, _, err := outbox.Find(s.tx, op.Key.Pact, again.ID)
	if err != nil {
		return err
	}
	known := crdt.NewRegister(said.Op, crdt.Position{})
	if _, err := inbox.Put(s.tx, &known); err != nil { // so that it is not forgotten twice
		return err
	}
	return s.rename(op.Key, op.ID(), again)
}
