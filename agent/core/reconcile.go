package core

import (
	"errors"
	"maps"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// reconcile makes a system show what the registers say: it settles what is shown
// already, and opens at most one write for the rest.
func (s *step) reconcile(v *view) error {
	life, err := s.desired(v.key(crdt.FieldLife))
	if err != nil {
		return err
	}
	if life.IsZero() { // half born by a copy of this store whose outbox was lost
		_, _, err := s.say(draft{
			key: v.key(crdt.FieldLife), value: crdt.Life{}.Value(), system: v.system, ahead: v.ahead,
			when: moment{at: v.rec.Created, class: crdt.EvidenceHistory},
		})
		return errors.Join(err, s.look(v.system, keyItem(v.rec.Key)))
	}
	if l, err := crdt.DecodeLife(life.Op.Value); err == nil && l.Deleted {
		if v.pact.CheckEntry(&life.Op) != "" {
			return nil
		}
		return s.hold(Hold{
			System: v.system, Record: v.sh.ID, Key: v.sh.Key, Code: codeDeletedThere, Version: life.Op.ID(),
			Message: "the other side deleted this record; nothing is deleted here",
		})
	}
	if h, ok, err := s.holdOf(v.system, v.sh.ID, ""); err != nil {
		return err
	} else if ok && h.Code == codeDeletedThere { // revived
		if err := s.free(v.system, v.sh.ID, ""); err != nil {
			return err
		}
	}
	in := &intent{
		Kind: connectors.WriteUpdate, Record: v.sh.ID, Key: v.rec.Key,
		Revision: v.rec.Revision, Mark: lastMark(v.rec.History), Fields: map[crdt.Field]intentField{},
	}
	writes := tuple{}
	for _, f := range v.sys.Binding.Fields() {
		w, ok, err := s.wanted(v, f)
		if err != nil {
			return err
		}
		if !ok || v.sh.Solo && len(in.Fields) > 0 {
			continue
		}
		in.Fields[f] = w
		maps.Copy(writes, w.Writes)
	}
	if len(in.Fields) == 0 {
		if v.sh.Solo {
			v.sh.Solo = false
			s.touch(v.system, v.sh)
		}
		return s.reconcileComments(v)
	}
	w := connectors.Write{Kind: connectors.WriteUpdate, Key: v.rec.Key, Fields: writes}
	if v.sys.Capabilities.Conditional {
		w.IfRevision = v.rec.Revision
	}
	return s.open(v.system, in, w)
}

// wanted says what to write so that one field shows its register; ok is false
// if there is nothing to write.
func (s *step) wanted(v *view, f crdt.Field) (w intentField, ok bool, err error) {
	b := v.sys.Binding
	if !b.Receives(f) {
		return w, false, nil
	}
	r, err := s.desired(v.key(f))
	if err != nil || r.IsZero() {
		return w, false, err
	}
	sh := v.sh.Fields[f]
	shown, whole := tupleOf(v.rec.Fields, b.Locals(f))
	if r.Op.ID() == sh.Version.ID || !whole || older(&r, sh.Version.Stamp, sh.Version.ID.Author) {
		return w, false, nil
	}
	h, held, err := s.holdOf(v.system, v.sh.ID, f)
	if err != nil || held && (h.Outgoing || h.Version == r.Op.ID()) {
		return w, false, err
	}
	park := func(code, message string, quiet bool) error {
		return s.hold(Hold{
			System: v.system, Record: v.sh.ID, Field: f, Key: v.sh.Key,
			Code: code, Message: message, Quiet: quiet, Version: r.Op.ID(),
		})
	}
	val, code, message := check(v.pact, &r)
	if code != "" {
		return w, false, park(code, message, false)
	}
	if now, problem := b.Get(f, shown); problem == nil && now.Equal(val) {
		return w, false, errors.Join(s.adopt(v, f, shown, &r), s.arrived(v, f)) // keep if equivalent
	}
	writes, problem := b.Put(f, val, v.rec.Fields)
	if problem != nil {
		return w, false, park(problem.Code, problem.Message, problem.Keep)
	}
	changed := changes(writes, v.rec.Fields)
	if len(changed) == 0 {
		return w, false, errors.Join(s.adopt(v, f, shown, &r), s.arrived(v, f))
	}
	version, err := s.versionOf(&r)
	return intentField{Before: shown, Writes: changed, Version: version}, err == nil, err
}

// older reports whether r comes before a version that is shown already: the hub
// was restored, and will hear of the shown one again.
func older(r *crdt.Register, stamp crdt.Stamp, author crdt.Author) bool {
	return r.Op.Stamp < stamp || r.Op.Stamp == stamp && r.Op.Author.Compare(author) < 0
}

// changes returns the writes that differ from what is shown.
func changes(writes, shown map[string]value.Value) tuple {
	out := tuple{}
	for name, w := range writes {
		if now, ok := shown[name]; !ok || !now.Equal(w) {
			out[name] = w
		}
	}
	return out
}
