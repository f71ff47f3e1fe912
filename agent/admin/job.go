package admin

import "time"

// Job is a backfill or a resync of one system: the one that runs, or the last.
type Job struct {
	Here   string     `json:"here"` // the site whose agent tells this
	System string     `json:"system"`
	Pact   string     `json:"pact"`
	Kind   string     `json:"kind"`  // backfill or resync
	State  string     `json:"state"` // running, paused, done or cancelled
	DryRun bool       `json:"dryRun,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	Filter string     `json:"filter,omitempty"`
	Rate   uint64     `json:"rate,omitempty"` // records a second that it may look at; 0 is no limit
	By     string     `json:"by,omitempty"`

	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Done records were looked at, of Total; while Listing, Total still grows.
	Done    uint64 `json:"done"`
	Total   uint64 `json:"total"`
	Listing bool   `json:"listing,omitempty"`
	Count   Counts `json:"count"`
	// PerSecond is the measured rate while it ran; ETASeconds what is left at that
	// rate, nil while nobody can know.
	PerSecond  float64 `json:"perSecond"`
	ETASeconds *int64  `json:"etaSeconds,omitempty"`
	// Waits is why nothing goes on now, and until when, if that is known.
	Waits string     `json:"waits,omitempty"`
	Until *time.Time `json:"until,omitempty"`
}

// Counts say what became of the records of a job, or in a dry run would.
type Counts struct {
	Entered   uint64 `json:"entered"`
	Connected uint64 `json:"connected"`
	Changed   uint64 `json:"changed"`
	Held      uint64 `json:"held"`
	Unchanged uint64 `json:"unchanged"`
	Left      uint64 `json:"left"`
	Failed    uint64 `json:"failed"`
}

// JobStart asks to begin a job.
type JobStart struct {
	Kind   string     `json:"kind"` // backfill or resync
	Name   string     `json:"name"` // a system; for a resync also a pact: all its systems
	Record string     `json:"record,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	Filter string     `json:"filter,omitempty"`
	Rate   uint64     `json:"rate,omitempty"`
	DryRun bool       `json:"dryRun,omitempty"`
	By     string     `json:"by,omitempty"`
}

// JobTell speaks to a job.
type JobTell struct {
	System string `json:"system"`
	Verb   string `json:"verb"` // pause, resume or cancel
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}
