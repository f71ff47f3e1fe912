package admin

import "time"

// Conflict is one edit that lost. Values are for this agent's own people: they
// are shown at its socket and nowhere else.
type Conflict struct {
	Here   string `json:"here"` // the site whose agent tells this
	Pact   string `json:"pact"`
	Record string `json:"record"`
	Field  string `json:"field"`
	// Keys of the record in this agent's systems, by system.
	Keys map[string]string `json:"keys,omitempty"`
	// State is open, restoring (put back here, and on its way to the hub) or
	// resolved.
	State   string  `json:"state"`
	Lost    Version `json:"lost"`
	Won     Version `json:"won"`     // what it lost to; without a value once that was replaced
	Current Version `json:"current"` // what stands now
	// Answered is the op that closed the record.
	Answered *Version `json:"answered,omitempty"`
}

// Version is one version of a field: who made it, where, and when.
type Version struct {
	Op    string    `json:"op"`
	Site  string    `json:"site"`
	Agent string    `json:"agent"`
	At    time.Time `json:"at"`
	// Value in the pact's terms; nil if it is not known here, or not readable.
	Value *string `json:"value,omitempty"`
}

// ConflictsAsked says which conflicts to list.
type ConflictsAsked struct {
	All    bool   `json:"all,omitempty"`    // also those that were answered
	Pact   string `json:"pact,omitempty"`   // "" means every pact
	Record string `json:"record,omitempty"` // record id or local key, "" for any
	Field  string `json:"field,omitempty"`
}

// Restore asks to put a lost value back.
type Restore struct {
	Pact   string `json:"pact,omitempty"` // "" where the record is in one pact only
	Record string `json:"record"`         // record id or local key
	Field  string `json:"field"`
	Op     string `json:"op"`               // the edit that lost
	By     string `json:"by,omitempty"`     // who asks, for the log
	Reason string `json:"reason,omitempty"` // for the log
}

// Restoration is what became of a Restore.
type Restoration struct {
	Pact    string `json:"pact"`
	Record  string `json:"record"`
	Field   string `json:"field"`
	Op      string `json:"op"`                // that says the value again
	Already bool   `json:"already,omitempty"` // it was put back before
}
