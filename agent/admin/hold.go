package admin

import "time"

// Hold is one field, record or comment that waits for a person.
type Hold struct {
	System  string    `json:"system"`
	Pact    string    `json:"pact"`
	Record  string    `json:"record"`
	Key     string    `json:"key,omitempty"` // the record's local key
	Field   string    `json:"field,omitempty"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
	// Keep: the field keeps its local value and nobody needs to act.
	Keep bool `json:"keep,omitempty"`
	// Stops is what waits: "out" a local edit, and with it what comes in to the
	// field; "in" a version from elsewhere.
	Stops string    `json:"stops,omitempty"`
	Word  *HoldWord `json:"word,omitempty"` // what a person said of it, if somebody did
}

// HoldWord is a person's word on a hold.
type HoldWord struct {
	Verb   string    `json:"verb"` // ack or skip
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Cause is all holds of one system with the same code, field and direction.
type Cause struct {
	Here    string    `json:"here"` // the site whose agent tells this
	System  string    `json:"system"`
	Pact    string    `json:"pact"`
	Code    string    `json:"code"`
	Field   string    `json:"field,omitempty"` // "" for whole records
	Stops   string    `json:"stops"`
	Holds   int       `json:"holds"`
	Waiting int       `json:"waiting"` // of these, holds that ask for a person
	Oldest  time.Time `json:"oldest"`
	Example Hold      `json:"example"` // the oldest
}

// HoldsPicked picks holds; empty parts fit all.
type HoldsPicked struct {
	System string `json:"system,omitempty"`
	Code   string `json:"code,omitempty"`
	Field  string `json:"field,omitempty"`
	Record string `json:"record,omitempty"` // record id or local key
}

// HoldVerb says a word on the holds that it picks.
type HoldVerb struct {
	Verb   string      `json:"verb"` // retry, skip or ack
	Pick   HoldsPicked `json:"pick"`
	DryRun bool        `json:"dryRun,omitempty"`
	// After is HoldsHandled.Next of the call before, "" for the first: one call
	// takes so many holds only.
	After  string `json:"after,omitempty"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// HoldsHandled is what became of a HoldVerb.
type HoldsHandled struct {
	Picked  int `json:"picked"`
	Done    int `json:"done"`
	Refused int `json:"refused"` // holds of whole records cannot be skipped
	// Next: there may be more; ask again with it as After.
	Next string `json:"next,omitempty"`
}
