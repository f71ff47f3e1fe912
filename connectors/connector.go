// Package connectors is the port between an agent and the business systems
// beside it. A connector turns one system's API into records, references and
// writes; it knows nothing of agents, hubs, pacts or bindings, holds no state
// that must survive a restart, and never retries a write that may have happened.
package connectors

import (
	"context"
	"time"

	"github.com/entente-sync/entente/crdt/value"
)

// Connector is what every system must offer. All methods are safe for
// concurrent use, stop promptly when ctx ends, and return errors that wrap
// *Error. What they return belongs to the caller.
type Connector interface {
	// Changes lists references to the records in scope that changed since
	// cursor, oldest first, at most limit (0 means the connector's own choice).
	// The zero cursor starts at the beginning of time. Everything that changed
	// after the cursor was handed out is listed at least once when reading on from
	// it, whatever moves meanwhile; records may be listed again. A cursor comes from
	// the system's answers only, never from a local clock, and stays valid across
	// restarts.
	Changes(ctx context.Context, cursor Cursor, limit int) (Page, error)

	// Read returns one record whole, by its immutable key, with its history and
	// comments as far as the system keeps them. ClassNotFound says that the system
	// does not show it, which is no proof of deletion.
	Read(ctx context.Context, key Key) (Record, error)

	// Write performs one write. A nil error says that it happened;
	// ClassUnknown that it may have; every other class that it did not. The one
	// exception is an update of several fields that the system takes in part: it
	// fails with ClassInvalid or ClassDenied and names as Field one that was not
	// taken. The other fields of that write may have been written then, and
	// writing them again is harmless. A connector that can tell beforehand refuses
	// before it writes anything. A write with IfRevision that the system can check
	// fails with ClassConflict when the record moved. Nothing is written but what
	// the write names.
	Write(ctx context.Context, w Write) (Receipt, error)
}

// Finder looks a correlation key up; declared by Capabilities.Correlation.
// Absence is proof only after Capabilities.StaleMax has passed since the create.
type Finder interface {
	Find(ctx context.Context, correlation string) ([]Key, error)
}

// Discoverer describes the fields that a binding may name.
type Discoverer interface {
	Discover(ctx context.Context) (Schema, error)
}

// Checker verifies address, credentials and rights without writing.
type Checker interface {
	Check(ctx context.Context) error
}

// Watcher pushes hints: keys that may have changed. A hint only makes the
// agent read sooner; losing or doubling one costs nothing. Watch returns when
// ctx ends.
type Watcher interface {
	Watch(ctx context.Context, hint func(Key)) error
}

// Clocked tells how far the system's clock is ahead of ours, from its answers.
// ok is false before the first answer.
type Clocked interface {
	ClockOffset() (offset time.Duration, ok bool)
}

// Key is a record's immutable local name ("1234"), unique within one connector.
type Key string

// Cursor is opaque to everybody but the connector that made it; it carries its
// own format version.
type Cursor []byte

// Page is one answer of Changes.
type Page struct {
	Refs []Ref
	Next Cursor // where to read on; never empty
	More bool   // another page is waiting now
}

// Ref says that a record may have changed.
type Ref struct {
	Key Key
	// Revision as Record.Revision, or "" when the listing does not show it.
	Revision string
	// Unsettled says that the record may change again without its revision
	// moving (coarse clocks): read it even if the revision is known.
	Unsettled bool
}

// Record is one thing as its system shows it now.
type Record struct {
	Key      Key
	Number   string // what people call it ("OPS-12"); "" if Key
	URL      string // page for people, or ""
	Revision string // changes whenever the content does; "" if there is none
	// Correlation is the key that Write.Correlation left, or "".
	Correlation string
	// Fields has every field of the schema that the account may see, in local
	// terms; an empty field is present and null. A field that is missing was not
	// shown and means nothing.
	Fields map[string]value.Value
	// Deleted is positive evidence (tombstone, status, recycle bin), never absence.
	Deleted   bool
	Created   time.Time // system clock
	Updated   time.Time // system clock
	CreatedBy Actor
	Comments  []Comment // oldest first
	// History has the field changes, oldest first, if Capabilities.History.
	History []Change
}

// Change is one entry of a system's own history: one field, one moment.
type Change struct {
	ID    string // unique and growing within the record, as ordered in History
	At    time.Time
	Actor Actor
	Field string
	// Old and New are in the same terms as Record.Fields.
	Old, New value.Value
}

// Actor is who changed something, as the system names him.
type Actor struct {
	Name  string
	Email string // lower-case, "" if hidden
	// Self: the account that this connector writes with.
	Self bool
	// Automation: the system itself or a rule of it.
	Automation bool
}

// Comment is one comment; its key is unique within its record.
type Comment struct {
	Key      string
	At       time.Time
	Author   Actor
	Body     string
	Internal bool // not for the other party; never leaves unless a binding says so
	// Correlation as in Record, "" where comments carry no key.
	Correlation string
}

// WriteKind is the verb of a write.
type WriteKind uint8

// Write kinds.
const (
	WriteCreate  WriteKind = 1 // a new record with Fields and Correlation
	WriteUpdate  WriteKind = 2 // the named Fields of Key
	WriteComment WriteKind = 3 // append Comment to Key
	WriteDelete  WriteKind = 4 // delete Key, if Capabilities.Deletes
)

func (k WriteKind) String() string {
	names := [...]string{"none", "create", "update", "comment", "delete"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Write is one write to one record.
type Write struct {
	Kind WriteKind
	Key  Key // not for a create
	// Correlation makes a create, or a comment where the system can, findable
	// after a doubtful outcome.
	Correlation string
	// IfRevision makes the write conditional where Capabilities.Conditional.
	IfRevision string
	Fields     map[string]value.Value
	Comment    CommentDraft
}

// CommentDraft is a comment to append. Visibility is always stated.
type CommentDraft struct {
	Body     string
	Internal bool
}

// Receipt is what the system answered to a write that happened.
type Receipt struct {
	Key Key // of the record; for a create the new one
	// Revision is the record's revision right after exactly this write, only where
	// the answer itself proves it; "" otherwise.
	Revision string
	// Comment is the key of the appended comment, "" if the answer does not say.
	Comment string
}
