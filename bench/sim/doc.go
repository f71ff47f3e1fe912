// Package sim runs whole systems from a seed: the real agent core over its
// store, bindings compiled from YAML, the hub's admission and state behind a
// sequential log, and the memory connector with its fault menu, in one goroutine
// with virtual time. Only the transport, the disk and the scheduler are models.
//
// A seed decides everything: who takes part, what each system can and cannot do,
// which faults strike, what people do, and what happens next. After the chaos
// everything heals, comes to rest within a bound of virtual time, and an oracle
// that saw every user's edit checks the invariants of the design.
package sim
