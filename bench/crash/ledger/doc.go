// Package ledger is the memory outside the hub: what was sent, what was answered,
// and what any subscriber of any node was ever shown. It holds the hub to it.
//
// Checked as it goes: each feed is ordered, unique and monotone; an offset is one
// version for ever, on every node; a version is born once; a name stands on one
// op; what nobody sent is not there; an answer that was given stays.
//
// Checked when the hub is at rest: every op that was answered "applied" is
// current, or an applied op was made on it, or it is in a conflict record; every
// subscriber holds what a full read gives; all nodes hold the same; admission was
// linearizable per author, and each register per write (linear.go).
package ledger
