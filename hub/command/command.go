// Package command is the format of the hub's log: what the leader has frozen,
// so that every replica applies exactly the same. The package is pure.
package command

import (
	"encoding/hex"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/pact"
)

// Kind numbers the commands. The numbers are part of the format.
type Kind uint8

// Kinds.
const (
	KindFound     Kind = 1
	KindFork      Kind = 2
	KindPutPact   Kind = 3
	KindPublish   Kind = 4
	KindAudit     Kind = 5
	KindOffer     Kind = 6
	KindOfferPact Kind = 7
	KindNode      Kind = 8
	KindToken     Kind = 9
	KindTally     Kind = 10

	// KindLevel is no command, and no log has it. Who says in Node.Speaks that it
	// knows kind 11 knows offers and pacts of every format up to LevelPactFormat; a
	// program that says 10 may know neither.
	KindLevel Kind = 11
	// KindHistory is no command either. Who says that it knows kind 12 keeps the
	// history of pacts that state history_days.
	KindHistory Kind = 12

	// KindNewest is the newest kind that this program knows. What a command Needs
	// is proposed only once every member of the hub says that it knows it: see
	// Node.Speaks.
	KindNewest = KindHistory
	// KindFirst is what every program knows that ever was a hub's.
	KindFirst = KindAudit
)

func (k Kind) String() string {
	names := [...]string{
		"none", "found", "fork", "put-pact", "publish", "audit", "offer", "offer-pact", "node", "token", "tally", "level",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Command is one of *Found, *Fork, *PutPact, *Publish, *Audit, *Offer, *OfferPact,
// *Node, *Token, *Tally. Commands are immutable once built.
type Command interface {
	Kind() Kind
	appendBody(b []byte) []byte
}

// LevelPactFormat is the newest format of pact documents that who speaks
// KindLevel surely knows.
const LevelPactFormat = 2

// Needs returns the kind that every member must speak for c to be proposed. A
// member that does not know a kind stops at it; one that does not know a pact's
// format refuses what the others take, so that its state differs from then on.
func Needs(c Command) Kind {
	var document []byte
	switch c := c.(type) {
	case *Offer:
		return KindLevel
	case *OfferPact:
		return max(KindLevel, needsOf(c.Document))
	case *PutPact:
		document = c.Document
	}
	if len(document) > 0 && document[0] > 1 {
		return needsOf(document)
	}
	return c.Kind()
}

// needsOf returns what a document of format 2 needs.
func needsOf(document []byte) Kind {
	if p, err := pact.Decode(document); err == nil && p.Limits.HistoryDays > 0 {
		return KindHistory
	}
	return KindLevel
}

// HubID names a hub for ever. It is random; the zero one names none.
type HubID [16]byte

// String returns 32 hexadecimal digits.
func (id HubID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id names no hub.
func (id HubID) IsZero() bool { return id == HubID{} }

// Found is the first command of a new hub. It brings the randomness that Apply
// may not make; the first one in the log counts, later ones are refused.
type Found struct {
	Hub   HubID
	Epoch crdt.Epoch
}

// Fork begins epoch Child as a copy of epoch Parent, in every pact at its head:
// the first command after a hub was restored from a backup. It is refused unless
// Parent is the current epoch.
type Fork struct {
	Parent crdt.Epoch
	Child  crdt.Epoch
}

// PutPact brings the next version of a pact, or a new pact.
type PutPact struct {
	Document []byte // canonical bytes of package pact
}

// Publish is one batch of one agent in one pact. Admission has authenticated
// Site and Agent; everything else is as the agent sent it.
type Publish struct {
	Site  crdt.Site
	Agent crdt.AgentName
	Pact  crdt.Pact
	Epoch crdt.Epoch // that the agent believes in
	// After is the op before Ops[0] in the agent's outbox, across incarnations;
	// zero for the very first.
	After crdt.OpID
	Ops   []crdt.Op

	// encoded is the bytes of Ops in the body; nil in a command that was neither
	// decoded nor split.
	encoded []byte
}

// Audit makes every replica remember its digests at this entry, and carries what
// the leader remembered at the audit before, so that equal index is compared
// with equal index. Index 0 compares nothing.
type Audit struct {
	Index uint64
	Pacts []PactDigest // sorted by pact
}

// PactDigest sums up one pact at one applied index.
type PactDigest struct {
	Pact    crdt.Pact
	Version uint32
	Head    crdt.Offset
	// Registers is the digest of every current version, and their count.
	Registers crdt.Multiset
	// Authors sums up what is known of the authors.
	Authors AuthorSum
}

// AuthorSum is a check on the rows of a pact's authors: how many there are, and
// the sums, modulo 2^64, of their newest seqs (seen and heard) and of their
// refused ops.
type AuthorSum struct {
	Count, Seen, Refused uint64
}

// Offer brings registers as one agent holds them, whoever wrote them, to a hub
// that may have lost them. Admission has authenticated Site and Agent.
type Offer struct {
	Site      crdt.Site
	Agent     crdt.AgentName
	Pact      crdt.Pact
	Epoch     crdt.Epoch // of the hub that the agent talks to
	Registers []Offered
	// Lineage is the ancestry of the epochs that they were read in, as their hubs
	// told it; with the first part.
	Lineage crdt.Lineage
	End     *OfferEnd // with the last part of an offer, else nil
}

// Offered is one register as its bearer read it from an older hub's feed. The
// op of a conflict record has no seq.
type Offered struct {
	Op    crdt.Op
	Birth crdt.Position
	Place crdt.Position // where its bearer read it; zero: where it was born
}

// OfferEnd completes an offer.
type OfferEnd struct {
	// After is the op before the first that the agent has yet to publish: it and
	// what came before it in the agent's outbox was answered by an older hub. Zero:
	// nothing was.
	After crdt.OpID
	// Held lists, for each epoch that the agent had read, how far it had read:
	// together with the hub's own state what it offered is all of that.
	Held []crdt.Position
}

// OfferPact puts a version of a pact in force that all of its members hold.
type OfferPact struct {
	// Sites whose agents offered the document, sorted; admission has authenticated
	// each of them.
	Sites    []crdt.Site
	Document []byte // canonical bytes of package pact
}

// Kind implements Command.
func (*Found) Kind() Kind   { return KindFound }
func (*Fork) Kind() Kind    { return KindFork }    // Kind implements Command.
func (*PutPact) Kind() Kind { return KindPutPact } // Kind implements Command.
func (*Publish) Kind() Kind { return KindPublish } // Kind implements Command.
func (*Audit) Kind() Kind   { return KindAudit }   // Kind implements Command.
func (*Offer) Kind() Kind   { return KindOffer }   // Kind implements Command.

// Kind implements Command.
func (*OfferPact) Kind() Kind { return KindOfferPact }
