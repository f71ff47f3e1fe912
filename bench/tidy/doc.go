// Package tidy holds the house rules as functions over a source tree: who may
// import whom, what pure packages may not touch, how long a file may be. The one
// test of the real tree fails with a list of findings; the other tests feed each
// rule a bad example, since a rule that cannot fail is worth nothing.
package tidy
