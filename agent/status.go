package agent

import (
	"bytes"
	"fmt"
	"time"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

// Status implements admin.Agent.
func (a *Agent) Status() (admin.Status, error) {
	problems := a.notReady()
	status := admin.Status{
		Site: string(a.config.Site), Agent: string(a.config.Name),
		Software: a.config.Software, Ready: len(problems) == 0, Problems: problems,
	}
	up := a.uplink.Status()
	status.Hub = admin.HubStatus{Connected: up.Connected, Address: up.Address, ID: up.Hub, Problem: up.Problem}
	if up.Epoch != 0 {
		status.Hub.Epoch = up.Epoch.String()
	}
	err := a.store.View(func(tx store.Tx) (err error) {
		if status.Incarnation, err = core.Incarnation(tx); err != nil {
			return err
		}
		for _, p := range a.config.Pacts {
			state, err := outbox.GetState(tx, p.Name)
			if err != nil {
				return err
			}
			conflicts, err := inbox.Conflicts(tx, p.Name)
			if err != nil {
				return err
			}
			offer, err := core.OfferOf(tx, p.Name)
			if err != nil {
				return err
			}
			at := up.Pacts[p.Name]
			status.Pacts = append(status.Pacts, admin.PactStatus{
				Pact: string(p.Name), Version: p.Version,
				Refused: at.Refused, Cursor: uint64(at.Cursor), Head: uint64(at.Head), Outbox: state.Len, Conflicts: conflicts,
				Offering: offer.Open, Offered: offer.Taken, OfferRefused: offer.Refused, OfferLeft: offer.Left,
			})
		}
		for _, s := range a.config.Systems {
			one, err := a.systemStatus(tx, &s)
			if err != nil {
				return err
			}
			status.Systems = append(status.Systems, one)
		}
		status.Holds, err = waiting(tx)
		return err
	})
	return status, err
}

func (a *Agent) systemStatus(tx store.Tx, s *System) (admin.SystemStatus, error) {
	st, err := core.StatusOf(tx, s.Name)
	out := admin.SystemStatus{
		System: s.Name, Pact: string(s.Binding.Pact()),
		Linked: st.Linked, Reads: st.Reads, Intents: st.Intents, InDoubt: st.InDoubt,
	}
	if unix := a.systems[s.Name].capture.ListedUnix(); unix != 0 {
		at := time.Unix(unix, 0).UTC()
		out.Listed = &at
	}
	return out, err
}

// Poll implements admin.Agent: every system is listed now.
func (a *Agent) Poll() {
	for _, s := range a.systems {
		s.capture.Poke()
	}
}

func (a *Agent) pactOf(system string) crdt.Pact {
	for _, s := range a.config.Systems {
		if s.Name == system {
			return s.Binding.Pact()
		}
	}
	return ""
}

// document returns what this site accepted of a pact, nil if nothing.
func (a *Agent) document(name crdt.Pact) ([]byte, uint32) {
	for _, own := range a.config.Pacts {
		if own.Name == name {
			return own.Encode(), own.Version
		}
	}
	return nil, 0
}

// checkDocument compares the hub's pact with the one that this site accepted:
// what a company shares is for that company to say, not for its hub.
func (a *Agent) checkDocument(state wire.PactState) error {
	for _, own := range a.config.Pacts {
		if own.Name != state.Pact {
			continue
		}
		if bytes.Equal(own.Encode(), state.Document) {
			return nil
		}
		theirs, err := pact.Decode(state.Document)
		if err != nil {
			return fmt.Errorf("pact %s of the hub: %w", state.Pact, err)
		}
		if theirs.Version != own.Version {
			return fmt.Errorf("pact %s: the hub has version %d, this site accepted version %d",
				own.Name, theirs.Version, own.Version)
		}
		return fmt.Errorf("pact %s version %d: the hub's text differs from the one this site accepted", own.Name, own.Version)
	}
	return fmt.Errorf("pact %s was not accepted by this site", state.Pact)
}
