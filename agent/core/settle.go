package core

import (
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// written takes the outcome of a write in.
func (s *step) written(e Written) error {
	system, in, err := s.intentByID(e.Intent)
	if err != nil || in == nil || in.State != stateFlying || system != e.System {
		return err
	}
	if err := s.flight(system, -1); err != nil {
		return err
	}
	if s.pactOf(system) == nil { // the binding left while the write was under way
		return s.doubt(system, in)
	}
	if e.Fault != nil {
		return s.failed(e, in)
	}
	in.State, in.SinceMillis, in.Receipt = stateDone, s.now, e.Receipt
	if in.Kind == connectors.WriteCreate {
		if err := s.created(system, in, e.Receipt.Key); err != nil {
			return err
		}
	}
	if err := s.keep(system, in); err != nil {
		return err
	}
	return s.readBack(e, in)
}

// readBack settles a write by the record read after it, or asks for one.
func (s *step) readBack(e Written, in *intent) error {
	if err := s.void(e.System, in.Key); err != nil {
		return err
	}
	if e.Record == nil || in.Key == "" || e.Record.Key != in.Key || s.pactOf(e.System) == nil {
		return s.look(e.System, s.itemOf(in))
	}
	return s.takeIn(e.System, e.Record, e.ClockAhead)
}

// settle decides what became of a write, by the record as it is shown now. It
// returns the intent if that is still open.
func (s *step) settle(v *view, in *intent) (*intent, error) {
	if in.Kind == connectors.WriteComment {
		return s.settleComment(v, in)
	}
	if in.Forgotten {
		return nil, s.settled(v.system, in)
	}
	for _, f := range sortedFields(in.Fields) {
		if err := s.settleField(v, in, f); err != nil {
			return nil, err
		}
	}
	if in.Kind == connectors.WriteCreate {
		if err := s.settleRest(v, in); err != nil {
			return nil, err
		}
		s.emit(Notice{Kind: NoticeCreated, System: v.system, Pact: v.pact.Name, Record: v.sh.ID})
	} else {
		s.emit(Notice{Kind: NoticeSettled, System: v.system, Pact: v.pact.Name, Record: v.sh.ID})
	}
	return nil, s.settled(v.system, in)
}

// settleField decides one field of a write: image, run over, not written, or
// edited since (SEMANTICS rules 5 to 7). What it leaves to capture differs from the
// shadow.
func (s *step) settleField(v *view, in *intent, f crdt.Field) error {
	w := in.Fields[f]
	locals := v.sys.Binding.Locals(f)
	shown, ok := tupleOf(v.rec.Fields, locals)
	if !ok {
		return nil
	}
	want := overlay(shown, w.Writes)
	if w.Before != nil {
		want = overlay(w.Before, w.Writes)
	}
	c := &v.sys.Capabilities
	t := traceOf(c, v.rec.History, in.Mark, locals, w.Before)
	done := in.State == stateDone || in.Kind == connectors.WriteCreate
	if t.known {
		if in.Kind == connectors.WriteCreate && (t.foreign || t.after) {
			return s.shows(v, f, w, want, s.systemNow(v.ahead)) // capture finds the edit
		}
		if in.Kind == connectors.WriteCreate && !t.wrote && s.dropped(v, f, shown, want) {
			s.image(v, f, shown, shadow.Version{}) // and reconcile writes it
			return nil
		}
		return s.settleByHistory(v, f, w, t, shown, want, done)
	}
	proof := done && in.Receipt.Revision != "" && in.Receipt.Revision == v.rec.Revision
	switch {
	case !done && equalTuple(shown, w.Before) && !equalTuple(shown, want):
		return nil // not written: reconcile writes it again
	case proof || sameShown(shown, want, c.Normalises):
		return s.shows(v, f, w, shown, s.systemNow(v.ahead))
	case !done:
		return s.doubtful(v, f, w, shown)
	}
	return s.unproven(v, f, w, shown, want)
}

// dropped reports whether a create did not take a value over: what is shown
// means something else, and is not another spelling of it. Some systems give every
// new record their first status and allow the wanted one only as an update.
func (s *step) dropped(v *view, f crdt.Field, shown, want tuple) bool {
	field, ok := v.pact.Field(f)
	if !ok || field.Type == pact.TypeText || field.Type == pact.TypeRichText {
		return false
	}
	wanted, problem := v.sys.Binding.Get(f, want)
	if problem != nil {
		return false
	}
	val, problem := v.sys.Binding.Get(f, shown)
	return problem != nil && !problem.Keep || problem == nil && !val.Equal(wanted)
}

func (s *step) settleByHistory(v *view, f crdt.Field, w intentField, t trace, shown, want tuple, done bool) error {
	same := sameShown(shown, want, v.sys.Capabilities.Normalises)
	if !done && equalTuple(shown, w.Before) { // unchanged is no spelling of something new
		same = equalTuple(shown, want)
	}
	switch {
	case t.wrote:
		if t.ran != nil {
			if err := s.ranOver(v, f, t); err != nil {
				return err
			}
		}
		if t.after && !same {
			return s.shows(v, f, w, want, millis(t.at)) // and capture finds the edit
		}
		return s.shows(v, f, w, shown, millis(t.at))
	case t.foreign && done && !same: // our write changed nothing when it came
		return s.doubtful(v, f, w, shown)
	case done || same:
		return s.shows(v, f, w, shown, s.systemNow(v.ahead))
	}
	return nil // not written: what differs is an edit on the old version
}

// shows makes shown the image of what was written.
func (s *step) shows(v *view, f crdt.Field, w intentField, shown tuple, atMillis int64) error {
	version, err := s.settleVersion(v.key(f), w.Version)
	if err != nil {
		return err
	}
	s.image(v, f, shown, version)
	sh := v.sh.Fields[f]
	sh.WroteMillis = atMillis
	v.sh.Fields[f] = sh
	return s.arrived(v, f)
}

// ranOver captures the value that our write ran over, on what its author saw.
func (s *step) ranOver(v *view, f crdt.Field, t trace) error {
	b := v.sys.Binding
	val, problem := b.Get(f, t.ran)
	old := v.sh.Fields[f]
	if problem != nil || !b.Sends(f) {
		return nil // nothing that could be said; the system's own history keeps it
	}
	if before, problem := b.Get(f, old.Shown); old.Shown != nil && problem == nil && before.Equal(val) {
		return nil
	}
	_, _, err := s.sayEdit(v, f, val, editOn{version: old.Version}, t.ranWhen)
	return err
}

// doubtful captures a value of which it is not sure what it was made on.
func (s *step) doubtful(v *view, f crdt.Field, w intentField, shown tuple) error {
	b := v.sys.Binding
	val, problem := b.Get(f, shown)
	if problem != nil || !b.Sends(f) {
		return nil // capture holds it
	}
	if want, err := s.desired(v.key(f)); err != nil {
		return err
	} else if wanted, ok := readable(v.pact, &want); ok && wanted.Equal(val) {
		return s.adopt(v, f, shown, &want)
	}
	old := v.sh.Fields[f].Version
	when := editMoment(&v.sys.Capabilities, v.rec, b.Locals(f), shown, v.sh.Updated)
	return s.edit(v, f, shown, val, editOn{version: old, doubt: true, above: w.Version.Stamp}, when)
}

// unproven judges a read-back that differs from what was written, with nothing
// to tell a normaliser from a person. The first time it is an edit on our version;
// the same pair again is an echo.
func (s *step) unproven(v *view, f crdt.Field, w intentField, shown, want tuple) error {
	wrote, came := digest(want), digest(shown)
	sh := v.sh.Fields[f]
	if sh.EchoWritten == wrote && sh.EchoShown == came {
		return s.shows(v, f, w, shown, s.systemNow(v.ahead))
	}
	if frozen, err := s.oscillates(v, f, w); err != nil {
		return err
	} else if frozen {
		return s.shows(v, f, w, shown, s.systemNow(v.ahead))
	}
	if err := s.shows(v, f, w, want, s.systemNow(v.ahead)); err != nil {
		return err
	}
	sh = v.sh.Fields[f]
	sh.EchoWritten, sh.EchoShown = wrote, came
	v.sh.Fields[f] = sh
	return nil
}

func digest(t tuple) string {
	w := pack.NewWriter(1)
	w.Values(t)
	sum := sha256.Sum256(w.Bytes())
	return string(sum[:])
}

// settleRest takes in the fields that a create did not set: what the system
// filled in by itself is no edit.
func (s *step) settleRest(v *view, in *intent) error {
	for _, f := range v.sys.Binding.Fields() {
		if _, set := in.Fields[f]; set {
			continue
		}
		locals := v.sys.Binding.Locals(f)
		shown, ok := tupleOf(v.rec.Fields, locals)
		if !ok || v.sh.Fields[f].Shown != nil {
			continue
		}
		t := traceOf(&v.sys.Capabilities, v.rec.History, "", locals, nil)
		switch proof := in.Receipt.Revision != "" && in.Receipt.Revision == v.rec.Revision; {
		case t.known && (t.foreign || t.after):
			shown = original(v.rec.History, locals, shown) // capture finds the edit
		case !t.known && !proof:
			val, problem := v.sys.Binding.Get(f, shown)
			if problem == nil && !val.IsNull() && v.sys.Binding.Sends(f) {
				// Somebody's edit or the system's own default: nothing tells, and an edit
				// must not be lost.
				when := editMoment(&v.sys.Capabilities, v.rec, locals, shown, 0)
				if err := s.edit(v, f, shown, val, editOn{}, when); err != nil {
					return err
				}
				continue
			}
		}
		s.image(v, f, shown, shadow.Version{})
	}
	return nil
}

// failed acts on a write that did not happen, or may not have.
func (s *step) failed(e Written, in *intent) error {
	switch e.Fault.Class {
	case connectors.ClassUnknown, connectors.ClassMalformed:
		if err := s.doubt(e.System, in); err != nil {
			return err
		}
		return s.readBack(e, in)
	}
	if err := s.settled(e.System, in); err != nil {
		return err
	}
	it := s.itemOf(in)
	switch e.Fault.Class {
	case connectors.ClassConflict:
		return s.look(e.System, it)
	case connectors.ClassInvalid, connectors.ClassDenied:
		return s.rejected(e, in, it)
	case connectors.ClassNotFound:
		if err := s.hold(Hold{
			System: e.System, Record: in.Record, Key: in.Key, Code: codeGone, Outgoing: true, Message: e.Fault.Message,
		}); err != nil {
			return err
		}
		return s.later(e.System, it, 0, s.cfg.backoffMax())
	}
	k, _, err := s.work(e.System, it)
	if err != nil {
		return err
	}
	if k.Issued {
		return nil // the read under way will try again
	}
	return s.later(e.System, it, max(k.Attempts, in.Attempts), e.Fault.RetryAfter)
}

// rejected parks what the system refuses, and goes on with the rest.
func (s *step) rejected(e Written, in *intent, it item) error {
	code := "system." + string(e.Fault.Class)
	sys, bound := s.cfg.Systems[e.System]
	if !bound {
		return nil
	}
	fields := sortedFields(in.Fields)
	for _, f := range fields {
		w := in.Fields[f]
		_, writes := w.Writes[e.Fault.Field]
		if len(fields) == 1 && in.Kind == connectors.WriteUpdate || writes {
			return errors.Join(s.hold(Hold{
				System: e.System, Record: in.Record, Field: f, Key: in.Key, Code: code, Message: e.Fault.Message,
				Version: w.Version.ID,
			}), s.look(e.System, it))
		}
	}
	if in.Kind == connectors.WriteUpdate {
		sh, err := s.shadow(e.System, in.Record)
		if err != nil || sh == nil {
			return err
		}
		sh.Solo = true
		s.touch(e.System, sh)
		return s.look(e.System, it)
	}
	h := Hold{System: e.System, Record: in.Record, Key: in.Key, Code: codeCreate, Message: e.Fault.Message}
	if in.Kind == connectors.WriteComment {
		h.Record, h.Code = in.Child, code
	}
	life, err := s.desired(crdt.Key{Pact: sys.Binding.Pact(), Type: s.pactOf(e.System).Record, Record: in.Record, Field: crdt.FieldLife})
	if err != nil {
		return err
	}
	h.Version = life.Op.ID()
	return s.hold(h)
}

// arrived ends the hold of an inbound version that did not get in.
func (s *step) arrived(v *view, f crdt.Field) error {
	h, ok, err := s.holdOf(v.system, v.sh.ID, f)
	if err != nil || !ok || h.Outgoing {
		return err
	}
	return s.free(v.system, v.sh.ID, f)
}

func sortedFields(m map[crdt.Field]intentField) []crdt.Field {
	names := make([]crdt.Field, 0, len(m))
	for f := range m {
		names = append(names, f)
	}
	slices.Sort(names)
	return names
}
