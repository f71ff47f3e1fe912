package core

import (
	"maps"
	"slices"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// enter looks at a local record that is linked to nothing: it may be one that we
// created or knew, or else it is born when the binding lets it in.
func (s *step) enter(v *view) error {
	if v.rec.Deleted {
		return nil
	}
	own, waits, err := s.ownCreate(v)
	if err != nil {
		return err
	}
	if own == nil && v.rec.CreatedBy.Self {
		abreast, err := s.abreast(v.pact.Name)
		if err != nil {
			return err
		}
		waits = waits || !abreast
	}
	if waits {
		return s.lookAt(v.system, keyItem(v.rec.Key), s.now+s.cfg.backoffMin().Milliseconds())
	}
	if own != nil {
		if err := s.created(v.system, own, v.rec.Key); err != nil {
			return err
		}
		own.State = stateDone
		if err := s.keep(v.system, own); err != nil {
			return err
		}
		return s.takeIn(v.system, v.rec, v.ahead)
	}
	id := s.recordID(v.system, v.rec.Key)
	if named, err := crdt.ParseRecordID(v.rec.Correlation); err == nil && !named.IsZero() && v.rec.CreatedBy.Self {
		if sh, err := s.shadow(v.system, named); err != nil {
			return err
		} else if sh == nil { // else somebody copied the record, key and all
			id = named
		}
	}
	life, err := s.desired(crdt.Key{Pact: v.pact.Name, Type: v.pact.Record, Record: id, Field: crdt.FieldLife})
	if err != nil {
		return err
	}
	if !life.IsZero() {
		return s.rejoin(v, id)
	}
	in, problem := v.sys.Binding.Enters(v.rec.Fields)
	if problem != nil {
		return s.hold(Hold{
			System: v.system, Record: id, Key: v.rec.Key, Code: problem.Code, Message: problem.Message, Outgoing: true,
			Quiet: problem.Keep,
		})
	}
	if !in || s.silent(v) {
		return nil
	}
	if err := s.free(v.system, id, ""); err != nil {
		return err
	}
	return s.birth(v, id)
}

// silent reports whether nothing of this system leaves it.
func (s *step) silent(v *view) bool {
	for _, f := range v.sys.Binding.Fields() {
		if v.sys.Binding.Sends(f) {
			return false
		}
	}
	return true
}

// ownCreate finds the create of ours that may have made an unlinked record. waits
// is true while that create's own answer is to come.
func (s *step) ownCreate(v *view) (own *intent, waits bool, err error) {
	open, err := s.intents(v.system)
	if err != nil {
		return nil, false, err
	}
	for _, in := range open {
		if in.Kind != connectors.WriteCreate || in.Key != "" {
			continue
		}
		if v.sys.Capabilities.Correlation {
			if v.rec.Correlation != in.Record.String() {
				continue
			}
		} else if !v.rec.CreatedBy.Self || in.Forgotten && !sameShape(v, in) {
			continue // else the only one that is open: see creating
		}
		if in.busy() {
			return nil, true, nil
		}
		return in, false, nil
	}
	return nil, false, nil
}

// sameShape reports whether a record, as it was created, looks like what a
// create wrote, in a system whose creates carry no key.
func sameShape(v *view, in *intent) bool {
	for _, w := range in.Fields {
		shown, whole := tupleOf(v.rec.Fields, slices.Collect(maps.Keys(w.Writes)))
		if !whole {
			return false
		}
		for name, first := range original(v.rec.History, slices.Collect(maps.Keys(w.Writes)), shown) {
			if !plainText(first).Equal(plainText(w.Writes[name])) {
				return false
			}
		}
	}
	return true
}

// rejoin links a record that the pact knows to the local one that it was, or is,
// here. Every field is compared as at a first meeting.
func (s *step) rejoin(v *view, id crdt.RecordID) (err error) {
	if v.sh, err = s.link(v.system, id, v.rec.Key, s.self.Generation); err != nil {
		return err
	}
	if err := s.free(v.system, id, ""); err != nil {
		return err
	}
	if err := s.sayLink(v.system, id, v.rec.Key); err != nil {
		return err
	}
	return s.take(v)
}

// birth brings a local record into the pact: its fields, its link, and last that
// it is live, so that nobody creates half of it.
func (s *step) birth(v *view, id crdt.RecordID) (err error) {
	if v.sh, err = s.link(v.system, id, v.rec.Key, s.self.Generation); err != nil {
		return err
	}
	b := v.sys.Binding
	for _, f := range b.Fields() {
		shown, ok := tupleOf(v.rec.Fields, b.Locals(f))
		if !ok {
			continue
		}
		if !b.Sends(f) {
			s.image(v, f, shown, shadow.Version{})
			continue
		}
		val, problem := b.Get(f, shown)
		had, err := s.desired(v.key(f))
		if err != nil {
			return err
		}
		switch {
		case !had.IsZero():
			continue // half born once by a newer copy of this store: capture compares
		case problem != nil:
			err = s.holdOut(v, f, problem.Code, problem.Message, problem.Keep)
		case val.IsNull():
			s.image(v, f, shown, shadow.Version{})
		default:
			when := editMoment(&v.sys.Capabilities, v.rec, b.Locals(f), shown, 0)
			err = s.bear(v, f, shown, editOn{}, when)
		}
		if err != nil {
			return err
		}
	}
	if err := s.sayLink(v.system, id, v.rec.Key); err != nil {
		return err
	}
	born := moment{at: v.rec.Created, class: crdt.EvidenceHistory}
	if _, _, err := s.say(draft{
		key: v.key(crdt.FieldLife), value: crdt.Life{}.Value(), system: v.system, when: born, ahead: v.ahead,
	}); err != nil {
		return err
	}
	s.emit(Notice{Kind: NoticeBorn, System: v.system, Pact: v.pact.Name, Record: id})
	if err := s.spread(v.system, v.pact.Name, id); err != nil {
		return err
	}
	return s.take(v)
}

// bear says one field of a new record.
func (s *step) bear(v *view, f crdt.Field, shown tuple, on editOn, when moment) error {
	val, _ := v.sys.Binding.Get(f, shown)
	if field, ok := v.pact.Field(f); ok && !field.MayWrite(s.cfg.Site) {
		s.image(v, f, shown, shadow.Version{}) // not ours to say: no edit, no hold
		return nil
	} else if !ok {
		return s.holdOut(v, f, pact.ReasonField, "the pact has no such field", false)
	}
	version, ok, err := s.sayEdit(v, f, val, on, when)
	if err != nil || !ok {
		return err
	}
	s.image(v, f, shown, version)
	return nil
}
