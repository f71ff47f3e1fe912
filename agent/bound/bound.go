// Package bound fits a compiled binding to what the core asks of one: the two
// packages know nothing of each other.
package bound

import (
	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// To returns b as the core sees it.
func To(b *binding.Binding) core.Binding { return bound{b} }

type bound struct{ *binding.Binding }

func (b bound) Get(f crdt.Field, local map[string]value.Value) (value.Value, *core.Problem) {
	v, p := b.Binding.Get(f, local)
	return v, problem(p)
}

func (b bound) Put(f crdt.Field, v value.Value, local map[string]value.Value) (map[string]value.Value, *core.Problem) {
	writes, p := b.Binding.Put(f, v, local)
	return writes, problem(p)
}

func (b bound) Enters(local map[string]value.Value) (bool, *core.Problem) {
	in, p := b.Binding.Enters(local)
	return in, problem(p)
}

func (b bound) Comments() (core.CommentRule, bool) {
	rule, ok := b.Binding.Comments()
	return boundComments{rule}, ok
}

type boundComments struct{ binding.CommentRule }

func (c boundComments) Sends(comment connectors.Comment) (bool, *core.Problem) {
	sends, p := c.CommentRule.Sends(comment)
	return sends, problem(p)
}

func problem(p *binding.Problem) *core.Problem {
	if p == nil {
		return nil
	}
	return &core.Problem{Code: p.Code, Message: p.Message, Keep: p.Keep}
}
