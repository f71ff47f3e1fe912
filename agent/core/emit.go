package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/hlc"
	"github.com/entente-sync/entente/crdt/seal"
	"github.com/entente-sync/entente/crdt/value"
)

// moment is when an edit was made, on the system's clock.
type moment struct {
	at    time.Time
	class crdt.EvidenceClass
	// uncertain is how much earlier it may have been.
	uncertain time.Duration
}

// draft is an op that is not numbered yet.
type draft struct {
	key    crdt.Key
	value  value.Value
	sealed bool // with the link key
	base   crdt.Base
	above  crdt.Stamp // the stamp must be greater
	when   moment
	ahead  time.Duration // of the system's clock before ours
	system string
}

// say numbers a draft and puts it into the outbox. ok is false if it cannot be
// said at all; the reason is a hold.
func (s *step) say(d draft) (v shadow.Version, ok bool, err error) {
	now := s.now - s.self.AheadMillis
	at := now
	if !d.when.at.IsZero() {
		at = d.when.at.Add(-d.ahead).UnixMilli() - s.self.AheadMillis
	}
	stamp, err := hlc.Next(at, now, d.above)
	if err != nil {
		return v, false, s.hold(Hold{
			System: d.system, Record: d.key.Record, Field: d.key.Field, Code: "stamp.exhausted",
			Message: "no stamp is left above the version that was edited", Outgoing: true,
		})
	}
	op := crdt.Op{
		Key: d.key, Stamp: stamp, Author: s.author(), Base: d.base,
		PactVersion: s.cfg.Pacts[d.key.Pact].Version,
		Binding:     s.cfg.Systems[d.system].Binding.Revision(),
		Evidence:    crdt.Evidence{Class: d.when.class, UncertaintyMillis: uint32(min(max(d.when.uncertain.Milliseconds(), 0), 1<<32-1))},
	}
	finish := func(op *crdt.Op) (err error) {
		if d.sealed {
			op.Value, err = seal.Seal(s.linkKey(), op, d.value)
		}
		return err
	}
	if !d.sealed {
		op.Value = seal.Plain(d.value)
	}
	if len(op.Value) > crdt.ValueBytesMax {
		return v, false, s.hold(Hold{
			System: d.system, Record: d.key.Record, Field: d.key.Field, Code: "op.oversize",
			Message: fmt.Sprintf("the value has %d bytes, limit %d", len(op.Value), crdt.ValueBytesMax), Outgoing: true,
		})
	}
	op, err = outbox.Append(s.tx, op, finish)
	if err != nil {
		return v, false, err
	}
	s.send(d.key.Pact, false)
	return shadow.Version{ID: op.ID(), Stamp: op.Stamp, Birth: d.base.Birth}, true, nil
}

// spread makes the systems of this agent look at a record again, all but from.
func (s *step) spread(from string, name crdt.Pact, record crdt.RecordID) error {
	for _, system := range s.systemsOf(name) {
		if system == from {
			continue
		}
		sh, err := s.shadow(system, record)
		if err != nil {
			return err
		}
		it := recordItem(record)
		if sh != nil {
			it = keyItem(sh.Key)
		}
		if err := s.look(system, it); err != nil {
			return err
		}
	}
	return nil
}

// settleVersion fills in the birth of a version, if the feed told it since.
func (s *step) settleVersion(key crdt.Key, v shadow.Version) (shadow.Version, error) {
	if v.ID.IsZero() {
		return v, nil
	}
	r, err := inbox.Register(s.tx, key)
	if err == nil && r.Op.ID() == v.ID && !r.Birth.IsZero() {
		v.Birth = r.Birth
	}
	return v, err
}

// versionOf is the version of r as a shadow keeps it.
func (s *step) versionOf(r *crdt.Register) (shadow.Version, error) {
	v := shadow.Version{ID: r.Op.ID(), Stamp: r.Op.Stamp, Birth: r.Birth}
	if !v.Birth.IsZero() {
		return v, nil
	}
	v.Birth = r.Op.Base.Birth // an own op of unknown position inherits
	return s.settleVersion(r.Op.Key, v)
}

// calibrate forgets how far our clock was ahead of the hub's once it no longer is:
// edits would be taken for older ones for ever. hubMillis is the hub's clock, 0 if
// unknown.
func (s *step) calibrate(hubMillis int64) error {
	if ahead := max(s.now-hubMillis, 0); hubMillis > 0 && ahead < s.self.AheadMillis {
		s.self.AheadMillis = ahead
		return s.saveIdentity()
	}
	return nil
}

// acked takes the hub's answers in.
func (s *step) acked(e Acked) error {
	f, err := inbox.GetFeed(s.tx, e.Pact)
	if err != nil || f.Epoch != e.Epoch {
		return err
	}
	if err := s.calibrate(e.HubMillis); err != nil {
		return err
	}
	for _, result := range e.Results {
		entry, ok, err := outbox.Find(s.tx, e.Pact, result.Op)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		switch result.Outcome {
		case OutcomeApplied:
			err = outbox.Ack(s.tx, entry, result.Offset)
		case OutcomeRefused:
			err = s.refused(entry, result.Reason, e.HubMillis)
		default:
			s.send(e.Pact, true)
		}
		if err != nil {
			return err
		}
	}
	return s.passed(&f, e.Pact)
}

// passed lets ops leave the outbox whose effect the feed has shown. Only a feed
// that was read to its head shows all of it: before that, the version that replaced
// an op may lie ahead, and a hub that is lost now takes both with it.
func (s *step) passed(f *inbox.Feed, name crdt.Pact) error {
	if f.Offset < f.Head {
		return nil
	}
	return outbox.Passed(s.tx, name, f.Offset)
}

// refused drops an op that the hub refused for good. What it said is said
// again with a better stamp, or waits for a person; an op made on it moves to what
// it was made on itself (SEMANTICS rule 3).
func (s *step) refused(e outbox.Entry, reason string, hubMillis int64) error {
	s.emit(Notice{Kind: NoticeRefused, Pact: e.Op.Key.Pact, Record: e.Op.Key.Record, Field: e.Op.Key.Field, Code: reason})
	pending, err := outbox.Pending(s.tx, e.Op.Key)
	if err != nil {
		return err
	}
	if err := outbox.Drop(s.tx, e); err != nil {
		return err
	}
	base := e.Base()
	onBase := shadow.Version{ID: base.Pred, Birth: base.Birth}
	if cur, err := s.desired(e.Op.Key); err != nil {
		return err
	} else if cur.Op.ID() == base.Pred {
		onBase.Stamp = cur.Op.Stamp
	}
	for _, later := range pending {
		if later.Base().Pred == e.Op.ID() {
			return errors.Join(
				outbox.Rebase(s.tx, later, base),
				s.rename(e.Op.Key, e.Op.ID(), onBase))
		}
	}
	if reason == "stamp.future" || reason == "stamp.base" || reason == "seq.reused" {
		again, ok, err := s.restamp(e, reason, hubMillis)
		if err != nil {
			return err
		}
		if ok {
			return s.rename(e.Op.Key, e.Op.ID(), again)
		}
	}
	for _, system := range s.systemsOf(e.Op.Key.Pact) {
		sh, err := s.shadow(system, e.Op.Key.Record)
		if err != nil {
			return err
		}
		if sh != nil && sh.Fields[e.Op.Key.Field].Version.ID != e.Op.ID() && !e.Op.Key.Field.Reserved() {
			continue // another system made the edit
		}
		if err := s.hold(Hold{
			System: system, Record: e.Op.Key.Record, Field: e.Op.Key.Field, Code: reason,
			Message: "the hub refused this change", Outgoing: true, Version: e.Op.ID(),
		}); err != nil {
			return err
		}
	}
	return s.rename(e.Op.Key, e.Op.ID(), onBase)
}

// restamp says a refused op again, no later than the hub's clock and above every
// version of the register that is known here.
func (s *step) restamp(e outbox.Entry, reason string, hubMillis int64) (shadow.Version, bool, error) {
	if ahead := s.now - hubMillis; hubMillis > 0 && ahead > s.self.AheadMillis {
		s.self.AheadMillis = ahead
		if err := s.saveIdentity(); err != nil {
			return shadow.Version{}, false, err
		}
	}
	cur, err := s.desired(e.Op.Key)
	if err != nil {
		return shadow.Version{}, false, err
	}
	base := e.Base()
	var above crdt.Stamp
	if saw, err := s.saw(base, &cur); err != nil {
		return shadow.Version{}, false, err
	} else if saw {
		above = cur.Op.Stamp
	}
	now := s.now - s.self.AheadMillis
	stamp, err := hlc.Next(e.Op.Stamp.Millis(), now, above)
	if err != nil {
		return shadow.Version{}, false, nil
	}
	if stamp == e.Op.Stamp && reason != "seq.reused" {
		// It was made on an op of ours whose own refusal is still under way: by the
		// time this one is refused again, that one has been moved.
		if waits, err := outbox.Pending(s.tx, e.Op.Key); err != nil || len(waits) == 0 {
			return shadow.Version{}, false, err
		}
	}
	again, err := s.resay(e.Op, base, stamp)
	return again, err == nil, err
}

// resay puts a copy of an op, which leaves or has left the outbox, at its end
// under the present incarnation.
func (s *step) resay(old crdt.Op, base crdt.Base, stamp crdt.Stamp) (shadow.Version, error) {
	op := old
	op.Stamp, op.Base, op.Author, op.Seq = stamp, base, s.author(), 0
	var finish func(*crdt.Op) error
	if id, err := seal.KeyID(old.Value); err == nil && id == s.linkKey().ID {
		finish = func(op *crdt.Op) error { // what is sealed is bound to its op
			v, err := seal.Open(s.linkKey(), &old)
			if err == nil {
				op.Value, err = seal.Seal(s.linkKey(), op, v)
			}
			return err
		}
	}
	op, err := outbox.Append(s.tx, op, finish)
	if err != nil {
		return shadow.Version{}, err
	}
	s.send(op.Key.Pact, false)
	return shadow.Version{ID: op.ID(), Stamp: op.Stamp, Birth: base.Birth}, nil
}

// rename replaces the version that shadows and writes under way name.
func (s *step) rename(key crdt.Key, from crdt.OpID, to shadow.Version) error {
	for _, system := range s.systemsOf(key.Pact) {
		sh, err := s.shadow(system, key.Record)
		if err != nil {
			return err
		}
		if sh != nil && sh.Fields[key.Field].Version.ID == from {
			f := sh.Fields[key.Field]
			f.Version = to
			sh.Fields[key.Field] = f
			s.touch(system, sh)
		}
		in, err := s.intent(system, key.Record)
		if err != nil {
			return err
		}
		if in == nil || in.Fields[key.Field].Version.ID != from {
			continue
		}
		f := in.Fields[key.Field]
		f.Version = to
		in.Fields[key.Field] = f
		if err := s.keep(system, in); err != nil {
			return err
		}
	}
	return nil
}

// saw reports whether an edit on base was made by somebody who had seen r.
func (s *step) saw(base crdt.Base, r *crdt.Register) (bool, error) {
	if r.IsZero() {
		return false, nil
	}
	f, err := inbox.GetFeed(s.tx, r.Op.Key.Pact)
	return base.Saw(r, f.Lineage), err
}
