package pact

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/entente-sync/entente/crdt"
)

// FieldEntry is the one register of a child record that holds its content.
const FieldEntry crdt.Field = "entry"

// Field returns the shared field of that name.
func (p *Pact) Field(name crdt.Field) (*Field, bool) {
	i, ok := slices.BinarySearchFunc(p.Fields, name, func(f Field, name crdt.Field) int {
		return strings.Compare(string(f.Name), string(name))
	})
	if !ok {
		return nil, false
	}
	return &p.Fields[i], true
}

// IsMember reports whether site takes part in the pact.
func (p *Pact) IsMember(site crdt.Site) bool { return slices.Contains(p.Members, site) }

// MayDelete reports whether deletes by site travel.
func (p *Pact) MayDelete(site crdt.Site) bool { return slices.Contains(p.Deletes, site) }

// MayWrite reports whether site may write the field.
func (f *Field) MayWrite(site crdt.Site) bool {
	return len(f.Writers) == 0 || slices.Contains(f.Writers, site)
}

// CommentsType returns the type of the child records of a log field.
func (p *Pact) CommentsType(field crdt.Field) crdt.Type {
	return p.Record + "." + crdt.Type(field)
}

// CheckOp reports why site may not write op: a Reason, or "" if it may. It
// reads nothing of the value, except of ~life, which is always plain. Hub and
// receiving agents ask the same question; a well-formed op is assumed
// (crdt.Op.Validate).
func (p *Pact) CheckOp(site crdt.Site, op *crdt.Op) string {
	switch {
	case op.Key.Pact != p.Name:
		return ReasonUnknown
	case op.Author.Site != site:
		return ReasonForged
	case !p.IsMember(site):
		return ReasonNotMember
	case op.PactVersion == 0 || op.PactVersion > p.Version:
		return ReasonVersion
	}
	f, reason := p.register(site, op.Key.Type, op.Key.Field)
	switch {
	case reason != "":
		return reason
	case f != nil && f.Since > op.PactVersion:
		return ReasonVersion
	case op.Key.Field == crdt.FieldLife:
		return p.checkLife(site, op.Value)
	}
	return ""
}

// CheckStanding reports why op may not stand in a register, whenever it was
// written: as CheckOp says to its author, except that a field which changed since
// keeps what stood in it. Hubs ask it of what members offer; of a conflict record
// they ask it of the loser.
func (p *Pact) CheckStanding(op *crdt.Op) string {
	f, _ := p.register(op.Author.Site, op.Key.Type, op.Key.Field)
	if f == nil || op.PactVersion == 0 || op.PactVersion >= f.Since {
		return p.CheckOp(op.Author.Site, op)
	}
	now := *op
	now.PactVersion = f.Since
	return p.CheckOp(op.Author.Site, &now)
}

// CheckEntry reports why a receiving agent may not act on op from the feed: as
// CheckOp says to its author, and of a conflict record what it says of the loser.
func (p *Pact) CheckEntry(op *crdt.Op) string {
	if !op.Key.Field.IsLost() {
		return p.CheckOp(op.Author.Site, op)
	}
	lost, err := crdt.DecodeLost(op)
	if err != nil {
		return unreadable(err)
	}
	return p.CheckOp(lost.Loser.Author.Site, &lost.Loser)
}

// MayWrite reports why site, a member, may not write a register of that type
// and name: a Reason, or "". Whether a write of ~life is a delete it cannot see.
func (p *Pact) MayWrite(site crdt.Site, typ crdt.Type, field crdt.Field) string {
	if !p.IsMember(site) {
		return ReasonNotMember
	}
	_, reason := p.register(site, typ, field)
	return reason
}

// register finds the shared field behind a register, nil for reserved ones of
// the record itself, and says why site may not write it.
func (p *Pact) register(site crdt.Site, typ crdt.Type, name crdt.Field) (*Field, string) {
	if typ == p.Record {
		if name.Reserved() {
			return nil, reserved(site, name)
		}
		base, isElement := name.ElementOf()
		if !isElement {
			base = name
		}
		f, ok := p.Field(base)
		if !ok || isElement != (f.Type == TypeTextSet) || f.Type == TypeComments {
			return nil, ReasonField
		}
		return f, f.writer(site)
	}
	f := p.child(typ)
	switch {
	case f == nil:
		return nil, ReasonType
	case name == FieldEntry || name == crdt.FieldLife:
		return f, f.writer(site)
	case name.Reserved():
		return f, reserved(site, name)
	}
	return f, ReasonField
}

// child returns the log field whose child records have type typ, or nil.
func (p *Pact) child(typ crdt.Type) *Field {
	rest, ok := strings.CutPrefix(string(typ), string(p.Record))
	if !ok || len(rest) < 2 || rest[0] != '.' {
		return nil
	}
	f, ok := p.Field(crdt.Field(rest[1:]))
	if !ok || f.Type != TypeComments {
		return nil
	}
	return f
}

func (f *Field) writer(site crdt.Site) string {
	if f.MayWrite(site) {
		return ""
	}
	return ReasonWriter
}

func reserved(site crdt.Site, name crdt.Field) string {
	if name == crdt.FieldLife {
		return ""
	}
	owner, _, isLink := name.LinkOf()
	switch {
	case isLink && owner == site:
		return ""
	case isLink, name.IsLost(): // a conflict record is made by the hub's Apply alone
		return ReasonWriter
	}
	return ReasonField
}

// live is the envelope of a live ~life register, the common case.
const live = "\x01\x00\x04\x04live"

func (p *Pact) checkLife(site crdt.Site, envelope []byte) string {
	if bytes.Equal(envelope, []byte(live)) {
		return ""
	}
	life, err := crdt.DecodeLife(envelope)
	switch {
	case err != nil:
		return unreadable(err)
	case life.Deleted && !p.MayDelete(site):
		return ReasonDelete
	}
	return ""
}

func unreadable(err error) string {
	if errors.Is(err, crdt.ErrNewer) {
		return ReasonNewer
	}
	return ReasonMalformed
}
