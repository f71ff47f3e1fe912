package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// answer is an automation's pending reaction.
type answer struct {
	at    time.Time
	key   connectors.Key
	field string
	fault *fault
}

// Write implements connectors.Connector.
func (c *Connector) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	call := Call(w.Kind.String())
	err := c.begin(ctx, call, w.Key)
	defer c.s.mu.Unlock()
	if err != nil {
		return connectors.Receipt{}, err
	}
	receipt, half, err := c.write(call, w)
	if err != nil {
		return connectors.Receipt{}, err
	}
	if f := c.s.hit(FailAfter, call, receipt.Key, ""); f != nil || half {
		e := &connectors.Error{Class: connectors.ClassUnknown, System: c.s.name, Op: string(call), Message: "fault after the write"}
		if f != nil {
			e.RetryAfter = f.Duration
		}
		return connectors.Receipt{}, e
	}
	return receipt, nil
}

// write validates, lets a user interfere, applies and counts.
func (c *Connector) write(call Call, w connectors.Write) (receipt connectors.Receipt, half bool, err error) {
	s := c.s
	var r *record
	if w.Kind != connectors.WriteCreate {
		if r, err = c.find(call, w.Key); err != nil {
			return receipt, false, err
		}
		if f := s.hit(UserEdit, call, w.Key, ""); f != nil && s.set(r, f.User, f.Field, f.Value, s.clock()) {
			s.touch(r, s.clock())
		}
		if w.IfRevision != "" && s.capabilities().Conditional && solid(w.IfRevision) != s.revision(r) {
			return receipt, false, c.fail(connectors.ClassConflict, call, "", "the record moved")
		}
	}
	switch w.Kind {
	case connectors.WriteCreate, connectors.WriteUpdate:
		r, half, err = c.writeFields(call, r, w)
	case connectors.WriteComment:
		receipt.Comment, err = c.writeComment(call, r, w)
	case connectors.WriteDelete:
		if !s.caps.Deletes {
			return receipt, false, c.fail(connectors.ClassInvalid, call, "", "deleting is not possible here")
		}
		r.deleted = true
		s.touch(r, s.clock())
	default:
		err = c.fail(connectors.ClassInvalid, call, "", "unknown kind of write")
	}
	if err != nil {
		return receipt, false, err
	}
	if c.account == s.account {
		s.counts.add(r.key, w.Kind)
	}
	receipt.Key = r.key
	if s.capabilities().WriteRevision {
		receipt.Revision = s.revision(r)
	}
	return receipt, half, nil
}

// solid removes what RevisionFlaky added.
func solid(revision string) string {
	text, _, _ := strings.Cut(revision, "~")
	return text
}

func (c *Connector) writeFields(call Call, r *record, w connectors.Write) (*record, bool, error) {
	s := c.s
	names := slices.Sorted(maps.Keys(w.Fields))
	for _, name := range names {
		if err := c.validate(call, name, w.Fields[name]); err != nil {
			return nil, false, err
		}
	}
	if err := c.validateRequired(call, w); err != nil {
		return nil, false, err
	}
	half := s.hit(HalfWrite, call, w.Key, "") != nil
	if half {
		names = names[:(len(names)+1)/2]
	}
	kept := map[string]value.Value{}
	for _, name := range names {
		if s.hit(Ignore, call, w.Key, name) == nil {
			kept[name] = w.Fields[name]
		}
	}
	at := s.clock()
	if r == nil {
		correlation := ""
		if s.caps.Correlation {
			correlation = w.Correlation
		}
		r = s.create(c.account, correlation, kept, at)
	} else if !s.setAll(r, c.account, kept, at) && c.account == s.account {
		s.counts.Vain[r.key]++
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) { // chance is drawn in this order
		if c.account != s.account {
			continue
		}
		s.counts.addField(r.key, name)
		if f := s.hit(Automation, call, r.key, name); f != nil {
			s.due = append(s.due, answer{s.trueTime().Add(f.Duration), r.key, name, f})
		}
	}
	slices.SortFunc(s.due, func(a, b answer) int {
		return cmpAll(a.at.Compare(b.at), strings.Compare(string(a.key), string(b.key)), strings.Compare(a.field, b.field))
	})
	return r, half, nil
}

func cmpAll(orders ...int) int {
	for _, o := range orders {
		if o != 0 {
			return o
		}
	}
	return 0
}

// setAll changes fields in order of name and touches the record if any changed.
func (s *System) setAll(r *record, actor string, fields map[string]value.Value, at time.Time) bool {
	changed := false
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		changed = s.set(r, actor, name, fields[name], at) || changed
	}
	if changed {
		s.touch(r, at)
	}
	return changed
}

func (c *Connector) writeComment(call Call, r *record, w connectors.Write) (string, error) {
	switch {
	case !c.s.caps.Comments:
		return "", c.fail(connectors.ClassInvalid, call, "", "no comments here")
	case w.Comment.Internal && !c.s.caps.InternalComments:
		return "", c.fail(connectors.ClassInvalid, call, "", "no internal comments here")
	case w.Comment.Body == "":
		return "", c.fail(connectors.ClassInvalid, call, "", "empty comment")
	}
	correlation := ""
	if c.s.commentKeys {
		correlation = w.Correlation
	}
	return c.s.comment(r, c.account, w.Comment.Body, w.Comment.Internal, correlation, c.s.clock()), nil
}

func (c *Connector) validate(call Call, name string, v value.Value) error {
	field, known := c.s.schema[name]
	refuse := func(format string, args ...any) error {
		return c.fail(connectors.ClassInvalid, call, name, fmt.Sprintf(format, args...))
	}
	switch {
	case !known:
		return refuse("no such field")
	case field.ReadOnly || c.s.standing(ReadOnly, name) != nil:
		return refuse("read-only")
	case !fits(field.Kind, v):
		return refuse("a %s field cannot hold a %s", field.Kind, v.Kind())
	case field.Kind == connectors.FieldEnum && !v.IsNull() &&
		(!slices.Contains(field.Values, v.AsText()) || c.s.gone(name, v.AsText())):
		return refuse("not one of its values")
	case field.Required && (v.IsNull() || v.AsText() == ""):
		return refuse("must not be empty")
	}
	for _, f := range c.s.faults {
		if f.concerns(Refuse, call, "", name) && (f.Value.IsNull() || f.Value.Equal(v)) {
			return refuse("refused by a validation rule")
		}
	}
	return nil
}

func (c *Connector) validateRequired(call Call, w connectors.Write) error {
	if w.Kind != connectors.WriteCreate {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(c.s.schema)) {
		if _, given := w.Fields[name]; c.s.schema[name].Required && !given {
			return c.fail(connectors.ClassInvalid, call, name, "must not be empty")
		}
	}
	return nil
}

func (s *System) gone(field, text string) bool {
	for _, f := range s.faults {
		if f.Kind == EnumGone && f.Field == field && f.Value.AsText() == text {
			return true
		}
	}
	return false
}

func fits(kind connectors.FieldKind, v value.Value) bool {
	if v.IsNull() {
		return true
	}
	switch kind {
	case connectors.FieldNumber:
		return v.Kind() == value.KindInt || v.Kind() == value.KindDecimal
	case connectors.FieldBool:
		return v.Kind() == value.KindBool
	case connectors.FieldDate:
		return v.Kind() == value.KindDate
	case connectors.FieldTime:
		return v.Kind() == value.KindTime
	case connectors.FieldSet:
		return v.Kind() == value.KindList
	}
	return v.Kind() == value.KindText
}

// automate runs the reactions that are due.
func (s *System) automate() {
	now := s.trueTime()
	for len(s.due) > 0 && !s.due[0].at.After(now) {
		a := s.due[0]
		s.due = s.due[1:]
		r := s.records[a.key]
		if r == nil || r.deleted {
			continue
		}
		field := a.field
		if a.fault.Target != "" {
			field = a.fault.Target
		}
		v := a.fault.Value
		if a.fault.Form != "" {
			v = a.fault.Form.apply(r.fields[field])
		}
		if at := s.clock(); s.set(r, automation, field, v, at) {
			s.touch(r, at)
		}
	}
}
