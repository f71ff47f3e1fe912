package core

import (
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
)

// Effect is something that the driver shall do after the transaction of its
// event committed. Effects of one Step are independent of each other and may run
// at the same time.
type Effect interface {
	effect()
}

// IntentID names one write that the agent intends or has begun; unique within
// one store.
type IntentID uint64

// Publish says that the outbox of a pact has ops to send (see package outbox).
// Rewind asks to send from its first op again: the hub answered gap or retry, or
// another hub was greeted.
type Publish struct {
	Pact   crdt.Pact
	Rewind bool
}

// Read asks for Connector.Read; answered by Observed or Missing. Reads of one
// system come at most Config.InFlightMax at a time, together with its writes.
type Read struct {
	System string
	Key    connectors.Key
}

// Write asks for Connector.Write and, when it happened or may have, a read of
// the record; answered by Written. At most one is under way per record.
type Write struct {
	System string
	Intent IntentID
	Write  connectors.Write
}

// Find asks for Finder.Find; answered by Found.
type Find struct {
	System      string
	Intent      IntentID
	Correlation string
}

// Wake says when the agent has something to do again by itself; the earliest of
// all Wakes counts, and a Woken too early costs nothing.
type Wake struct {
	AtMillis int64
}

// Notice is something worth a log line and a counter; it names no field values.
type Notice struct {
	Kind   NoticeKind
	System string // "" if none is concerned
	Pact   crdt.Pact
	Record crdt.RecordID
	Field  crdt.Field
	Code   string // of a hold or a refusal; from a bounded set
}

// NoticeKind is a bounded set, fit for a metric label.
type NoticeKind string

// Kinds of notices.
const (
	NoticeHeld     NoticeKind = "held"     // a hold was opened
	NoticeFreed    NoticeKind = "freed"    // a hold was closed
	NoticeBorn     NoticeKind = "born"     // a local record entered the pact
	NoticeEdit     NoticeKind = "edit"     // a local edit became an op
	NoticeCreated  NoticeKind = "created"  // a record of the feed was created here
	NoticeSettled  NoticeKind = "settled"  // an update of ours is shown
	NoticeComment  NoticeKind = "comment"  // a comment of ours is shown
	NoticeDoubt    NoticeKind = "doubt"    // a write may have happened
	NoticeRefused  NoticeKind = "refused"  // the hub refused an op for good
	NoticeOldDisk  NoticeKind = "old_disk" // the hub knows ops that this store forgot
	NoticeNewEpoch NoticeKind = "new_epoch"
	NoticeRestored NoticeKind = "restored" // a person put a lost value back
)

func (Publish) effect() {}
func (Read) effect()    {}
func (Write) effect()   {}
func (Find) effect()    {}
func (Wake) effect()    {}
func (Notice) effect()  {}
