// Package admission decides on the leader what of a batch goes into the log. It
// freezes what Apply may not find out by itself: who is calling, at what time,
// and how much of it. What is state (membership, pact versions, writers, stamps
// against the entry's time, seqs) Apply decides again, and every final refusal is
// Apply's, in the log; admission only turns away, consuming nothing.
package admission

import (
	"context"
	"errors"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Waits that are told to agents, where nothing better is known.
const (
	retryLeader = 100 * time.Millisecond
	retryBusy   = 50 * time.Millisecond
	retryEpoch  = time.Second
	retryDisk   = 5 * time.Second
	// A member becomes newer when an operator replaces it, and the leader hears of
	// that within a heartbeat or two.
	retryUpgrade = time.Second
)

// Log is what admission needs of the replica.
type Log interface {
	// Start queues c and returns at once; what is started first is applied first.
	// Errors are those of package replica.
	Start(c command.Command) (wait func(context.Context) (state.CommandResult, error), err error)
	// Leader names the node that leads, "" if none is known.
	Leader() string
}

// State is what admission reads.
type State interface {
	Hub() (command.HubID, crdt.Epoch)
	Pact(name crdt.Pact) (state.PactInfo, error)
}

// Config of an Admission. All fields are needed.
type Config struct {
	Log   Log
	State State
	Now   func() time.Time
	// Self is this node's name; AgentAddress tells where agents reach a node, ""
	// if that is not known.
	Self         string
	AgentAddress func(node string) string
	// Site is the limit of one site in one pact that sets none itself, Pact that of
	// each pact as a whole.
	Site, Pact Rate
	// Answered is told each answer as it is given; it must not wait.
	Answered func(wire.BatchResult)
	// Offered is told each answer to an offer, without the result for its end, and
	// whether that was taken. It must not wait.
	Offered func(answer wire.BatchResult, completed bool)
}

// Admission of one node. Safe for concurrent use.
type Admission struct {
	cfg      Config
	quotas   *quotas
	accepted acceptances
}

// New returns the admission of a node, whether it leads or not.
func New(cfg Config) *Admission {
	return &Admission{cfg: cfg, quotas: newQuotas(), accepted: newAcceptances()}
}

// Pending is a batch that was admitted or turned away.
type Pending struct {
	admission *Admission
	batch     uint64
	results   []wire.OpResult
	parts     []part
	retry     time.Duration
	leader    string
	offered   int         // registers among results, if it is an offer
	offer     bool        // and not a batch
	end       func() bool // starts the part that completes an offer, nil if it is started
}

// part is a run of the batch's ops that went into the log as one command.
type part struct {
	from int
	wait func(context.Context) (state.CommandResult, error)
}

// Admit starts what of b may go into the log, and returns at once. Batches of
// one caller must be admitted in the order sent, by one goroutine.
func (a *Admission) Admit(who identity.Agent, b wire.Batch) *Pending {
	p := &Pending{admission: a, batch: b.ID, results: make([]wire.OpResult, len(b.Ops))}
	if p.forged(who, b.Ops) {
		return p
	}
	if reason, retry := a.check(who, b); reason != "" {
		p.turnAway(0, reason, retry)
		return p
	}
	whole := command.Publish{
		Site: who.Site, Agent: who.Name, Pact: b.Pact, Epoch: b.Epoch, After: b.After, Ops: b.Ops,
	}
	from := 0
	for _, c := range whole.Split(replica.CommandBytesMax) {
		if !p.start(c, from) {
			return p
		}
		from += len(c.Ops)
	}
	return p
}

// start puts a command into the log that answers the results from an index on.
func (p *Pending) start(c command.Command, from int) bool {
	wait, err := p.admission.cfg.Log.Start(c)
	if err != nil {
		p.failed(from, err)
		return false
	}
	p.parts = append(p.parts, part{from, wait})
	return true
}

// forged answers a batch that holds ops of another author than the caller. Such
// an op is refused without a trace in the log, or anybody could fill it in the
// name of others; its neighbours may come again without it.
func (p *Pending) forged(who identity.Agent, ops []crdt.Op) bool {
	found := false
	for i := range ops {
		p.results[i] = wire.OpResult{Outcome: wire.OutcomeRetry, Reason: wire.ReasonAuthorForged}
		if author := ops[i].Author; author.Site != who.Site || author.Agent != who.Name {
			p.results[i].Outcome = wire.OutcomeRefused
			found = true
		}
	}
	return found
}

// check says why the batch as a whole cannot be taken now.
func (a *Admission) check(who identity.Agent, b wire.Batch) (wire.Reason, time.Duration) {
	bytes := 0
	for i := range b.Ops {
		bytes += wire.OpBytes(&b.Ops[i])
	}
	return a.mayTake(who, b.Pact, b.Epoch, len(b.Ops), bytes)
}

// mayTake says why a number of ops, or of offered registers, cannot be taken now.
func (a *Admission) mayTake(who identity.Agent, pact crdt.Pact, in crdt.Epoch, ops, bytes int) (wire.Reason, time.Duration) {
	info, reason := a.member(who, pact, in)
	if reason != "" {
		return reason, retryEpoch
	}
	site := a.cfg.Site
	if n := info.Pact.Limits.OpsPerSecond; n > 0 {
		site.Ops = n
	}
	if n := info.Pact.Limits.BytesPerSecond; n > 0 {
		site.Bytes = n
	}
	return a.quotas.take(a.cfg.Now(), quotaKey{pact, who.Site}, site, a.cfg.Pact, ops, bytes)
}

// member finds a pact that the caller takes part in, in an epoch.
func (a *Admission) member(who identity.Agent, pact crdt.Pact, in crdt.Epoch) (state.PactInfo, wire.Reason) {
	_, epoch := a.cfg.State.Hub()
	if in != epoch {
		return state.PactInfo{}, wire.ReasonEpochChanged
	}
	info, err := a.cfg.State.Pact(pact)
	switch {
	case err != nil:
		return info, wire.ReasonPactUnknown
	case !info.Pact.IsMember(who.Site):
		return info, wire.ReasonPactNotMember
	}
	return info, ""
}

// turnAway answers everything from an op on with retry.
func (p *Pending) turnAway(from int, reason wire.Reason, retry time.Duration) {
	for i := from; i < len(p.results); i++ {
		p.results[i] = wire.OpResult{Outcome: wire.OutcomeRetry, Reason: reason}
	}
	p.retry = max(p.retry, retry)
}

// failed answers what the log did not take, or lost sight of.
func (p *Pending) failed(from int, err error) {
	cfg := &p.admission.cfg
	switch {
	case errors.Is(err, replica.ErrDisputed):
		p.turnAway(from, wire.ReasonHubReadonly, retryEpoch)
	case errors.Is(err, replica.ErrBusy):
		p.turnAway(from, wire.ReasonHubBusy, retryBusy)
	case errors.Is(err, replica.ErrNotYet):
		p.turnAway(from, wire.ReasonMemberOlder, retryUpgrade)
	case errors.Is(err, replica.ErrDiskLow):
		p.turnAway(from, wire.ReasonHubDiskLow, retryDisk)
	case errors.Is(err, replica.ErrNotLeader):
		leader := cfg.Log.Leader()
		if p.leader = cfg.AgentAddress(leader); leader != "" && leader != cfg.Self && p.leader != "" {
			p.turnAway(from, wire.ReasonLeaderMoved, 0)
			return
		}
		p.leader = ""
		p.turnAway(from, wire.ReasonLeaderNone, retryLeader)
	default:
		p.turnAway(from, wire.ReasonLeaderLost, retryLeader)
	}
}

// settle answers the results of a part up to end, and reports whether its outcome
// is known. Later parts may be applied where it is not.
func (p *Pending) settle(ctx context.Context, part part, end int) bool {
	result, err := part.wait(ctx)
	if err != nil {
		p.failed(part.from, err)
		return false
	}
	for j := range result.Ops[:min(len(result.Ops), end-part.from)] {
		r := result.Ops[j]
		p.results[part.from+j] = wire.OpResult{
			Outcome: wire.Outcome(r.Outcome), Reason: wire.Reason(r.Reason), Offset: r.Offset,
		}
	}
	return true
}

// Wait returns the answer to the batch, one result per op, when everything that
// went into the log is applied, or its outcome can no longer be known. The end of
// an offer says that all of it is here, so that it goes into the log only when
// everything before it was applied: any of that may be turned away from the queue.
// Call it once.
func (p *Pending) Wait(ctx context.Context) wire.BatchResult {
	whole := true
	for i, part := range p.parts {
		end := len(p.results)
		if i+1 < len(p.parts) {
			end = p.parts[i+1].from
		}
		whole = p.settle(ctx, part, end) && whole
	}
	if p.end != nil && whole && p.end() {
		p.settle(ctx, p.parts[len(p.parts)-1], len(p.results))
	}
	answer := wire.BatchResult{
		Batch: p.batch, Results: p.results, TimeMillis: p.admission.cfg.Now().UnixMilli(),
		RetryAfter: p.retry, Leader: p.leader,
	}
	if p.offer {
		p.tellOffered(answer)
	} else {
		p.admission.cfg.Answered(answer)
	}
	return answer
}
