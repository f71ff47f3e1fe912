package wire

import (
	"time"

	"github.com/entente-sync/entente/crdt"
)

// Protocol is the version that this package speaks.
const Protocol = 1

// Limits of the protocol; both sides enforce them.
const (
	BatchOpsMax     = 1024
	BatchBytesMax   = 1 << 20 // sum of OpBytes
	InFlightMax     = 8       // batches without an answer
	MessageBytesMax = 4 << 20
	SliceEntriesMax = 1024
	SliceBytesMax   = 1 << 20 // sum of OpBytes; one larger entry may stand alone
	CreditsMax      = 64      // granted and not used
	PactsMax        = 256     // of one Hello
	LineageMax      = 1024    // forks of one pact: one each time a hub is restored
	// AuthorsTold is how many incarnations of the calling agent, the newest, a
	// PactState tells of. Where it tells so many, the hub has taken in what older
	// ones said before.
	AuthorsTold = 64
	HeldMax     = 64 // positions of one OfferEnd
	// OfferedDocumentMax bounds a document of OfferPact, which must fit a log entry.
	OfferedDocumentMax = 240 << 10
	// MissingMax bounds the members of an Acceptance.
	MissingMax = 128

	softwareBytesMax = 255
	documentBytesMax = 1 << 20
	authorsMax       = AuthorsTold
	hostPortBytesMax = 255
	reasonBytesMax   = 63
	driftMillisMax   = 1 << 40
	opOverheadBytes  = 192
)

// OpBytes is what op counts against BatchBytesMax and SliceBytesMax: its names
// and value, and 192 for everything else. It is never less than op's size in a
// message.
func OpBytes(op *crdt.Op) int {
	author, pred := op.Author, op.Base.Pred.Author
	return opOverheadBytes + len(op.Key.Type) + len(op.Key.Field) + len(op.Value) +
		len(author.Site) + len(author.Agent) + len(pred.Site) + len(pred.Agent)
}

// Hello opens a session.
type Hello struct {
	Protocol    uint32 // 0 means Protocol
	Software    string // for people, at most 255 bytes
	Incarnation uint64
	Pacts       []crdt.Pact // at most PactsMax
}

// Welcome is the hub's answer to Hello.
type Welcome struct {
	Protocol   uint32 // 0 means Protocol
	Hub        string // 32 hexadecimal digits
	Epoch      crdt.Epoch
	TimeMillis int64         // the hub's clock
	DriftMax   time.Duration // how far a stamp may be ahead of it; whole milliseconds
	Pacts      []PactState   // as in Hello, in that order
}

// PactState is where one pact stands.
type PactState struct {
	Pact     crdt.Pact
	Refused  Reason // empty, or why the agent may not take part; then nothing else is set
	Document []byte // canonical bytes of the pact in force
	Version  uint32
	Head     crdt.Offset
	Lineage  crdt.Lineage
	Authors  []AuthorState // every incarnation of the calling agent
}

// AuthorState is how far the hub knows one author of one pact.
type AuthorState struct {
	Author  crdt.Author
	Seen    crdt.Seq // newest that was answered for good
	Applied crdt.Seq // newest that was applied
	Heard   crdt.Seq // newest among the ops that members offered
}

// Batch is a run of ops in outbox order.
type Batch struct {
	ID    uint64 // chosen by the agent, echoed in the answer
	Pact  crdt.Pact
	Epoch crdt.Epoch
	After crdt.OpID // the op before Ops[0] in the outbox; zero for the very first
	Ops   []crdt.Op // 1 to BatchOpsMax, all of Pact
}

// Outcome is what became of one op.
type Outcome uint8

// Outcomes.
const (
	OutcomeApplied Outcome = 1 // durable and merged, as winner, loser or duplicate
	OutcomeRefused Outcome = 2 // refused for good; durable; the seq is consumed
	OutcomeRetry   Outcome = 3 // not taken now; nothing consumed
	OutcomeGap     Outcome = 4 // the predecessor is missing; nothing consumed; rewind
)

func (o Outcome) String() string {
	names := [...]string{"none", "applied", "refused", "retry", "gap"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// OpResult answers one op.
type OpResult struct {
	Outcome Outcome
	Reason  Reason      // empty if applied
	Offset  crdt.Offset // if applied: once the cursor is here the op may leave the outbox
}

// BatchResult answers one batch, with one result per op in order; or one part of
// an offer, with one result per register and then one for the end.
type BatchResult struct {
	Batch      uint64
	Results    []OpResult
	TimeMillis int64         // the leader's clock
	RetryAfter time.Duration // with OutcomeRetry: wait at least this long; rounded up to milliseconds
	Leader     string        // with ReasonLeaderMoved: host:port
}

// Offer is one part of an offer.
type Offer struct {
	ID        uint64 // chosen by the agent, echoed in the answer
	Pact      crdt.Pact
	Epoch     crdt.Epoch
	Registers []Offered    // at most BatchOpsMax, all of Pact
	Lineage   crdt.Lineage // with the first part: of the epochs that they were read in
	End       *OfferEnd    // with the last part; other parts have registers
}

// Offered is one register as its bearer read it from a feed.
type Offered struct {
	Op    crdt.Op
	Birth crdt.Position
	Place crdt.Position // where it was read; zero: where it was born
}

// OfferEnd completes an offer.
type OfferEnd struct {
	After crdt.OpID       // the op before the first that is yet to be published
	Held  []crdt.Position // how far each older epoch was read; at most HeldMax
}

// Acceptance says whether a pact document is in force.
type Acceptance struct {
	Version uint32      // in force; 0 if the pact is unknown
	Missing []crdt.Site // members that have not accepted it yet; none: it is in force
}

// Entry is the newest version of one register. Register carries Birth and Digest.
type Entry struct {
	Offset   crdt.Offset
	Register crdt.Register
}

// Slice is one piece of a feed; without entries it is a heartbeat.
type Slice struct {
	Entries     []Entry       // ascending in offset, all of the subscribed pact
	Packed      *Packed       // entries to send, in place of Entries; nil in what was received
	Cursor      crdt.Position // resume here
	Head        crdt.Offset
	PactVersion uint32
	Lineage     crdt.Lineage // with the first slice, and when it changed
}
