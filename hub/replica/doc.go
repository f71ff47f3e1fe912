// Package replica keeps one node's copy of the hub's state equal to its peers',
// with hashicorp/raft and raft-wal.
//
// What the parts that it is built on lack is put around them here, each in its
// own file: a transport without the heartbeat fast path (transport.go), streams
// that know a node by its certificate and name (stream.go), a log with checksums
// and a poison latch (logstore.go, latch.go), votes written whole (stable.go),
// snapshots that are the store's checkpoints (snapshots.go, checkpoint.go).
// propose.go joins waiting commands into entries. DESIGN.md of package hub draws
// the whole.
//
// Durability: a command whose result was returned by Propose is on stable
// storage of a majority. The state on disk lags behind the log and is brought
// forward by checkpoints; on start the log behind the checkpoint is applied again.
package replica
