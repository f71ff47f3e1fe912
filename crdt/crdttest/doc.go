// Package crdttest tests merging: generators, the laws of the join, a twin too
// dumb to be wrong, a reference log with the conflict rule, a small world of
// sites whose true causality is known, and vectors that pin the formats.
// Only tests import it.
package crdttest
