package connectors

import (
	"errors"
	"fmt"
	"time"
)

// Class says what became of a call and what may be done about it.
type Class string

// Error classes.
const (
	// ClassUnavailable: it did not happen; the system is down or unreachable. Retry later.
	ClassUnavailable Class = "unavailable"
	// ClassThrottled: it did not happen; wait at least RetryAfter.
	ClassThrottled Class = "throttled"
	// ClassUnknown: it may have happened. Never repeat it blindly: look.
	ClassUnknown Class = "unknown"
	// ClassConflict: it did not happen; the record moved since IfRevision.
	ClassConflict Class = "conflict"
	// ClassInvalid: it did not happen; the system refuses the content, of Field if
	// named (see Write for the other fields of an update). A person must act.
	ClassInvalid Class = "invalid"
	// ClassDenied: it did not happen; the account may not. A person must act.
	ClassDenied Class = "denied"
	// ClassNotFound: the system does not show the record; no proof of deletion.
	ClassNotFound Class = "not_found"
	// ClassMalformed: the answer could not be understood. A read did not happen; a
	// write reports ClassUnknown instead.
	ClassMalformed Class = "malformed"
)

// Error is the only error that connectors return.
type Error struct {
	Class      Class
	System     string // Settings.Name
	Op         string // "read ticket 12", "create"
	Field      string // local field at fault, if known
	Status     int    // HTTP status, 0 if none
	RetryAfter time.Duration
	// Message is the system's own words, clipped and without field values or
	// secrets.
	Message string
	Err     error
}

// Error says class, system, operation, and the system's words.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s: %s", e.System, e.Op, e.Class)
	if e.Field != "" {
		s += " (field " + e.Field + ")"
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" [HTTP %d]", e.Status)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NotWritten corrects the class of an error from a read that had to come before
// a write: whatever became of the read, nothing was written. Other errors stay.
func NotWritten(err error) error {
	var e *Error
	if errors.As(err, &e) && (e.Class == ClassMalformed || e.Class == ClassUnknown) {
		e.Class = ClassUnavailable
	}
	return err
}

// ClassOf returns the class of err, "" for nil, ClassUnknown for an error that
// no connector made: doubt is the safe assumption.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ClassUnknown
}
