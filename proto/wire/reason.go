package wire

import (
	"slices"

	"google.golang.org/grpc/codes"
)

// Reason is a stable dotted code that says why something did not happen.
// Codes are never renamed. One that this program does not know comes from a
// newer peer: see Reason.Fate.
type Reason string

// Reasons. Describe tells what each means.
const (
	ReasonPactUnknown   Reason = "pact.unknown"
	ReasonPactNotMember Reason = "pact.not_member"
	ReasonPactVersion   Reason = "pact.version"
	ReasonPactType      Reason = "pact.type"
	ReasonPactField     Reason = "pact.field"
	ReasonPactWriter    Reason = "pact.writer"
	ReasonPactDelete    Reason = "pact.delete"
	ReasonPactValue     Reason = "pact.value"
	ReasonPactInvalid   Reason = "pact.invalid"
	// ReasonPactUnaccepted is about a document, not about an op.
	ReasonPactUnaccepted Reason = "pact.unaccepted"

	ReasonAuthorUnknown Reason = "author.unknown"
	ReasonAuthorForged  Reason = "author.forged"

	ReasonOpMalformed   Reason = "op.malformed"
	ReasonOpOversize    Reason = "op.oversize"
	ReasonBatchOversize Reason = "batch.oversize"
	ReasonMalformed     Reason = "message.malformed"
	ReasonOversize      Reason = "message.oversize"

	ReasonStampFuture Reason = "stamp.future"
	ReasonStampBase   Reason = "stamp.base"
	ReasonSeqGap      Reason = "seq.gap"
	ReasonSeqReused   Reason = "seq.reused"

	ReasonQuotaOps       Reason = "quota.ops"
	ReasonQuotaBytes     Reason = "quota.bytes"
	ReasonQuotaRecords   Reason = "quota.records"
	ReasonQuotaRegisters Reason = "quota.registers"
	ReasonQuotaPacts     Reason = "quota.pacts"
	ReasonQuotaAuthors   Reason = "quota.authors"

	ReasonLeaderNone  Reason = "leader.none"
	ReasonLeaderMoved Reason = "leader.moved"
	ReasonLeaderLost  Reason = "leader.lost"

	ReasonEpochChanged Reason = "epoch.changed"
	ReasonCursorBeyond Reason = "cursor.beyond"
	ReasonCreditExcess Reason = "credit.excess"

	ReasonHistoryNone   Reason = "history.none"
	ReasonHistoryBefore Reason = "history.before"

	ReasonVersionNewer Reason = "version.newer"
	ReasonVersionOlder Reason = "version.older"

	ReasonNodeMalformed Reason = "node.malformed"
	ReasonNodeUnknown   Reason = "node.unknown"
	ReasonNodeKnown     Reason = "node.known"
	ReasonNodeRemoved   Reason = "node.removed"
	ReasonQuotaNodes    Reason = "quota.nodes"
	ReasonTokenInvalid  Reason = "token.invalid"
	ReasonQuotaTokens   Reason = "quota.tokens"

	ReasonMemberOlder Reason = "member.older"

	ReasonHubFounded     Reason = "hub.founded"
	ReasonHubReadonly    Reason = "hub.readonly"
	ReasonHubDiskLow     Reason = "hub.disk_low"
	ReasonHubDraining    Reason = "hub.draining"
	ReasonHubBusy        Reason = "hub.busy"
	ReasonHubInternal    Reason = "hub.internal"
	ReasonHubUnreachable Reason = "hub.unreachable"
)

// Fate is what becomes of an op that was answered with a reason.
type Fate uint8

// Fates.
const (
	FateNone    Fate = iota // the reason is not about an op; the call fails
	FateResend              // stays in the outbox; the same bytes again, later
	FateRewind              // stays in the outbox, with its predecessors: start from the oldest
	FateRestamp             // this op is spent; the change goes out again as a new op
	FateHold                // this op is spent; the change waits for a person or a new pact
)

func (f Fate) String() string {
	names := [...]string{"none", "resend", "rewind", "restamp", "hold"}
	if int(f) < len(names) {
		return names[f]
	}
	return "unknown"
}

// Sentence says for people what happens to an op with that fate; "" for FateNone.
func (f Fate) Sentence() string {
	sentences := [...]string{
		FateNone:    "",
		FateResend:  "The op stays in the outbox and is sent again as it is; nothing is lost.",
		FateRewind:  "The op stays in the outbox and is sent again behind its predecessors; nothing is lost.",
		FateRestamp: "The op is spent; its change goes out again as a new op; nothing is lost.",
		FateHold:    "The op is spent; its change is held, with this reason, until a person or a new version of the pact settles it.",
	}
	if int(f) < len(sentences) {
		return sentences[f]
	}
	return ""
}

// Description is one row of the table of reasons.
type Description struct {
	Reason    Reason
	Sentence  string     // for people
	Retryable bool       // the same call may succeed later without anybody acting
	Fate      Fate       // of the op, where the reason answers one
	Code      codes.Code // of the status, where the reason ends a call
}

// Describe returns the row of r. A code that is not in the table is final, and
// an op refused with it is held.
func Describe(r Reason) Description {
	if i := slices.IndexFunc(reasons, func(d Description) bool { return d.Reason == r }); i >= 0 {
		return reasons[i]
	}
	return Description{
		Reason: r, Sentence: "The peer answered with a code that this program does not know.",
		Fate: FateHold, Code: codes.Unknown,
	}
}

// Reasons lists the table, for documentation and tests.
func Reasons() []Description { return slices.Clone(reasons) }

// Known reports whether r is in the table.
func (r Reason) Known() bool {
	return slices.ContainsFunc(reasons, func(d Description) bool { return d.Reason == r })
}

// reasons is the one table; it is never written.
var reasons = []Description{
	{ReasonPactUnknown, "The hub has no such pact.", false, FateResend, codes.NotFound},
	{ReasonPactNotMember, "This site is not a member of the pact.", false, FateResend, codes.PermissionDenied},
	{ReasonPactVersion, "The field has changed since the pact version that the op was made under, or that version is not known here.", false, FateRestamp, codes.FailedPrecondition},
	{ReasonPactType, "The pact has no such record type.", false, FateHold, codes.FailedPrecondition},
	{ReasonPactField, "The pact has no such field.", false, FateHold, codes.FailedPrecondition},
	{ReasonPactWriter, "This site may not write the field.", false, FateHold, codes.PermissionDenied},
	{ReasonPactDelete, "This site may not delete records of the pact.", false, FateHold, codes.PermissionDenied},
	{ReasonPactValue, "The value does not fit the field's type or limits.", false, FateHold, codes.InvalidArgument},
	{ReasonPactInvalid, "The pact's document cannot be read or breaks a rule.", false, FateNone, codes.InvalidArgument},
	{ReasonPactUnaccepted, "Not every member has accepted this version of the pact.", true, FateNone, codes.FailedPrecondition},

	{ReasonAuthorUnknown, "The caller showed no certificate of an agent.", false, FateResend, codes.Unauthenticated},
	{ReasonAuthorForged, "The op names another author than the caller.", false, FateHold, codes.PermissionDenied},

	{ReasonOpMalformed, "The op is not well formed.", false, FateHold, codes.InvalidArgument},
	{ReasonOpOversize, "The op's value is larger than 64 KiB.", false, FateHold, codes.InvalidArgument},
	{ReasonBatchOversize, "The batch has more than 1024 ops or 1 MiB.", false, FateResend, codes.InvalidArgument},
	{ReasonMalformed, "The message is not well formed.", false, FateNone, codes.InvalidArgument},
	{ReasonOversize, "The message is larger than 4 MiB.", false, FateNone, codes.ResourceExhausted},

	{ReasonStampFuture, "The stamp is further ahead of the leader's clock than the hub allows.", false, FateRestamp, codes.FailedPrecondition},
	{ReasonStampBase, "The stamp is not greater than that of the version that the op was made on.", false, FateRestamp, codes.FailedPrecondition},
	{ReasonSeqGap, "The op's predecessor has not been answered.", true, FateRewind, codes.FailedPrecondition},
	{ReasonSeqReused, "The author used this seq for another op.", false, FateRestamp, codes.FailedPrecondition},

	{ReasonQuotaOps, "The ops per second of the site, or of its pact, are used up.", true, FateResend, codes.ResourceExhausted},
	{ReasonQuotaBytes, "The bytes per second of the site, or of its pact, are used up.", true, FateResend, codes.ResourceExhausted},
	{ReasonQuotaRecords, "The pact holds as many records as it may.", false, FateHold, codes.ResourceExhausted},
	{ReasonQuotaRegisters, "The pact holds as many registers as it may.", false, FateHold, codes.ResourceExhausted},
	{ReasonQuotaPacts, "The hub holds as many pacts as it may.", false, FateNone, codes.ResourceExhausted},
	{ReasonQuotaAuthors, "The pact remembers as many incarnations of the site's agents as it may.", false, FateResend, codes.ResourceExhausted},

	{ReasonLeaderNone, "The hub has no leader at the moment.", true, FateResend, codes.Unavailable},
	{ReasonLeaderMoved, "Another node leads the hub.", true, FateResend, codes.Unavailable},
	{ReasonLeaderLost, "The leader changed while the ops were under way; whether they were taken is unknown.", true, FateResend, codes.Unavailable},

	{ReasonEpochChanged, "The hub was restored or rebuilt: its epoch is another one.", false, FateResend, codes.FailedPrecondition},
	{ReasonCursorBeyond, "The cursor lies beyond the head of the feed.", false, FateNone, codes.FailedPrecondition},
	{ReasonCreditExcess, "The subscriber granted more credits than the protocol allows.", false, FateNone, codes.InvalidArgument},

	{ReasonHistoryNone, "The pact keeps no history: its document states no history_days.", false, FateNone, codes.FailedPrecondition},
	{ReasonHistoryBefore, "The time is before what the pact's history reaches back to.", false, FateNone, codes.FailedPrecondition},

	{ReasonVersionNewer, "What the caller speaks or sent is in a newer format than this program knows.", false, FateHold, codes.FailedPrecondition},
	{ReasonVersionOlder, "The caller's protocol is older than any that this program speaks.", false, FateNone, codes.FailedPrecondition},

	{ReasonNodeMalformed, "What is said of the node is not well formed.", false, FateNone, codes.InvalidArgument},
	{ReasonNodeUnknown, "The hub knows no node of that name.", false, FateNone, codes.NotFound},
	{ReasonNodeKnown, "A node of that name has joined the hub already.", false, FateNone, codes.AlreadyExists},
	{ReasonNodeRemoved, "The node was removed from the hub; its name is not used again.", false, FateNone, codes.FailedPrecondition},
	{ReasonQuotaNodes, "The hub has as many nodes as it may.", false, FateNone, codes.ResourceExhausted},
	{ReasonTokenInvalid, "The token is unknown, has expired, or was used.", false, FateNone, codes.PermissionDenied},
	{ReasonQuotaTokens, "As many join tokens are valid as may be.", false, FateNone, codes.ResourceExhausted},

	{ReasonMemberOlder, "A node of the hub is of an older version that does not know this yet.", true, FateResend, codes.Unavailable},

	{ReasonHubFounded, "The hub has an identity already.", false, FateNone, codes.FailedPrecondition},
	{ReasonHubReadonly, "The hub takes no writes at the moment.", true, FateResend, codes.Unavailable},
	{ReasonHubDiskLow, "The hub's disk is almost full; it takes no writes until there is room.", true, FateResend, codes.Unavailable},
	{ReasonHubDraining, "This node is about to stop; another one serves.", true, FateResend, codes.Unavailable},
	{ReasonHubBusy, "The hub is at its limit of work under way.", true, FateResend, codes.ResourceExhausted},
	{ReasonHubInternal, "The hub failed; its log says why.", true, FateResend, codes.Internal},
	{ReasonHubUnreachable, "The hub cannot be reached.", true, FateResend, codes.Unavailable},
}
