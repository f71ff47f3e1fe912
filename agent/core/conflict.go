package core

import (
	"bytes"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// ConflictsMax bounds one answer of Conflicts.
const ConflictsMax = 1000

// Conflict is one edit that lost, and what stands in its place.
type Conflict struct {
	crdt.Lost
	// Current is what the register shall be now, own ops included. It is the winner
	// until somebody writes again; zero for a register that was never written.
	Current crdt.Register
	// Restoring: an own op that puts the lost value back is on its way to the hub.
	Restoring bool
}

// Conflicts returns the conflict records of a pact, at most ConflictsMax: the open
// ones, or with all also those that were answered. all reads every register of
// the pact. Records that no version of this program makes are left out.
func Conflicts(tx store.Tx, name crdt.Pact, all bool) (out []Conflict, err error) {
	add := func(r crdt.Register) error {
		c, ok, err := conflictOf(tx, &r)
		if err != nil {
			return err
		}
		if ok {
			out = append(out, c)
		}
		if len(out) >= ConflictsMax {
			return store.ErrStop
		}
		return nil
	}
	if !all {
		return out, inbox.Open(tx, name, add)
	}
	return out, inbox.Walk(tx, name, nil, func(_ []byte, r crdt.Register) error {
		if !r.Op.Key.Field.IsLost() {
			return nil
		}
		return add(r)
	})
}

// conflictOf completes a conflict record; ok is false for one that cannot be read.
func conflictOf(tx store.Tx, r *crdt.Register) (c Conflict, ok bool, err error) {
	if c.Lost, err = crdt.DecodeLost(&r.Op); err != nil {
		return c, false, nil
	}
	key := c.Loser.Key
	if c.Current, err = inbox.Register(tx, key); err != nil {
		return c, false, err
	}
	pending, err := outbox.Pending(tx, key)
	for i := range pending {
		own := crdt.NewRegister(pending[i].Op, crdt.Position{})
		c.Current = *crdt.Join(&c.Current, &own)
		c.Restoring = c.Restoring || pending[i].Op.Base.Pred == c.Loser.ID()
	}
	return c, err == nil, err
}

// Restored is a person's word that the value of an edit that lost shall stand
// again. It becomes an op of this site that has seen both: the version that stands
// now, and the one that lost, whose record it closes. The answer is an Answer.
type Restored struct {
	NowMillis int64
	Pact      crdt.Pact
	Record    crdt.RecordID
	Field     crdt.Field
	Op        crdt.OpID // the edit that lost
}

func (e Restored) now() int64 { return e.NowMillis }

// Answer is what became of a person's word, for whoever gave it. Exactly one
// comes from the step of each event that says so.
type Answer struct {
	Refusal Refusal   // zero: it is done
	Already bool      // it was done before; nothing happened
	Op      crdt.OpID // what does it, or did
}

func (Answer) effect() {}

// Refusal says why a person's word was not followed. Nothing happened then.
type Refusal struct {
	Code    string // stable, from a bounded set
	Message string // for people; names no field value
	Later   bool   // the same may work later
}

// Codes of refusals, besides the pact's own reasons.
const (
	refusedUnknown  = "conflict.unknown"
	refusedAnswered = "conflict.answered"
	refusedKind     = "conflict.kind"
	refusedBusy     = "conflict.busy"
	refusedDeleted  = "conflict.deleted"
	refusedValue    = "conflict.unreadable"
)

func (s *step) restored(e Restored) error {
	answer, err := s.restore(e)
	if err == nil {
		s.emit(answer)
	}
	return err
}

func (s *step) restore(e Restored) (Answer, error) {
	refuse := func(code, message string) (Answer, error) {
		return Answer{Refusal: Refusal{Code: code, Message: message, Later: code == refusedBusy}}, nil
	}
	p := s.cfg.Pacts[e.Pact]
	systems := s.systemsOf(e.Pact)
	if p == nil || len(systems) == 0 {
		return refuse(refusedUnknown, "this agent does not serve the pact")
	}
	key := crdt.Key{Pact: e.Pact, Type: p.Record, Record: e.Record, Field: e.Field}
	c, found, err := s.lostTo(key, e.Op)
	switch {
	case err != nil:
		return Answer{}, err
	case !found:
		return refuse(refusedUnknown, "no conflict record of this field keeps that op")
	case c.State == crdt.LostResolved && c.Current.Op.ID() == c.Resolver.ID && bytes.Equal(c.Current.Op.Value, c.Loser.Value):
		return Answer{Already: true, Op: c.Resolver.ID}, nil
	case c.State == crdt.LostResolved:
		return refuse(refusedAnswered, "somebody who had seen the lost value has written since: "+c.Resolver.ID.String())
	}
	val, refusal, err := s.restorable(p, &c)
	if err != nil || refusal.Code != "" {
		return Answer{Refusal: refusal}, err
	}
	if c.Restoring {
		return s.underWay(key, e.Op)
	}
	feed, err := inbox.GetFeed(s.tx, e.Pact)
	if err != nil {
		return Answer{}, err
	}
	// Only a version that the feed has shown has a birth, and only a birth can be
	// seen besides the loser that the op names.
	if !feed.Met || c.Current.IsZero() || c.Current.Birth.IsZero() {
		return refuse(refusedBusy, "what stands in the field is still on its way between this agent and the hub")
	}
	op, ok, err := s.say(draft{
		key: key, value: val, system: systems[0], when: moment{class: crdt.EvidenceCommit},
		base: crdt.Base{Pred: e.Op, Birth: c.Current.Birth}, above: max(c.Current.Op.Stamp, c.Loser.Stamp),
	})
	if err != nil {
		return Answer{}, err
	}
	if !ok {
		return refuse("stamp.exhausted", "no stamp is left above the version that stands now")
	}
	s.emit(Notice{Kind: NoticeRestored, Pact: e.Pact, Record: e.Record, Field: e.Field})
	return Answer{Op: op.ID}, s.spread("", e.Pact, e.Record)
}

// lostTo finds the conflict record that keeps op.
func (s *step) lostTo(key crdt.Key, op crdt.OpID) (Conflict, bool, error) {
	all, err := inbox.OfRecord(s.tx, key)
	if err != nil {
		return Conflict{}, false, err
	}
	for i := range all {
		if of, ok := all[i].Op.Key.Field.LostOf(); !ok || of != key.Field {
			continue
		}
		c, ok, err := conflictOf(s.tx, &all[i])
		if err != nil || ok && c.Loser.ID() == op {
			return c, err == nil, err
		}
	}
	return Conflict{}, false, nil
}

// underWay names the own op that restores already.
func (s *step) underWay(key crdt.Key, lost crdt.OpID) (Answer, error) {
	pending, err := outbox.Pending(s.tx, key)
	a := Answer{Already: true}
	for i := range pending {
		if pending[i].Op.Base.Pred == lost {
			a.Op = pending[i].Op.ID()
		}
	}
	return a, err
}

// restorable opens the value of a loser, if this site may write it now.
func (s *step) restorable(p *pact.Pact, c *Conflict) (v value.Value, r Refusal, err error) {
	refuse := func(code, message string) (value.Value, Refusal, error) {
		return value.Value{}, Refusal{Code: code, Message: message}, nil
	}
	field, ok := p.Field(c.Loser.Key.Field)
	if !ok {
		return refuse(refusedKind, "what was lost is no value of a field; look at the record on both sides")
	}
	if !field.MayWrite(s.cfg.Site) {
		return refuse(pact.ReasonWriter, "the pact does not let this site write the field")
	}
	life, err := s.desired(c.Loser.Key.Sibling(crdt.FieldLife))
	if err != nil {
		return v, r, err
	}
	if l, err := crdt.DecodeLife(life.Op.Value); err != nil || l.Deleted {
		return refuse(refusedDeleted, "the record is deleted in the pact")
	}
	v, err = crdt.OpenPlain(c.Loser.Value)
	if err != nil {
		return refuse(refusedValue, "the lost value cannot be read here")
	}
	if err := pact.CheckValue(field, v); err != nil {
		return refuse(pact.ReasonValue, "the pact does not allow the lost value any more")
	}
	return v, r, nil
}
