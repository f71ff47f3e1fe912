package core

import (
	"errors"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
)

// Event is something that happened to the agent. Every event carries the
// driver's clock in Unix milliseconds; it may step backwards, which costs
// precision but loses nothing. An event belongs to Step until it returns.
type Event interface {
	now() int64
}

// Opened is the first event after the store was opened, and comes once. Reads
// and look-ups that were under way are done again; writes that were under way are
// in doubt. The agent takes a new incarnation, since no store can prove that it
// is the newest copy of itself.
type Opened struct {
	NowMillis int64
	// Entropy seeds a new agent's record ids and link key: 32 random bytes, or the
	// bytes of its recovery key. Ignored when the store has a seed already.
	Entropy [32]byte
}

// AuthorState is what a hub knows of one author in one pact.
type AuthorState struct {
	Author  crdt.Author
	Seen    crdt.Seq // the last seq that consumed a place, applied or refused
	Applied crdt.Seq
	Heard   crdt.Seq // the last seq among the ops that members offered
}

// Greeted says that a hub welcomed the agent to one pact. A new epoch resets the
// feed cursor and opens an offer: bring it (see [NextOffer]) before anything is
// published, and then subscribe from [Cursor].
type Greeted struct {
	NowMillis int64
	HubMillis int64 // the hub's clock, zero if unknown
	Pact      crdt.Pact
	Epoch     crdt.Epoch
	Head      crdt.Offset
	Lineage   crdt.Lineage
	// Authors are the newest AuthorsTold of this agent's own incarnations as the
	// hub knows them.
	Authors []AuthorState
}

// AuthorsTold is how many incarnations a greeting tells of. Where it tells so
// many, the hub is taken to know whatever older ones said: an outbox is sent in
// order, so it had all of that before the first op of those it tells of.
const AuthorsTold = 64

// Fed is one slice of a pact's feed in offset order.
type Fed struct {
	NowMillis int64
	Pact      crdt.Pact
	Entries   []crdt.Register // with their births
	// Cursor is the position after the slice, Head the feed's head when it was
	// cut; the feed is caught up when the offsets are equal.
	Cursor crdt.Position
	Head   crdt.Offset
	// Lineage is what the hub has seen of older epochs; nil if that did not change.
	Lineage crdt.Lineage
}

// Offered is the hub's answer to one part of an offer (see [OfferPart]). Answers
// may be repeated.
type Offered struct {
	NowMillis      int64
	Pact           crdt.Pact
	Epoch          crdt.Epoch
	Next           []byte // of the part
	Taken, Refused int    // registers
	Done           bool   // the hub took the end
}

// Outcome is what a hub made of one op.
type Outcome uint8

// Outcomes; zero is invalid.
const (
	OutcomeApplied Outcome = iota + 1
	OutcomeRefused         // for good, the seq is spent; Reason says why
	OutcomeRetry           // nothing happened: send the same bytes later
	OutcomeGap             // the op's predecessor is unknown: send from the first
)

// OpResult is the hub's answer to one op.
type OpResult struct {
	Op      crdt.OpID
	Outcome Outcome
	Reason  string      // of a refusal: a stable code such as "stamp.future"
	Offset  crdt.Offset // of an applied op: the feed position that covers it
}

// Acked is the hub's answer to a published batch. Answers may be repeated.
type Acked struct {
	NowMillis int64
	HubMillis int64 // the hub's clock when it answered, zero if unknown
	Pact      crdt.Pact
	Epoch     crdt.Epoch
	Results   []OpResult // in the order of the ops
}

// Listed is one page of Connector.Changes.
type Listed struct {
	NowMillis int64
	System    string
	Refs      []connectors.Ref
	Next      connectors.Cursor
	// More: another page is waiting now, so that what is not listed yet may still
	// be there.
	More bool
	// Took is how long the call was under way: what it does not list may have
	// appeared since.
	Took time.Duration
}

// Hinted names keys that may have changed (a webhook, a person's wish). It only
// makes the agent read sooner.
type Hinted struct {
	NowMillis int64
	System    string
	Keys      []connectors.Key
}

// Observed is the answer to a Read that succeeded.
type Observed struct {
	NowMillis int64
	System    string
	Record    connectors.Record
	// ClockAhead is how far the system's clock is ahead of the driver's; zero
	// while unknown.
	ClockAhead time.Duration
}

// Fault is what a driver passes on of a connector's error.
type Fault struct {
	Class      connectors.Class
	Field      string // local field at fault, "" if unknown
	Message    string // clipped, without field values
	RetryAfter time.Duration
}

// FaultOf extracts the fault of a connector's error, nil for nil. An error that no
// connector made is doubt.
func FaultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	f := &Fault{Class: connectors.ClassOf(err), Message: "the connector gave no reason"}
	var e *connectors.Error
	if errors.As(err, &e) {
		f.Field, f.Message, f.RetryAfter = e.Field, e.Message, e.RetryAfter
	}
	return f
}

// Missing is the answer to a Read that failed, for whatever reason.
type Missing struct {
	NowMillis int64
	System    string
	Key       connectors.Key
	Fault     Fault
}

// Written is the answer to a Write. After a write that happened or may have,
// the driver reads the record back and passes it on; without it the agent asks
// for a Read of its own.
type Written struct {
	NowMillis  int64
	System     string
	Intent     IntentID
	Receipt    connectors.Receipt // if Fault is nil
	Fault      *Fault             // nil: it happened
	Record     *connectors.Record // read back after the write, nil if that failed
	ClockAhead time.Duration
}

// Found is the answer to a Find.
type Found struct {
	NowMillis int64
	System    string
	Intent    IntentID
	Keys      []connectors.Key // if Fault is nil; empty: nothing shown yet
	Fault     *Fault
}

// Woken says that time has passed: nothing else happens in an agent by itself.
// Send it at the time that [Wake] names, or every second.
type Woken struct {
	NowMillis int64
}

// Released is a person's word that what a hold named is mended: the field or
// record is tried again. A hold that is gone already is no error.
type Released struct {
	NowMillis int64
	System    string
	Record    crdt.RecordID
	Field     crdt.Field // "" names the hold of the whole record
}

func (e Opened) now() int64   { return e.NowMillis }
func (e Greeted) now() int64  { return e.NowMillis }
func (e Fed) now() int64      { return e.NowMillis }
func (e Offered) now() int64  { return e.NowMillis }
func (e Acked) now() int64    { return e.NowMillis }
func (e Listed) now() int64   { return e.NowMillis }
func (e Hinted) now() int64   { return e.NowMillis }
func (e Observed) now() int64 { return e.NowMillis }
func (e Missing) now() int64  { return e.NowMillis }
func (e Written) now() int64  { return e.NowMillis }
func (e Found) now() int64    { return e.NowMillis }
func (e Woken) now() int64    { return e.NowMillis }
func (e Released) now() int64 { return e.NowMillis }
