// Package crdt is the vocabulary of Entente and the only place where two
// versions of a value are compared.
//
// An [Op] assigns a value to one register, named by a [Key]. The join of two
// ops on one register is the greater [Version] (stamp, author, digest): it is
// commutative, associative and idempotent, never looks at the value, and so
// works on values that the caller cannot read.
//
// The join says which op stays. [Judge] says what becomes of the other one:
// whether its author had seen the version that it replaces, or whether the two
// are concurrent, so that the loser must be kept as a conflict record. The join
// does not depend on the order of arrival; the verdict does. They are tested
// apart: laws for [Join], a log-order oracle with true causality for [Judge].
//
// The package is pure: no clock, randomness, goroutine, I/O or log, and it
// imports the standard library only.
package crdt
