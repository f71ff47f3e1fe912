// Package crash proves the hub against the faults that machines, disks, networks
// and operators make: three nodes as processes of the real binary, publishers and
// subscribers beside them, and a ledger outside that believes nobody.
//
// A round is some seconds of work under faults that a seed has chosen, then peace
// until everything is answered and everybody is up to date, then the checks of
// package ledger. docs/testing.md says what this proves and what it does not.
package crash
