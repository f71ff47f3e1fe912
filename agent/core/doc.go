// Package core is the heart of an agent as a pure function: [Step] takes one
// event and a transaction, writes everything that it decides through that
// transaction, and returns what the driver shall do once it is committed. It has
// no clock, randomness, goroutine or I/O, so that one seed replays a whole run.
//
// The contract between Step and its driver:
//
//   - one transaction per event; effects are executed only after it committed;
//   - events of one agent are stepped one after another;
//   - every [Read], [Write] and [Find] is answered by exactly one event
//     ([Observed] or [Missing], [Written], [Found]), unless the process ends;
//   - effects that a crash swallowed are found again: [Opened] returns what is
//     outstanding and takes every write that was under way for doubtful.
package core
