package state

import (
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// Outcome of one op. The numbers equal those of package wire.
type Outcome uint8

// Outcomes.
const (
	OutcomeApplied Outcome = 1 // merged, as winner, loser or duplicate
	OutcomeRefused Outcome = 2 // refused for good
	OutcomeRetry   Outcome = 3 // not taken now; nothing consumed
	OutcomeGap     Outcome = 4 // the predecessor is missing; nothing consumed
)

func (o Outcome) String() string {
	names := [...]string{"none", "applied", "refused", "retry", "gap"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// Reason is the stable code of an outcome other than applied. Besides these,
// every reason of package pact occurs. Codes are those of package wire.
type Reason string

// Reasons of Apply itself.
const (
	ReasonMalformed   Reason = "op.malformed"  // consumes the seq
	ReasonStampFuture Reason = "stamp.future"  // consumes the seq
	ReasonStampBase   Reason = "stamp.base"    // consumes the seq
	ReasonForged      Reason = "author.forged" // refused; consumes nothing of anybody
	ReasonSeqReused   Reason = "seq.reused"    // refused; the seq belongs to another op
	ReasonGap         Reason = "seq.gap"
	ReasonEpoch       Reason = "epoch.changed" // retry
	ReasonPactUnknown Reason = "pact.unknown"  // retry
	ReasonNotMember   Reason = "pact.not_member"
	ReasonPactVersion Reason = "pact.version" // of a document: not the next version
	ReasonPactInvalid Reason = "pact.invalid" // of a document: unreadable
	ReasonPactNewer   Reason = "version.newer"
	ReasonUnaccepted  Reason = "pact.unaccepted" // of an OfferPact: a member is missing
	ReasonPacts       Reason = "quota.pacts"     // of a document: PactsMax reached
	ReasonRecords     Reason = "quota.records"
	ReasonAuthors     Reason = "quota.authors" // answered with retry: authorsMax or heardMax reached
	ReasonRegisters   Reason = "quota.registers"
	ReasonUnfounded   Reason = "hub.readonly" // no Found was applied yet
	ReasonFounded     Reason = "hub.founded"  // of a Found: the hub has an identity

	// Of commands about nodes.
	ReasonNodeMalformed Reason = "node.malformed"
	ReasonNodeUnknown   Reason = "node.unknown"
	ReasonNodeKnown     Reason = "node.known"   // a node of that name has joined
	ReasonNodeRemoved   Reason = "node.removed" // a name is not used again
	ReasonNodes         Reason = "quota.nodes"  // NodesMax reached
	ReasonToken         Reason = "token.invalid"
	ReasonTokens        Reason = "quota.tokens" // TokensMax reached
)

// OpResult answers one op.
type OpResult struct {
	Outcome Outcome
	Reason  Reason // empty if applied
	// Offset is where the op's effect stands in the feed, if applied: the op
	// itself, its conflict record, or the version that came after it. A subscriber
	// whose cursor has passed it knows everything that became of the op.
	Offset crdt.Offset
}

// CommandResult answers one command.
type CommandResult struct {
	// Reason why the command as a whole had no effect; empty if it had. The Ops of
	// a Publish or Offer carry it too.
	Reason Reason
	// Ops answers each op of a Publish, or each register of an Offer and behind
	// them its end, in order.
	Ops []OpResult
	// Version is the pact's version in force after a document that was not refused.
	Version uint32
	// Verdict is that of a Tally, 0 of every other command.
	Verdict command.Verdict
	// Minority: what this replica remembers is not what the majority of a Tally
	// does; it must stop.
	Minority bool
	// Compared reports whether an Audit or Tally was about what this replica
	// remembers.
	Compared bool
	// Diverged names the pacts whose digests differ from those of an Audit,
	// sorted; a pact that only one side has is among them. Not empty: this
	// replica or the leader has lost or invented state, and must stop.
	Diverged []crdt.Pact
}

// Result is what one entry did.
type Result struct {
	// Err says that a version which the entry meets was not in memory, though
	// Prepare reads all of them. The entry has then had the first of its effects
	// only: no answer to it may be given, and nothing be stored of the Machine, whose
	// every later Apply says the same until another state is loaded. Nothing else is
	// set.
	Err error
	// Skipped: the entry's index is not above the applied one; it had no effect,
	// and nothing else is set.
	Skipped  bool
	Commands []CommandResult // one for each command, in order
	// Advanced names the pacts whose head, document or epoch changed, sorted.
	Advanced []crdt.Pact
	// HistoryBytes is about how much memory the entry's versions take, until they
	// are in a checkpoint, because pacts keep history.
	HistoryBytes int
}
