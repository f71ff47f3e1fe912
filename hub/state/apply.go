package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/pact"
)

// Apply folds one entry of the log into the state and says what it did. Entries
// come in ascending order of index; one at or below the applied index is
// skipped, so that a log may be replayed from any point. What it refuses, it refuses
// on every replica alike; how it can fail see Result.Err. It keeps copies of what
// it needs of the entry.
func (m *Machine) Apply(index uint64, e command.Entry) (res Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.torn != nil:
		return Result{Err: m.torn}
	case index <= m.index:
		return Result{Skipped: true}
	}
	defer func() {
		if r := recover(); r != nil {
			u, ok := r.(unread)
			if !ok {
				panic(r)
			}
			m.torn = fmt.Errorf("%w: %w", ErrTorn, u.err)
			res = Result{Err: m.torn}
		}
	}()
	m.index = index
	m.tick(e.TimeMillis)
	res = Result{Commands: make([]CommandResult, len(e.Commands))}
	for i, c := range e.Commands {
		res.Commands[i] = m.command(c, &e, &res)
	}
	slices.Sort(res.Advanced)
	res.Advanced = slices.Compact(res.Advanced)
	res.HistoryBytes = m.grown
	return res
}

func (m *Machine) command(c command.Command, e *command.Entry, res *Result) CommandResult {
	switch c := c.(type) {
	case *command.Found:
		return CommandResult{Reason: m.found(c)}
	case *command.Fork:
		return CommandResult{Reason: m.fork(c, res)}
	case *command.PutPact:
		return m.putPact(c, res)
	case *command.Publish:
		return m.publish(c, e, res)
	case *command.Tally:
		return m.tally(c)
	case *command.Audit:
		return m.audit(c)
	case *command.Node:
		return CommandResult{Reason: m.node(c, e.TimeMillis)}
	case *command.Token:
		return CommandResult{Reason: m.token(c, e.TimeMillis)}
	case *command.Offer:
		return m.offer(c, e, res)
	case *command.OfferPact:
		return m.offerPact(c, res)
	}
	return CommandResult{Reason: ReasonUnfounded} // unreachable: the codec knows no other
}

// advance notes that the pact's row changes, and that its readers should look.
func (m *Machine) advance(name crdt.Pact, res *Result) {
	m.dirty.pact(name)
	res.Advanced = append(res.Advanced, name)
}

func (m *Machine) found(c *command.Found) Reason {
	switch {
	case !m.hub.IsZero():
		return ReasonFounded
	case c.Hub.IsZero() || c.Epoch == 0:
		return ReasonMalformed
	}
	m.hub, m.epoch = c.Hub, c.Epoch
	return ""
}

// fork gives every feed a new epoch that continues the old one at its head.
func (m *Machine) fork(c *command.Fork, res *Result) Reason {
	switch {
	case m.hub.IsZero():
		return ReasonUnfounded
	case c.Parent != m.epoch:
		return ReasonEpoch
	case c.Child == 0 || c.Child == m.epoch:
		return ReasonMalformed
	}
	for name, p := range m.pacts {
		known := p.lineage[max(0, len(p.lineage)-lineageMax+1):] // what is forgotten counts as not seen
		p.lineage = append(slices.Clip(known), crdt.Fork{Child: c.Child, Parent: c.Parent, At: p.head})
		m.advance(name, res)
	}
	m.epoch = c.Child
	return ""
}

func (m *Machine) putPact(c *command.PutPact, res *Result) CommandResult {
	next, reason := m.readPact(c.Document)
	if reason != "" {
		return CommandResult{Reason: reason}
	}
	p, known := m.pacts[next.Name]
	switch {
	case !known: // at any version: what an operator configures, he vouches for
	case bytes.Equal(p.document, c.Document):
		return CommandResult{Version: next.Version}
	case next.Version != p.agreed.Version+1:
		return CommandResult{Reason: ReasonPactVersion, Version: p.agreed.Version}
	}
	return m.install(next, c.Document, res)
}

// offerPact puts a version in force that all its members hold. It may skip
// versions that this hub has lost, and never goes back.
func (m *Machine) offerPact(c *command.OfferPact, res *Result) CommandResult {
	next, reason := m.readPact(c.Document)
	if reason != "" {
		return CommandResult{Reason: reason}
	}
	p, known := m.pacts[next.Name]
	switch {
	case known && bytes.Equal(p.document, c.Document):
		return CommandResult{Version: next.Version}
	case known && next.Version <= p.agreed.Version:
		return CommandResult{Reason: ReasonPactVersion, Version: p.agreed.Version}
	case !accepted(next, c.Sites) || known && !accepted(p.agreed, c.Sites):
		return CommandResult{Reason: ReasonUnaccepted}
	}
	return m.install(next, c.Document, res)
}

func accepted(p *pact.Pact, by []crdt.Site) bool {
	return !slices.ContainsFunc(p.Members, func(site crdt.Site) bool { return !slices.Contains(by, site) })
}

func (m *Machine) readPact(document []byte) (*pact.Pact, Reason) {
	next, err := pact.Decode(document)
	switch {
	case m.hub.IsZero():
		return nil, ReasonUnfounded
	case errors.Is(err, pact.ErrNewer):
		return nil, ReasonPactNewer
	case err != nil:
		return nil, ReasonPactInvalid
	case m.pacts[next.Name] == nil && len(m.pacts) >= PactsMax:
		return nil, ReasonPacts
	}
	return next, ""
}

func (m *Machine) install(next *pact.Pact, document []byte, res *Result) CommandResult {
	p, known := m.pacts[next.Name]
	if !known {
		p = newPactState()
		m.pacts[next.Name] = p
	}
	m.keepHistory(p, next.Limits.HistoryDays)
	p.agreed, p.document = next, bytes.Clone(document)
	m.advance(next.Name, res)
	return CommandResult{Version: next.Version}
}

// audit compares what was remembered at the audit before with what the leader
// remembered then, and remembers the state as of now.
func (m *Machine) audit(c *command.Audit) CommandResult {
	var res CommandResult
	if c.Index != 0 && c.Index == m.auditIndex {
		res.Compared = true
		res.Diverged = diverged(m.auditPacts, c.Pacts)
	}
	m.auditIndex, m.auditPacts = m.index, m.sums()
	return res
}

// diverged merges two lists sorted by pact.
func diverged(ours, theirs []command.PactDigest) []crdt.Pact {
	var out []crdt.Pact
	for len(ours) > 0 || len(theirs) > 0 {
		switch {
		case len(theirs) == 0 || len(ours) > 0 && ours[0].Pact < theirs[0].Pact:
			out, ours = append(out, ours[0].Pact), ours[1:]
		case len(ours) == 0 || theirs[0].Pact < ours[0].Pact:
			out, theirs = append(out, theirs[0].Pact), theirs[1:]
		default:
			if ours[0] != theirs[0] {
				out = append(out, ours[0].Pact)
			}
			ours, theirs = ours[1:], theirs[1:]
		}
	}
	return out
}
