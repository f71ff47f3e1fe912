package crdt

import (
	"fmt"
	"time"
)

// Stamp is a 64-bit hybrid logical clock reading: 48 bits of Unix milliseconds,
// then 16 bits of counter (Kulkarni et al., "Logical Physical Clocks", 2014).
// It carries the time of the edit, not of its arrival. Zero means "never".
type Stamp uint64

const (
	counterBits = 16
	counterMax  = 1<<counterBits - 1
	millisMax   = 1<<48 - 1

	// StampMax is the greatest stamp there is; nothing can follow it.
	StampMax Stamp = 1<<64 - 1
)

// StampOf builds a stamp from Unix milliseconds and a counter. Milliseconds
// outside 0..2^48-1 are clamped.
func StampOf(unixMillis int64, counter uint16) Stamp {
	if unixMillis < 0 {
		unixMillis = 0
	}
	if unixMillis > millisMax {
		unixMillis = millisMax
	}
	return Stamp(uint64(unixMillis)<<counterBits | uint64(counter))
}

// StampAt is StampOf for a time and counter zero.
func StampAt(t time.Time) Stamp { return StampOf(t.UnixMilli(), 0) }

// Millis returns the physical part in Unix milliseconds.
func (s Stamp) Millis() int64 { return int64(s >> counterBits) }

// Counter returns the logical part.
func (s Stamp) Counter() uint16 { return uint16(s & counterMax) }

// Time returns the physical part as UTC.
func (s Stamp) Time() time.Time { return time.UnixMilli(s.Millis()).UTC() }

// Next returns the smallest stamp after s; a full counter carries into the
// milliseconds. ok is false at StampMax, which has no successor.
func (s Stamp) Next() (next Stamp, ok bool) {
	if s == StampMax {
		return s, false
	}
	return s + 1, true
}

// String is fixed-width and sorts as the stamp does: 16 hexadecimal digits.
func (s Stamp) String() string { return fmt.Sprintf("%016x", uint64(s)) }
