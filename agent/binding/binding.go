// Package binding compiles a site's private mapping between one system and one
// pact: tables, conversions and CEL expressions that read a pact value from what
// the system shows and say what to write so that it shows one. It is pure: no
// clock, no I/O, no order of maps. A compiled Binding is immutable and safe for
// concurrent use.
package binding

import (
	"fmt"
	"maps"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/yamlfile"
)

// Kind is what a binding's file states as its kind.
const Kind = "Binding"

// Finding is one fault of a binding's file.
type Finding = yamlfile.Finding

// Direction says which way a field travels.
type Direction string

// Directions.
const (
	Both    Direction = "both"
	Send    Direction = "send"    // only from the system to the pact
	Receive Direction = "receive" // only from the pact to the system
)

// Problem says why a value cannot cross: that one field is held and keeps what
// it has. It repeats no field values, except the labels of tables and enums.
type Problem struct {
	Code       string // stable: "value.unmapped"
	Field      crdt.Field
	Local      string // local field at fault, "" if none
	Message    string
	Suggestion string
	Keep       bool // a hold that asks nobody
}

// Error makes a Problem printable like an error.
func (p *Problem) Error() string {
	s := p.Code + ": " + p.Message
	if p.Suggestion != "" {
		s += " (" + p.Suggestion + ")"
	}
	return s
}

// Codes of problems.
const (
	CodeUnmapped   = "value.unmapped"   // no table row or no person for it
	CodeType       = "value.type"       // the kind of value does not fit
	CodeInvalid    = "value.invalid"    // the pact's field does not allow it
	CodeNotShown   = "value.not_shown"  // the system did not show the field; means nothing
	CodeExpression = "value.expression" // an expression failed
	CodeSize       = "value.size"       // too much for an expression
)

// Binding is one compiled mapping.
type Binding struct {
	doc      *yamlfile.Document
	name     string
	revision uint32
	pact     *pact.Pact
	system   systemFile
	meet     string
	match    *program
	onCreate map[string]value.Value
	fields   map[crdt.Field]*rule
	names    []crdt.Field // sorted keys of fields
	comments *CommentRule
	tests    []testCase
}

// Name returns the binding's own name.
func (b *Binding) Name() string { return b.name }

// Revision identifies the content: the first 32 bits of the file's SHA-256. It
// goes into every op that the binding makes. It is never 0.
func (b *Binding) Revision() uint32 { return b.revision }

// Pact returns the name of the pact.
func (b *Binding) Pact() crdt.Pact { return b.pact.Name }

// System returns the name of the system in the agent's configuration.
func (b *Binding) System() string { return b.system.Name }

// Connector returns the connector that the binding was written for, "" if it
// does not say.
func (b *Binding) Connector() string { return b.system.Connector }

// Scope returns what the binding narrows the system to; read-only.
func (b *Binding) Scope() map[string]string { return b.system.Scope }

// OnMeet says what settles two filled fields that were never compared, for an
// agent of the given site: "newest" (the default, as the merge does), "local",
// "pact" or "hold". "prefer <site>" is local at that site and pact elsewhere.
func (b *Binding) OnMeet(site crdt.Site) string {
	switch b.meet {
	case "", meetNewest:
		return meetNewest
	case meetHold:
		return meetHold
	case preferPrefix + string(site):
		return "local"
	}
	return "pact"
}

// Fields returns the mapped scalar fields of the pact, sorted; read-only.
func (b *Binding) Fields() []crdt.Field { return b.names }

// Locals returns the local fields that make up f, in the order of its tables;
// read-only. Fields that rows set besides (with) are not among them.
func (b *Binding) Locals(f crdt.Field) []string {
	if r := b.fields[f]; r != nil {
		return r.locals
	}
	return nil
}

// Sends reports whether local edits of f travel.
func (b *Binding) Sends(f crdt.Field) bool {
	r := b.fields[f]
	return r != nil && r.direction != Receive
}

// Receives reports whether f is written to the system.
func (b *Binding) Receives(f crdt.Field) bool {
	r := b.fields[f]
	return r != nil && r.direction != Send
}

// Enters reports whether a local record belongs to the pact, by match; true
// without one.
func (b *Binding) Enters(local map[string]value.Value) (bool, *Problem) {
	if b.match == nil {
		return true, nil
	}
	v, p := b.match.eval(value.Map(local))
	switch {
	case p != nil:
		return false, p
	case v.Kind() != value.KindBool:
		return false, &Problem{Code: CodeExpression, Message: fmt.Sprintf("match: gives %s, want bool", v.Kind())}
	}
	return v.AsBool(), nil
}

// OnCreate returns local fields that every create sets besides the mapped ones.
func (b *Binding) OnCreate() map[string]value.Value { return maps.Clone(b.onCreate) }

// Comments returns the rule for comments; ok is false without one.
func (b *Binding) Comments() (rule CommentRule, ok bool) {
	if b.comments == nil {
		return CommentRule{}, false
	}
	return *b.comments, true
}

// Get reads the value of field f from what the system shows. With a problem the
// field is held.
func (b *Binding) Get(f crdt.Field, local map[string]value.Value) (value.Value, *Problem) {
	r := b.fields[f]
	if r == nil {
		return value.Null(), &Problem{Code: CodeUnmapped, Field: f, Message: "the binding does not map this field", Keep: true}
	}
	v, p := r.get(local)
	return v, r.blame(p)
}

// Put returns what to write so that the system shows v as field f. local is what
// it shows now, nil before a create. Nothing is written where local already reads
// as v or equals what would be written (keep if equivalent): the result is empty.
// Only fields that differ are named; a create names no empty ones. With a
// problem the field is held.
func (b *Binding) Put(f crdt.Field, v value.Value, local map[string]value.Value) (map[string]value.Value, *Problem) {
	r := b.fields[f]
	if r == nil {
		return nil, &Problem{Code: CodeUnmapped, Field: f, Message: "the binding does not map this field", Keep: true}
	}
	writes, p := r.put(v, local)
	return writes, r.blame(p)
}

// Equivalent reports whether local already reads as v, or already equals what
// Put would write for it: then nothing is to be written.
func (b *Binding) Equivalent(f crdt.Field, v value.Value, local map[string]value.Value) bool {
	r := b.fields[f]
	if r == nil {
		return false
	}
	writes, p := r.put(v, local)
	return p == nil && len(writes) == 0
}

func (b *Binding) finding(code, path, suggestion, format string, args ...any) Finding {
	return b.doc.Finding(code, path, suggestion, format, args...)
}

func (b *Binding) addField(f crdt.Field, r *rule) {
	b.fields[f] = r
	b.names = append(b.names, f)
	slices.Sort(b.names)
}
