package adminhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// ErrInvalid is wrapped by errors that are the caller's fault.
var ErrInvalid = errors.New("invalid request")

// Codes of errors that this package makes.
const (
	CodeUnknown = "admin.unknown" // no such verb: another version answers
	CodeInvalid = "admin.invalid" // the request cannot be read, or asks for nothing sensible
	CodeFailed  = "admin.failed"  // the process failed; its log says why
)

// Error is why a verb did not do what was asked: the body of an answer with a
// 4xx or 5xx status, and what a Client returns. Equal on both ends.
type Error struct {
	// Status is the HTTP status: 409 for what is refused as things stand, 503 for
	// what may work later, 400, 404 and 500 as this package uses them.
	Status  int    `json:"-"`
	Code    string `json:"code"` // stable, dotted
	Message string `json:"message"`
	Next    string `json:"next,omitempty"` // what the caller can do about it
	Impact
}

// Impact says what an error means to the one who reads it.
type Impact struct {
	Scope   string `json:"scope,omitempty"`   // value, field, record, pact, system, agent, hub
	Who     string `json:"who,omitempty"`     // who can mend it: you, partner, vendor, us
	Retried string `json:"retried,omitempty"` // whether it is tried again by itself: "no", "yes, when ..."
	Lost    string `json:"lost,omitempty"`    // whether data is lost: "no", "no, queued"
}

func (e *Error) Error() string {
	text := e.Code + ": " + e.Message
	if e.Scope != "" {
		text += fmt.Sprintf(" (scope: %s; who can mend it: %s; retried: %s; data lost: %s)", e.Scope, e.Who, e.Retried, e.Lost)
	}
	if e.Next != "" {
		text += "; " + e.Next
	}
	return text
}

// problem makes any error of a verb an *Error.
func problem(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, ErrInvalid) {
		return &Error{Status: http.StatusBadRequest, Code: CodeInvalid, Message: err.Error()}
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeFailed, Message: err.Error()}
}

// write answers with body, or with nothing (204).
func write(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(body) // the caller is gone: nobody is left to tell
}
