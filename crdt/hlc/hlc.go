// Package hlc makes stamps. It is a pure function of the edit's time and of
// what the edit was made on: stamps are monotone per (register, author), not
// per author, because they carry the time of the edit.
package hlc

import (
	"errors"

	"github.com/entente-sync/entente/crdt"
)

// ErrExhausted means that no stamp is left above the base.
var ErrExhausted = errors.New("no stamp above the base")

// Next returns the stamp of an edit made at editMillis (Unix milliseconds) on
// top of version after (zero if on nothing). An edit time beyond nowMillis is
// clamped to it: no system's clock may pull stamps into the future. The result is
// always greater than after, so causality holds whatever the clocks say.
func Next(editMillis, nowMillis int64, after crdt.Stamp) (crdt.Stamp, error) {
	at := crdt.StampOf(min(editMillis, nowMillis), 0)
	if at > after && at != 0 {
		return at, nil
	}
	next, ok := after.Next()
	if !ok || next == crdt.StampMax {
		return 0, ErrExhausted
	}
	return next, nil
}
