package core

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/seal"
	"github.com/entente-sync/entente/crdt/value"
)

// hourMillis is the window of the create brake.
const hourMillis = int64(time.Hour / time.Millisecond)

// bring looks at a record of the feed that has no local key here: it is created
// once it is live and whole. attempts is how often that failed before; absent says
// that a look-up has just proven that it does not exist.
func (s *step) bring(system string, id crdt.RecordID, attempts uint64, absent bool) error {
	sh, err := s.shadow(system, id)
	if err != nil {
		return err
	}
	if sh != nil {
		return s.look(system, keyItem(sh.Key))
	}
	in, err := s.intent(system, id)
	if err != nil {
		return err
	}
	if in != nil {
		return s.doubtfulCreate(system, in, attempts)
	}
	v := &view{system: system, sys: s.cfg.Systems[system], pact: s.pactOf(system), rec: &connectors.Record{}}
	if busy, err := s.creating(system); err != nil {
		return err
	} else if busy {
		return s.lookAt(system, recordItem(id), s.now+s.cfg.backoffMin().Milliseconds())
	}
	life, err := s.desired(crdt.Key{Pact: v.pact.Name, Type: v.pact.Record, Record: id, Field: crdt.FieldLife})
	if err != nil || life.IsZero() || v.pact.CheckEntry(&life.Op) != "" {
		return err
	}
	if l, err := crdt.DecodeLife(life.Op.Value); err != nil || l.Deleted {
		return nil
	}
	tied, err := inbox.Register(s.tx, life.Op.Key.Sibling(crdt.LinkField(s.cfg.Site, system)))
	if err != nil {
		return err
	}
	if !tied.IsZero() { // it exists here, but this store lost the key to its link
		return s.hold(Hold{
			System: system, Record: id, Code: codeLink, Version: life.Op.ID(),
			Message: "the record is tied to a local one by a link that this store cannot read",
		})
	}
	in, err = s.plan(v, id)
	if err != nil || in == nil {
		return err
	}
	if braked, err := s.brake(system, id); err != nil || braked {
		return err
	}
	if h, ok, err := s.holdOf(system, id, ""); err != nil {
		return err
	} else if ok && h.Code != codeCreate {
		err = s.free(system, id, "")
		if err != nil {
			return err
		}
	} else if ok {
		return nil // the system refused to create it: a person acts, then Released
	}
	s.attempts = attempts
	if lost, err := s.mayExist(&life); err != nil {
		return err
	} else if lost && !absent {
		in.Forgotten = true
		return errors.Join(s.intend(system, in), s.doubt(system, in), s.look(system, recordItem(id)))
	}
	return s.create(v, in)
}

// creating reports whether a create is open in a system whose creates carry no
// key. One at a time: what our own account made and nobody knows is then that one,
// whatever the system or its people made of it meanwhile.
func (s *step) creating(system string) (bool, error) {
	if s.cfg.Systems[system].Capabilities.Correlation {
		return false, nil
	}
	open, err := s.intents(system)
	return slices.ContainsFunc(open, func(in *intent) bool {
		return in.Kind == connectors.WriteCreate && in.Key == "" && !in.Forgotten
	}), err
}

// create opens the write of a planned create.
func (s *step) create(v *view, in *intent) error {
	writes := tuple{}
	maps.Copy(writes, v.sys.Binding.OnCreate())
	for _, f := range sortedFields(in.Fields) {
		maps.Copy(writes, in.Fields[f].Writes)
	}
	w := connectors.Write{Kind: connectors.WriteCreate, Fields: writes}
	if v.sys.Capabilities.Correlation {
		w.Correlation = in.Record.String()
	}
	return s.open(v.system, in, w)
}

// mayExist reports whether a record may have been created already in a time that
// this store forgot; life is its lifecycle register.
func (s *step) mayExist(life *crdt.Register) (bool, error) {
	f, err := inbox.GetFeed(s.tx, life.Op.Key.Pact)
	if f.Doubt == 0 {
		return false, err
	}
	return life.Birth.Epoch != f.Epoch || life.Birth.Offset <= f.Doubt, err // other epochs are older
}

// plan decides the fields of a create; nil if it has to wait.
func (s *step) plan(v *view, id crdt.RecordID) (*intent, error) {
	in := &intent{Kind: connectors.WriteCreate, Record: id, Fields: map[crdt.Field]intentField{}}
	b := v.sys.Binding
	receives := false
	for _, f := range b.Fields() {
		if !b.Receives(f) {
			continue
		}
		receives = true
		field, ok := v.pact.Field(f)
		if !ok {
			continue
		}
		r, err := s.desired(crdt.Key{Pact: v.pact.Name, Type: v.pact.Record, Record: id, Field: f})
		if err != nil {
			return nil, err
		}
		val, code, message := check(v.pact, &r)
		if code == "register.empty" && !field.Required {
			continue
		}
		var writes tuple
		quiet := false
		if code == "" {
			var problem *Problem
			if writes, problem = b.Put(f, val, nil); problem != nil {
				code, message, quiet = problem.Code, problem.Message, problem.Keep
			}
		}
		if h, ok, err := s.holdOf(v.system, id, f); err != nil {
			return nil, err
		} else if ok && h.Version == r.Op.ID() && !r.IsZero() && code == "" {
			code, message, quiet = h.Code, h.Message, h.Quiet // the system refused it
		}
		if code != "" {
			if code == "register.empty" {
				return nil, nil // a required field has not arrived yet
			}
			if err := s.hold(Hold{
				System: v.system, Record: id, Field: f, Code: code, Message: message, Quiet: quiet, Version: r.Op.ID(),
			}); err != nil || field.Required {
				return nil, err
			}
			continue
		}
		if val.IsNull() || len(writes) == 0 {
			continue
		}
		version, err := s.versionOf(&r)
		if err != nil {
			return nil, err
		}
		in.Fields[f] = intentField{Writes: writes, Version: version}
	}
	if !receives || len(in.Fields) == 0 {
		return nil, nil
	}
	return in, nil
}

// brake stops a system that creates more than it should in an hour.
func (s *step) brake(system string, id crdt.RecordID) (bool, error) {
	st, err := systemOf(s.tx, system)
	if err != nil {
		return false, err
	}
	if s.now-st.HourMillis >= hourMillis || s.now < st.HourMillis {
		st.HourMillis, st.Creates = s.now, 0
	}
	if st.Creates >= s.cfg.createsMax() {
		return true, errors.Join(
			s.hold(Hold{
				System: system, Record: crdt.RecordID{}, Code: codeBrake, Outgoing: true,
				Message: "more records were to be created within an hour than the brake allows",
			}),
			s.lookAt(system, recordItem(id), st.HourMillis+hourMillis)) // or when released
	}
	st.Creates++
	return false, s.changeSystem(system, func(to *systemState) { to.HourMillis, to.Creates = st.HourMillis, st.Creates })
}

// doubtfulCreate looks for a record that may have been created, and believes
// its absence only after the system's staleness bound.
func (s *step) doubtfulCreate(system string, in *intent, attempts uint64) error {
	if in.busy() {
		return nil // its answer comes
	}
	if in.State == stateDone {
		return s.look(system, keyItem(in.Key))
	}
	if err := s.steppedBack(system, in); err != nil {
		return err
	}
	if s.cfg.Systems[system].Capabilities.Correlation {
		in.State, in.CalledMillis = stateFinding, s.now
		s.emit(Find{System: system, Intent: in.ID, Correlation: in.Record.String()})
		in.Attempts = attempts
		return errors.Join(s.flight(system, 1), s.keep(system, in))
	}
	if absent, err := s.unlisted(system, in); err != nil || !absent {
		wait := max(s.doubtUntil(system, in)-s.now, s.cfg.backoffMin().Milliseconds())
		return errors.Join(err, s.lookAt(system, recordItem(in.Record), s.now+wait))
	}
	return s.createAgain(system, in)
}

// createAgain forgets a create whose absence is proven, and begins anew.
func (s *step) createAgain(system string, in *intent) error {
	if err := s.settled(system, in); err != nil {
		return err
	}
	return s.bring(system, in.Record, in.Attempts, true)
}

// unlisted reports whether a create without a key to find it by is proven absent:
// a listing read to its end after the staleness bound, and every unknown record
// in it looked at (see sameShape).
func (s *step) unlisted(system string, in *intent) (bool, error) {
	st, err := systemOf(s.tx, system)
	if err != nil || st.ListedMillis < s.doubtUntil(system, in) || st.ListedMillis > s.now {
		return false, err // or the clock stepped back since
	}
	unread, err := s.items(system, func(it item, _ work) bool { return it.kind == itemKey })
	if err != nil {
		return false, err
	}
	for _, it := range unread {
		if _, known, err := s.linked(system, connectors.Key(it.name)); err != nil || !known {
			return false, err
		}
	}
	return true, nil
}

// listedBounds is how many staleness bounds a create without a key is waited for:
// a listing shows a record at its newest change only, so that whoever edits it
// hides it for one more.
const listedBounds = 3

// doubtUntil is when absence becomes proof.
func (s *step) doubtUntil(system string, in *intent) int64 {
	c := s.cfg.Systems[system].Capabilities
	stale := max(c.StaleMax, s.cfg.doubtMin())
	if in.Kind == connectors.WriteCreate && !c.Correlation {
		stale *= listedBounds
	}
	return in.SinceMillis + stale.Milliseconds()
}

// found takes the answer of a look-up in.
func (s *step) found(e Found) error {
	system, in, err := s.intentByID(e.Intent)
	if err != nil || in == nil || in.State != stateFinding || system != e.System {
		return err
	}
	in.State = stateDoubt
	if err := errors.Join(s.flight(system, -1), s.keep(system, in)); err != nil {
		return err
	}
	it := recordItem(in.Record)
	if e.Fault != nil {
		return s.later(system, it, in.Attempts, e.Fault.RetryAfter)
	}
	if s.pactOf(system) == nil {
		return s.look(system, it)
	}
	for _, key := range e.Keys {
		if _, taken, err := s.linked(system, key); err != nil {
			return err
		} else if taken {
			continue // a copy that a person made carries the key, too
		}
		if err := s.created(system, in, key); err != nil {
			return err
		}
		in.State, in.SinceMillis = stateDone, s.now
		return errors.Join(s.keep(system, in), s.look(system, keyItem(key)))
	}
	// What counts is when the look-up began: its answer may be old.
	if in.CalledMillis > s.now {
		return s.lookAt(system, it, s.now+s.cfg.backoffMin().Milliseconds()) // by a clock that stepped back since
	}
	if wait := s.doubtUntil(system, in) - in.CalledMillis; wait > 0 {
		return s.lookAt(system, it, s.now+min(wait, max(s.cfg.backoffMin().Milliseconds(), wait/4)))
	}
	return s.createAgain(system, in)
}

// created ties a record to the local key that our own create made.
func (s *step) created(system string, in *intent, key connectors.Key) error {
	if key == "" {
		in.State = stateDoubt
		return nil
	}
	in.Key = key
	sh, err := s.link(system, in.Record, key, s.self.Generation)
	if err != nil {
		return err
	}
	if err := s.free(system, in.Record, ""); err != nil {
		return err
	}
	return s.sayLink(system, sh.ID, key)
}

// sayLink tells the pact, sealed, which local key a record has here.
func (s *step) sayLink(system string, id crdt.RecordID, key connectors.Key) error {
	p := s.pactOf(system)
	at := crdt.Key{Pact: p.Name, Type: p.Record, Record: id, Field: crdt.LinkField(s.cfg.Site, system)}
	r, err := s.desired(at)
	if err != nil {
		return err
	}
	if old, err := seal.Open(s.linkKey(), &r.Op); err == nil && old.AsText() == string(key) {
		return nil
	}
	base, err := s.versionOf(&r)
	if err != nil {
		return err
	}
	_, _, err = s.say(draft{
		key: at, value: value.Text(string(key)), sealed: true, system: system,
		base: base.Base(), above: r.Op.Stamp, when: moment{class: crdt.EvidencePoll},
	})
	return err
}
