package core_test

import (
	"slices"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// tickets is the pact of the tests.
func tickets() *pact.Pact {
	return &pact.Pact{
		Name: "ops", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Fields: []pact.Field{
			{Name: "comments", Type: pact.TypeComments},
			{Name: "description", Type: pact.TypeRichText},
			{Name: "status", Type: pact.TypeEnum, Values: []string{"done", "new", "open"}},
			{Name: "title", Type: pact.TypeText, Required: true},
		},
	}
}

// testBinding maps fields one to one, but two local statuses to one. A local
// status that it does not know is a problem.
type testBinding struct {
	sendOnly, receiveOnly []crdt.Field
	enters                func(map[string]value.Value) bool
}

var statuses = map[string]string{"new": "new", "open": "open", "waiting": "open", "done": "done"}

func (testBinding) Pact() crdt.Pact                  { return "ops" }
func (testBinding) Revision() uint32                 { return 1 }
func (testBinding) Fields() []crdt.Field             { return []crdt.Field{"description", "status", "title"} }
func (testBinding) Locals(f crdt.Field) []string     { return []string{string(f)} }
func (b testBinding) Sends(f crdt.Field) bool        { return !slices.Contains(b.receiveOnly, f) }
func (b testBinding) Receives(f crdt.Field) bool     { return !slices.Contains(b.sendOnly, f) }
func (testBinding) OnCreate() map[string]value.Value { return nil }

func (testBinding) Get(f crdt.Field, local map[string]value.Value) (value.Value, *core.Problem) {
	v := local[string(f)]
	if f != "status" || v.IsNull() {
		return v, nil
	}
	to, ok := statuses[v.AsText()]
	if !ok {
		return v, &core.Problem{Code: "value.unmapped", Message: "no row for this status"}
	}
	return value.Text(to), nil
}

func (testBinding) Put(f crdt.Field, v value.Value, _ map[string]value.Value) (map[string]value.Value, *core.Problem) {
	return map[string]value.Value{string(f): v}, nil
}

func (b testBinding) Enters(local map[string]value.Value) (bool, *core.Problem) {
	return b.enters == nil || b.enters(local), nil
}

func (testBinding) Comments() (core.CommentRule, bool) { return testComments{}, true }

type testComments struct{}

func (testComments) Field() crdt.Field { return "comments" }
func (testComments) Receives() bool    { return true }

// Sends cannot decide about a comment that asks "?".
func (testComments) Sends(c connectors.Comment) (bool, *core.Problem) {
	if c.Body == "?" {
		return false, &core.Problem{Code: "value.expression", Message: "send: the expression failed on this value"}
	}
	return !c.Internal, nil
}

func (testComments) Body(author string, site crdt.Site, body string) string {
	return author + " (" + string(site) + "):\n" + body
}
