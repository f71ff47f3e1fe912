package admission

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

// AdmitOffer starts what of o may go into the log, and returns at once. The end of
// one that is cut waits for what is before it: see Pending.Wait. Parts
// of one offer must be admitted in the order sent, by one goroutine. That only
// ops of members come, and only what a member may write, Apply decides.
func (a *Admission) AdmitOffer(who identity.Agent, o wire.Offer) *Pending {
	results := len(o.Registers)
	if o.End != nil {
		results++
	}
	p := &Pending{
		admission: a, batch: o.ID, results: make([]wire.OpResult, results), offer: true, offered: len(o.Registers),
	}
	whole := command.Offer{
		Site: who.Site, Agent: who.Name, Pact: o.Pact, Epoch: o.Epoch, Lineage: o.Lineage,
		Registers: make([]command.Offered, len(o.Registers)),
	}
	bytes := 0
	for i := range o.Registers {
		whole.Registers[i] = command.Offered(o.Registers[i])
		bytes += wire.OpBytes(&o.Registers[i].Op)
	}
	if o.End != nil {
		whole.End = &command.OfferEnd{After: o.End.After, Held: o.End.Held}
	}
	if reason, wait := a.mayTake(who, o.Pact, o.Epoch, len(o.Registers), bytes); reason != "" {
		p.turnAway(0, reason, wait)
		return p
	}
	from := 0
	for _, c := range whole.Split(replica.CommandBytesMax) {
		if c.End != nil && from > 0 {
			p.end = func() bool { return p.start(c, from) }
			p.turnAway(from, wire.ReasonHubBusy, 0) // as long as it is not started
			return p
		}
		if !p.start(c, from) {
			return p
		}
		from += len(c.Registers)
	}
	return p
}

func (p *Pending) tellOffered(answer wire.BatchResult) {
	end := answer.Results[p.offered:]
	answer.Results = answer.Results[:p.offered]
	p.admission.cfg.Offered(answer, len(end) > 0 && end[0].Outcome == wire.OutcomeApplied)
}

// acceptedFor is how long a site's word about a pact counts. Its agent repeats it
// at each greeting, as long as the pact is not in force.
const acceptedFor = 24 * time.Hour

// acceptances remembers which sites hold which version of which pact while not all
// members have said so. It is this node's memory only: a new leader hears it again.
type acceptances struct {
	mu    sync.Mutex
	pacts map[crdt.Pact]map[crdt.Site]acceptance
	sites map[crdt.Site]int // how many pacts a site is remembered for
}

type acceptance struct {
	document [sha256.Size]byte
	at       time.Time
}

func newAcceptances() acceptances {
	return acceptances{pacts: map[crdt.Pact]map[crdt.Site]acceptance{}, sites: map[crdt.Site]int{}}
}

// add remembers one, or reports false if the site's share is used up, by words
// that still count.
func (a *acceptances) add(name crdt.Pact, site crdt.Site, document []byte, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := a.pacts[name]
	if _, known := of[site]; !known {
		if a.sites[site] >= wire.PactsMax && !a.expire(site, now) {
			return false
		}
		of = a.pacts[name] // expire may have dropped it
		a.sites[site]++
	}
	if of == nil {
		of = map[crdt.Site]acceptance{}
		a.pacts[name] = of
	}
	of[site] = acceptance{sha256.Sum256(document), now}
	return true
}

// expire drops what a site said too long ago, and reports whether there was any.
func (a *acceptances) expire(site crdt.Site, now time.Time) (some bool) {
	for name, of := range a.pacts {
		if got, ok := of[site]; ok && now.Sub(got.at) > acceptedFor {
			a.drop(name, site)
			some = true
		}
	}
	return some
}

// drop forgets what one site said of one pact, which is there.
func (a *acceptances) drop(name crdt.Pact, site crdt.Site) {
	if delete(a.pacts[name], site); len(a.pacts[name]) == 0 {
		delete(a.pacts, name)
	}
	if a.sites[site]--; a.sites[site] == 0 {
		delete(a.sites, site)
	}
}

// missing returns who of the members has not accepted document, sorted.
func (a *acceptances) missing(name crdt.Pact, document []byte, members []crdt.Site, now time.Time) []crdt.Site {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := sha256.Sum256(document)
	var out []crdt.Site
	for _, site := range members {
		if got := a.pacts[name][site]; got.document != want || now.Sub(got.at) > acceptedFor {
			out = append(out, site)
		}
	}
	return out
}

// forget drops what was said of a pact that came in force.
func (a *acceptances) forget(name crdt.Pact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for site := range a.pacts[name] {
		a.drop(name, site)
	}
}

// settled drops what was said of a document that is in force; what was said of a
// later one stays.
func (a *acceptances) settled(name crdt.Pact, document []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := sha256.Sum256(document)
	for site, got := range a.pacts[name] {
		if got.document == in {
			a.drop(name, site)
		}
	}
}

// AcceptPact takes in that a site has accepted a pact document, and puts it in
// force once every member has. The one who leads remembers who did.
func (a *Admission) AcceptPact(ctx context.Context, who identity.Agent, document []byte) (wire.Acceptance, error) {
	next, err := pact.Decode(document)
	switch {
	case errors.Is(err, pact.ErrNewer):
		return wire.Acceptance{}, wire.Errorf(wire.ReasonVersionNewer, "%w", err)
	case err != nil:
		return wire.Acceptance{}, wire.Errorf(wire.ReasonPactInvalid, "%w", err)
	case !next.IsMember(who.Site):
		return wire.Acceptance{}, wire.Errorf(wire.ReasonPactNotMember, "site %s is not a member of pact %s", who.Site, next.Name)
	case a.cfg.Log.Leader() != a.cfg.Self:
		return wire.Acceptance{}, a.elsewhere()
	}
	members := slices.Clone(next.Members)
	if held, err := a.cfg.State.Pact(next.Name); err == nil {
		switch {
		case slices.Equal(held.Document, document):
			a.accepted.settled(next.Name, document)
			return wire.Acceptance{Version: next.Version}, nil
		case held.Pact.Version >= next.Version:
			return wire.Acceptance{}, wire.Errorf(wire.ReasonPactVersion,
				"pact %s: version %d is in force, version %d was offered", next.Name, held.Pact.Version, next.Version)
		}
		members = append(members, held.Pact.Members...)
	}
	slices.Sort(members)
	members = slices.Compact(members)
	if !a.accepted.add(next.Name, who.Site, document, a.cfg.Now()) {
		return wire.Acceptance{}, wire.Errorf(wire.ReasonQuotaPacts, "site %s waits for %d pacts already", who.Site, wire.PactsMax)
	}
	if missing := a.accepted.missing(next.Name, document, members, a.cfg.Now()); len(missing) > 0 {
		return wire.Acceptance{Version: a.inForce(next.Name), Missing: missing}, nil
	}
	return a.enforce(ctx, next, &command.OfferPact{Sites: members, Document: document})
}

func (a *Admission) inForce(name crdt.Pact) uint32 {
	if held, err := a.cfg.State.Pact(name); err == nil {
		return held.Pact.Version
	}
	return 0
}

// enforce puts a document into the log that everybody accepted.
func (a *Admission) enforce(ctx context.Context, p *pact.Pact, c *command.OfferPact) (wire.Acceptance, error) {
	wait, err := a.cfg.Log.Start(c)
	switch {
	case errors.Is(err, replica.ErrNotYet):
		older := wire.Errorf(wire.ReasonMemberOlder, "pact %s version %d: %w", p.Name, p.Version, err)
		older.RetryAfter = retryUpgrade
		return wire.Acceptance{}, older
	case err != nil:
		return wire.Acceptance{}, a.elsewhere()
	}
	result, err := wait(ctx)
	if err != nil {
		return wire.Acceptance{}, wire.Errorf(wire.ReasonLeaderLost, "pact %s: %w", p.Name, err)
	}
	if result.Reason != "" {
		return wire.Acceptance{}, wire.Errorf(wire.Reason(result.Reason), "pact %s version %d", p.Name, p.Version)
	}
	a.accepted.forget(p.Name)
	return wire.Acceptance{Version: result.Version}, nil
}

// elsewhere says where what this node cannot take is taken.
func (a *Admission) elsewhere() *wire.Error {
	leader := a.cfg.Log.Leader()
	if address := a.cfg.AgentAddress(leader); leader != a.cfg.Self && address != "" {
		err := wire.Errorf(wire.ReasonLeaderMoved, "node %s leads", leader)
		err.Leader = address
		return err
	}
	err := wire.Errorf(wire.ReasonLeaderNone, "node %s knows no leader", a.cfg.Self)
	err.RetryAfter = retryLeader
	return err
}
