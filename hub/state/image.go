package state

import (
	"crypto/sha256"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
)

// Stored is the newest version of one register and where it stands in the feed.
// It is immutable: Apply puts a new one in its place.
type Stored struct {
	Register crdt.Register
	Offset   crdt.Offset
}

// AuthorState is how far one author of one pact is known.
type AuthorState struct {
	Author  crdt.Author
	Seen    crdt.Seq // newest that was answered for good
	Applied crdt.Seq // newest that was applied
	Heard   crdt.Seq // newest among the ops that members offered
}

// RefusedRun is a run of seqs that were refused for one reason.
type RefusedRun struct {
	From, To crdt.Seq // inclusive
	Reason   Reason
}

// AuthorRow is everything known of one author of one pact.
type AuthorRow struct {
	Pact    crdt.Pact
	State   AuthorState
	Refused []RefusedRun // ascending
}

// PactRow is a pact without its registers and authors.
type PactRow struct {
	Pact     crdt.Pact
	Document []byte // canonical bytes of package pact
	Lineage  crdt.Lineage
}

// Meta is the summary of a state. It alone says which rows belong to it.
type Meta struct {
	// Index of the newest entry in the state; 0 before the first.
	Index uint64
	Hub   command.HubID // zero before Found
	Epoch crdt.Epoch
	// Pacts sums up every pact, sorted.
	Pacts []command.PactDigest
	// AuditIndex and AuditPacts are what the newest Audit made us remember.
	AuditIndex uint64
	AuditPacts []command.PactDigest
	// Roster is the digest of the roster; zero while that is empty.
	Roster [sha256.Size]byte
}

// Image is a state, or what changed since the image before, at Meta.Index. It
// shares only immutable parts with the Machine, so it may be read for as long as
// one likes while Apply goes on. Treat it as read-only.
type Image struct {
	Meta Meta
	// Roster is nil in a partial image that does not change it, and in a full one
	// where it is empty.
	Roster  *Roster
	Pacts   []PactRow
	Authors []AuthorRow
	// Registers in the order in which they were written. In a full image that is
	// ascending by offset within a pact, each register once; in a partial one a
	// register may come several times, and the last one counts.
	Registers []*Stored
}
