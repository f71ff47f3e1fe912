package core

import (
	"errors"
	"slices"
	"time"

	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// captureFields turns local edits into ops. Fields with an open write are not
// looked at: in is that write, or nil.
func (s *step) captureFields(v *view, in *intent) error {
	for _, f := range v.sys.Binding.Fields() {
		if in != nil {
			if _, open := in.Fields[f]; open {
				continue
			}
		}
		if err := s.capture(v, f); err != nil {
			return err
		}
	}
	return nil
}

// capture compares one field with its shadow.
func (s *step) capture(v *view, f crdt.Field) error {
	b := v.sys.Binding
	shown, ok := tupleOf(v.rec.Fields, b.Locals(f))
	if !ok {
		return nil // not shown, and so means nothing
	}
	sh := v.sh.Fields[f]
	if sh.Shown != nil && equalTuple(shown, sh.Shown) {
		return s.crossed(v, f, false)
	}
	val, problem := b.Get(f, shown)
	if problem != nil {
		return s.holdOut(v, f, problem.Code, problem.Message, problem.Keep)
	}
	if sh.Shown != nil {
		if old, problem := b.Get(f, sh.Shown); problem == nil && old.Equal(val) {
			s.image(v, f, shown, sh.Version)
			return s.crossed(v, f, false)
		}
	}
	want, err := s.desired(v.key(f))
	if err != nil {
		return err
	}
	if wanted, ok := readable(v.pact, &want); ok && wanted.Equal(val) {
		return errors.Join(s.adopt(v, f, shown, &want), s.crossed(v, f, true)) // rule 11
	}
	if !b.Sends(f) {
		s.image(v, f, shown, sh.Version)
		return nil
	}
	if s.consequence(v, f, sh, shown) {
		s.image(v, f, shown, sh.Version) // rule 7
		return s.crossed(v, f, true)
	}
	when := editMoment(&v.sys.Capabilities, v.rec, b.Locals(f), shown, v.sh.Updated)
	switch {
	case sh.Shown == nil && sh.Version.ID.IsZero():
		return s.meet(v, f, shown, val, &want, when)
	case v.sh.Generation < s.self.Generation:
		return s.edit(v, f, shown, val, editOn{version: sh.Version, doubt: true}, when)
	}
	return s.edit(v, f, shown, val, editOn{version: sh.Version}, when)
}

// crossed ends the hold of a field: its local edit was said, or is gone.
// The hold of an op that the hub refused stays until the field is edited again.
func (s *step) crossed(v *view, f crdt.Field, edited bool) error {
	h, ok, err := s.holdOf(v.system, v.sh.ID, f)
	if err != nil || !ok || !edited && (!h.Outgoing || !h.Version.IsZero()) {
		return err
	}
	return s.free(v.system, v.sh.ID, f)
}

// consequence reports whether the history names our own account, or an automation
// that answered our write, as the one who made what is shown.
func (s *step) consequence(v *view, f crdt.Field, sh shadow.Field, shown tuple) bool {
	locals := v.sys.Binding.Locals(f)
	if !recorded(&v.sys.Capabilities, locals) || sh.Shown == nil && sh.Version.ID.IsZero() {
		return false
	}
	last, ok := lastChange(v.rec.History, locals)
	if !ok || !last.New.Equal(shown[last.Field]) {
		return false
	}
	if last.Actor.Self {
		return true
	}
	since := last.At.UnixMilli() - sh.WroteMillis
	return last.Actor.Automation && sh.WroteMillis > 0 && since <= s.cfg.echoMax().Milliseconds() &&
		(sameShown(shown, sh.Shown, locals) || // it only spells differently
			!person(v, locals) && !answersComment(v.rec, sh.WroteMillis, last.At))
}

// answersComment reports whether a comment came between our write and a change by
// an automation. The change then answers the comment and not the write: a
// decision like any person's (a desk opens a ticket that is answered), which says
// nothing of how the system spells what was written. Systems tell whole seconds, so
// a comment of the same second counts.
func answersComment(r *connectors.Record, wroteMillis int64, changed time.Time) bool {
	wrote := time.UnixMilli(wroteMillis).Truncate(time.Second)
	return slices.ContainsFunc(r.Comments, func(c connectors.Comment) bool {
		return !c.At.Before(wrote) && !c.At.After(changed)
	})
}

// person reports whether the history names somebody who changed locals since they
// were last taken in, and since our own last write: an automation may have worked
// on what he left.
func person(v *view, locals []string) bool {
	for _, c := range slices.Backward(v.rec.History) {
		switch {
		case c.ID == v.sh.Mark:
			return false
		case !slices.Contains(locals, c.Field), c.Actor.Automation:
			continue
		}
		return !c.Actor.Self
	}
	return false
}

// meet settles a field that is filled on both sides and was never compared. It
// writes no conflict record: an edit made here has seen what the pact has.
func (s *step) meet(v *view, f crdt.Field, shown tuple, val value.Value, want *crdt.Register, when moment) error {
	if want.IsZero() {
		if val.IsNull() {
			s.image(v, f, shown, shadow.Version{})
			return nil
		}
		return s.edit(v, f, shown, val, editOn{}, when)
	}
	wanted, ok := readable(v.pact, want)
	local := false
	switch v.sys.OnMeet {
	case MeetLocal:
		local = !val.IsNull()
	case MeetPact:
	case MeetHold:
		if ok && !wanted.IsNull() && !val.IsNull() {
			return s.holdOut(v, f, "meet.differs", "both sides had a value when they first met", false)
		}
		local = ok && wanted.IsNull()
	default:
		at := when.at.Add(-v.ahead).UnixMilli() - s.self.AheadMillis
		local = !val.IsNull() && !when.at.IsZero() && at > want.Op.Stamp.Millis()
		if last, ok := lastChange(v.rec.History, v.sys.Binding.Locals(f)); ok && last.Actor.Self {
			local = false // our own write of an older version
		}
	}
	if !local {
		s.image(v, f, shown, shadow.Version{}) // reconcile writes what the pact has
		return nil
	}
	version, err := s.versionOf(want)
	if err != nil {
		return err
	}
	return s.edit(v, f, shown, val, editOn{version: version}, when)
}

// editOn is what an edit was made on.
type editOn struct {
	version shadow.Version
	// doubt: it is not sure what the user saw. The op takes the lowest possible
	// base, no pred, and a stamp above every version that it may have been made on.
	doubt bool
	above crdt.Stamp
}

// edit says a local edit and makes what is shown its image.
func (s *step) edit(v *view, f crdt.Field, shown tuple, val value.Value, on editOn, when moment) error {
	op, ok, err := s.sayEdit(v, f, val, on, when)
	if err != nil || !ok {
		return err
	}
	v.sh.Fields[f] = shadow.Field{Shown: shown, Version: op}
	s.touch(v.system, v.sh)
	s.emit(Notice{Kind: NoticeEdit, System: v.system, Pact: v.pact.Name, Record: v.sh.ID, Field: f})
	return errors.Join(s.crossed(v, f, true), s.spread(v.system, v.pact.Name, v.sh.ID))
}

// sayEdit makes the op of a local edit; ok is false if it was held.
func (s *step) sayEdit(v *view, f crdt.Field, val value.Value, on editOn, when moment) (shadow.Version, bool, error) {
	field, ok := v.pact.Field(f)
	if !ok || !field.MayWrite(s.cfg.Site) {
		return shadow.Version{}, false, s.holdOut(v, f, pact.ReasonWriter, "the pact does not let this site write the field", false)
	}
	if err := pact.CheckValue(field, val); err != nil {
		return shadow.Version{}, false, s.holdOut(v, f, pact.ReasonValue, err.Error(), false)
	}
	version, err := s.settleVersion(v.key(f), on.version)
	if err != nil {
		return shadow.Version{}, false, err
	}
	d := draft{
		key: v.key(f), value: val, system: v.system, ahead: v.ahead, when: when,
		base: version.Base(), above: max(version.Stamp, on.above),
	}
	want, err := s.desired(v.key(f))
	if err != nil {
		return shadow.Version{}, false, err
	}
	saw, err := s.saw(d.base, &want)
	if err != nil {
		return shadow.Version{}, false, err
	}
	if saw || on.doubt {
		d.above = max(d.above, want.Op.Stamp)
	}
	if on.doubt {
		d.base.Pred = crdt.OpID{}
	}
	return s.say(d)
}

// image notes that shown is an image of version.
func (s *step) image(v *view, f crdt.Field, shown tuple, version shadow.Version) {
	sh := v.sh.Fields[f]
	sh.Shown, sh.Version = shown, version
	v.sh.Fields[f] = sh
	s.touch(v.system, v.sh)
}

// adopt notes that shown is an image of register r.
func (s *step) adopt(v *view, f crdt.Field, shown tuple, r *crdt.Register) error {
	version, err := s.versionOf(r)
	if err != nil {
		return err
	}
	s.image(v, f, shown, version)
	return nil
}

// holdOut parks a local edit, and with it the inbound writes to its field.
func (s *step) holdOut(v *view, f crdt.Field, code, message string, quiet bool) error {
	return s.hold(Hold{
		System: v.system, Record: v.sh.ID, Field: f, Key: v.sh.Key,
		Code: code, Message: message, Outgoing: true, Quiet: quiet,
	})
}

// readable returns the value of a register if this site may act on it; ok is
// false for one that was never written, is sealed, or breaks the pact.
func readable(p *pact.Pact, r *crdt.Register) (value.Value, bool) {
	v, code, _ := check(p, r)
	return v, code == ""
}

// check opens a register's value and enforces this site's own pact; code is ""
// if all is well.
func check(p *pact.Pact, r *crdt.Register) (v value.Value, code, message string) {
	if r.IsZero() {
		return v, "register.empty", "never written"
	}
	if reason := p.CheckEntry(&r.Op); reason != "" {
		return v, reason, "the pact accepted here does not allow this change"
	}
	v, err := crdt.OpenPlain(r.Op.Value)
	if err != nil {
		return v, "value.unreadable", err.Error()
	}
	field, ok := p.Field(r.Op.Key.Field)
	if !ok {
		return v, "", ""
	}
	if err := pact.CheckValue(field, v); err != nil {
		return v, pact.ReasonValue, err.Error()
	}
	return v, "", ""
}

// systemNow is the system's clock.
func (s *step) systemNow(ahead time.Duration) int64 { return s.now + ahead.Milliseconds() }
