package core

import (
	"errors"
	"slices"
	"time"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// view is one local record before the agent's eyes.
type view struct {
	system string
	sys    System
	pact   *pact.Pact
	rec    *connectors.Record
	sh     *shadow.Record
	ahead  time.Duration
}

func (v *view) key(f crdt.Field) crdt.Key {
	return crdt.Key{Pact: v.pact.Name, Type: v.pact.Record, Record: v.sh.ID, Field: f}
}

// listed joins a page of references and the cursor behind it.
func (s *step) listed(e Listed) error {
	if _, ok := s.cfg.Systems[e.System]; !ok {
		return nil
	}
	for _, ref := range e.Refs {
		if known, err := s.unchanged(e.System, ref); err != nil {
			return err
		} else if known {
			continue
		}
		if err := s.look(e.System, keyItem(ref.Key)); err != nil {
			return err
		}
	}
	return s.changeSystem(e.System, func(st *systemState) {
		st.Cursor = e.Next
		if !e.More {
			st.ListedMillis = s.now - e.Took.Milliseconds()
		}
	})
}

// unchanged reports whether a reference shows only what was read already.
func (s *step) unchanged(system string, ref connectors.Ref) (bool, error) {
	if ref.Revision == "" || ref.Unsettled {
		return false, nil
	}
	id, ok, err := s.linked(system, ref.Key)
	if err != nil || !ok {
		return false, err
	}
	sh, err := s.shadow(system, id)
	return err == nil && sh != nil && sh.Revision == ref.Revision, err
}

func (s *step) hinted(e Hinted) error {
	if _, ok := s.cfg.Systems[e.System]; !ok {
		return nil
	}
	for _, key := range e.Keys {
		if err := s.look(e.System, keyItem(key)); err != nil {
			return err
		}
	}
	return nil
}

func (s *step) linked(system string, key connectors.Key) (crdt.RecordID, bool, error) {
	return shadow.ByKey(s.tx, system, key)
}

func (s *step) observed(e Observed) error {
	if s.pactOf(e.System) == nil {
		return nil
	}
	it := keyItem(e.Record.Key)
	k, err := s.returned(e.System, it)
	if err != nil {
		return err
	}
	if k.Void {
		return s.disown(e.System, e.Record.Key)
	}
	if busy, err := s.writing(e.System, e.Record.Key); err != nil {
		return err
	} else if busy {
		return errors.Join(
			s.disown(e.System, e.Record.Key),
			s.lookAt(e.System, it, s.now+s.cfg.backoffMin().Milliseconds()))
	}
	s.attempts, s.began = k.Attempts, k.DueMillis
	if taken, err := s.jobObserved(&e); err != nil || taken {
		return err
	}
	return s.takeIn(e.System, &e.Record, e.ClockAhead)
}

// takeIn takes one record in: capture, then apply.
func (s *step) takeIn(system string, rec *connectors.Record, ahead time.Duration) error {
	sys := s.cfg.Systems[system]
	v := &view{system: system, sys: sys, pact: s.pactOf(system), rec: rec, ahead: ahead}
	id, ok, err := s.linked(system, rec.Key)
	if err != nil {
		return err
	}
	if !ok {
		return s.enter(v)
	}
	if v.sh, err = s.shadow(system, id); err != nil {
		return err
	}
	return s.take(v)
}

// take is the road of one linked record.
func (s *step) take(v *view) error {
	if v.rec.Deleted {
		return s.deletedHere(v)
	}
	if err := s.present(v); err != nil {
		return err
	}
	in, err := s.intent(v.system, v.sh.ID)
	if err != nil {
		return err
	}
	if in != nil && !in.busy() {
		if in, err = s.settle(v, in); err != nil {
			return err
		}
	}
	if err := s.captureFields(v, in); err != nil {
		return err
	}
	if err := s.giveUp(v, in); err != nil {
		return err
	}
	if err := s.captureComments(v, in); err != nil {
		return err
	}
	v.sh.Revision, v.sh.Updated = s.provenRevision(v), millis(v.rec.Updated)
	v.sh.Mark, v.sh.Generation = lastMark(v.rec.History), s.self.Generation
	s.touch(v.system, v.sh)
	if in != nil {
		return nil // one write at a time
	}
	return s.reconcile(v)
}

// revisionGrainMax bounds the grain of revisions that are coarse times.
const revisionGrainMax = time.Minute

// provenRevision is the revision that stands for what was read, and for nothing
// else. A coarse time may stay while the record changes again within its grain, and
// is not remembered before that is over.
func (s *step) provenRevision(v *view) string {
	exact := v.sys.Capabilities.Conditional || v.sys.Capabilities.WriteRevision
	if age := s.systemNow(v.ahead) - millis(v.rec.Updated); !exact && age < revisionGrainMax.Milliseconds() {
		return ""
	}
	return v.rec.Revision
}

// present notes that a record is shown again after it was not.
func (s *step) present(v *view) error {
	h, ok, err := s.holdOf(v.system, v.sh.ID, "")
	if err != nil || !ok && !v.sh.Detached {
		return err
	}
	if v.sh.Detached {
		v.sh.Detached = false
		s.touch(v.system, v.sh)
	}
	if slices.Contains([]string{codeGone, codeDenied, codeDeletedHere, codeWrite}, h.Code) {
		return s.free(v.system, v.sh.ID, "")
	}
	return nil
}

// Codes of holds of whole records.
const (
	codeGone         = "record.not_found"
	codeDenied       = "record.denied"
	codeDeletedHere  = "record.deleted_here"
	codeDeletedThere = "record.deleted_elsewhere"
	codeCreate       = "create.refused"
	codeBrake        = "brake.create"
	codeOscillation  = "brake.oscillation" // of one field
	codeLink         = "link.unreadable"
	codeRequired     = "create.required"
	codeWrite        = "write.refused"
)

// deletedHere acts on positive evidence of a local deletion: it travels where the
// pact grants it, naming what this system showed of each field.
func (s *step) deletedHere(v *view) error {
	if err := s.moot(v); err != nil {
		return err
	}
	if v.sh.Detached {
		return nil
	}
	life, err := s.desired(v.key(crdt.FieldLife))
	if err != nil {
		return err
	}
	v.sh.Detached, v.sh.Revision = true, v.rec.Revision
	s.touch(v.system, v.sh)
	if l, err := crdt.DecodeLife(life.Op.Value); err != nil || l.Deleted {
		return nil
	}
	if !v.pact.MayDelete(s.cfg.Site) {
		return s.hold(Hold{
			System: v.system, Record: v.sh.ID, Key: v.sh.Key, Code: codeDeletedHere, Outgoing: true,
			Message: "the record was deleted here; the pact does not let that travel",
		})
	}
	seen := map[crdt.Field]crdt.Base{}
	for name, f := range v.sh.Fields {
		if f.Version.ID.IsZero() {
			continue
		}
		version, err := s.settleVersion(v.key(name), f.Version)
		if err != nil {
			return err
		}
		seen[name] = version.Base()
	}
	version, err := s.versionOf(&life)
	if err != nil {
		return err
	}
	_, _, err = s.say(draft{
		key: v.key(crdt.FieldLife), value: crdt.Life{Deleted: true, Seen: seen}.Value(), system: v.system,
		base: version.Base(), above: life.Op.Stamp, ahead: v.ahead,
		when: moment{at: v.rec.Updated, class: crdt.EvidenceCommit},
	})
	return err
}

// moot ends what waits for a record that is deleted: a write that has its answer
// needs no read-back any more, and its absence is explained.
func (s *step) moot(v *view) error {
	in, err := s.intent(v.system, v.sh.ID)
	if err == nil && in != nil && !in.busy() {
		err = s.settled(v.system, in)
	}
	if err != nil {
		return err
	}
	h, ok, err := s.holdOf(v.system, v.sh.ID, "")
	if err != nil || !ok || h.Code != codeGone && h.Code != codeDenied {
		return err
	}
	return s.free(v.system, v.sh.ID, "")
}

// unlinkedMax bounds the reads of a record that was listed, and that the system
// then would not show.
const unlinkedMax = 10

// missing takes a failed read in. Absence is no deletion.
func (s *step) missing(e Missing) error {
	if s.pactOf(e.System) == nil {
		return nil
	}
	it := keyItem(e.Key)
	before, err := s.returned(e.System, it)
	if err != nil {
		return err
	}
	if before.Void {
		return s.disown(e.System, e.Key)
	}
	if own, err := s.jobMissing(&e); err != nil || own {
		return err
	}
	id, linked, err := s.linked(e.System, e.Key)
	if err != nil {
		return err
	}
	again := func(wait time.Duration) error { return s.later(e.System, it, before.Attempts, wait) }
	switch e.Fault.Class {
	case connectors.ClassNotFound, connectors.ClassDenied:
		if !linked {
			if before.Attempts >= unlinkedMax {
				return nil
			}
			return again(0)
		}
		code := codeGone
		if e.Fault.Class == connectors.ClassDenied {
			code = codeDenied
		}
		if err := s.hold(Hold{
			System: e.System, Record: id, Key: e.Key, Code: code, Outgoing: true, Message: e.Fault.Message,
		}); err != nil {
			return err
		}
		return again(s.cfg.backoffMax())
	}
	return again(e.Fault.RetryAfter)
}

// released lets go of a hold: what it named is tried again.
func (s *step) released(e Released) error {
	h, ok, err := s.holdOf(e.System, e.Record, e.Field)
	if err != nil || !ok {
		return err
	}
	if err := s.free(e.System, e.Record, e.Field); err != nil {
		return err
	}
	if h.Code == codeBrake {
		return s.unbrake(e.System)
	}
	if h.Code == codeOscillation {
		return s.thaw(e.System, e.Record, e.Field, h.Key)
	}
	sh, err := s.shadow(e.System, e.Record)
	if err != nil {
		return err
	}
	switch {
	case sh == nil && h.Key != "":
		return s.lookAt(e.System, keyItem(h.Key), s.now)
	case sh == nil:
		return s.lookAt(e.System, recordItem(e.Record), s.now)
	}
	if f, ok := sh.Fields[e.Field]; ok && h.Outgoing {
		f.Shown = nil // what is shown now is an edit again
		sh.Fields[e.Field] = f
		s.touch(e.System, sh)
	}
	return s.lookAt(e.System, keyItem(sh.Key), s.now)
}

// unbrake lets the creates that the brake stopped go on.
func (s *step) unbrake(system string) error {
	waiting, err := s.items(system, func(it item, k work) bool { return it.kind == itemRecord && k.Attempts == 0 })
	if err != nil {
		return err
	}
	for _, it := range waiting {
		if err := s.lookAt(system, it, s.now); err != nil {
			return err
		}
	}
	return s.changeSystem(system, func(st *systemState) { st.Creates, st.HourMillis = 0, s.now })
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
