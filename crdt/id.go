package crdt

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Limits of names, in bytes. They bound every key in memory and on disk.
const (
	NameBytesMax  = 63  // sites, agents, pacts
	TypeBytesMax  = 63  // record types
	FieldBytesMax = 255 // every register of a record, conflict records included

	// OpFieldBytesMax bounds the field of an authored op, so that the op can
	// become a conflict record: ~lost/<field>/<32 hexadecimal digits>.
	OpFieldBytesMax = FieldBytesMax - len(lostPrefix) - 1 - lostHexDigits

	// PlainFieldBytesMax bounds the names of a pact's own fields (package pact says
	// what else they may not be), so that every
	// register made of one (set element, counter share of the longest author)
	// stays within OpFieldBytesMax.
	PlainFieldBytesMax = 63
)

// ErrName is wrapped by every error about a malformed name.
var ErrName = errors.New("malformed name")

// Site names one party of a pact: a company or a department.
// Lower-case letters, digits and inner hyphens, at most [NameBytesMax] bytes.
type Site string

// AgentName names one agent within its site. Same alphabet as [Site].
type AgentName string

// Pact names one agreement between sites. Same alphabet as [Site], and may
// begin with '~' for pacts that the hub keeps for itself.
type Pact string

// Type names a record type of a pact, such as "ticket". Children of a log
// field carry both names: "ticket.comments".
type Type string

// Field names one register within a record: a plain field ("title"), an
// element of a set ("labels/<hash>"), a counter's share ("stock/<author>"), or a
// reserved register, which begins with '~' ("~life").
type Field string

// RecordID names one synced thing, for ever. It carries no meaning.
type RecordID [16]byte

// ParseSite checks s as a site name.
func ParseSite(s string) (Site, error) { return Site(s), checkName("site", s, NameBytesMax, false) }

// ParseAgentName checks s as an agent name.
func ParseAgentName(s string) (AgentName, error) {
	return AgentName(s), checkName("agent", s, NameBytesMax, false)
}

// ParsePact checks s as a pact name.
func ParsePact(s string) (Pact, error) { return Pact(s), checkName("pact", s, NameBytesMax, true) }

// ParseType checks s as a record type: lower-case words joined by '_', '-' or '.'.
func ParseType(s string) (Type, error) {
	if !wellFormed(s, TypeBytesMax, "_-.") {
		return "", fmt.Errorf("%w: record type %q", ErrName, clip(s))
	}
	return Type(s), nil
}

// ParseField checks s as the name of a register within a record.
func ParseField(s string) (Field, error) {
	body := s
	if len(body) > 0 && body[0] == '~' {
		body = body[1:]
	}
	if !wellFormed(body, FieldBytesMax-1, "_-./~") {
		return "", fmt.Errorf("%w: field %q", ErrName, clip(s))
	}
	return Field(s), nil
}

// Reserved reports whether f belongs to the protocol rather than to a pact.
func (f Field) Reserved() bool { return len(f) > 0 && f[0] == '~' }

// ParseRecordID reads the 32 hexadecimal digits that [RecordID.String] writes.
func ParseRecordID(s string) (RecordID, error) {
	var id RecordID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("%w: record id %q", ErrName, clip(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return RecordID{}, fmt.Errorf("%w: record id %q", ErrName, clip(s))
	}
	return id, nil
}

// String returns 32 lower-case hexadecimal digits, which sort as the id does.
func (id RecordID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is unset; the zero id never names a record.
func (id RecordID) IsZero() bool { return id == RecordID{} }

func checkName(kind, s string, bytesMax int, tilde bool) error {
	body := s
	if tilde && len(body) > 0 && body[0] == '~' {
		body = body[1:]
	}
	if !wellFormed(body, bytesMax, "-") || body[0] == '-' || body[len(body)-1] == '-' {
		return fmt.Errorf("%w: %s %q (lower-case letters, digits, inner hyphens, at most %d bytes)",
			ErrName, kind, clip(s), bytesMax)
	}
	return nil
}

// wellFormed reports whether s is 1..bytesMax bytes of [a-z0-9] and extra.
func wellFormed(s string, bytesMax int, extra string) bool {
	if len(s) == 0 || len(s) > bytesMax {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			continue
		}
		if !contains(extra, c) {
			return false
		}
	}
	return true
}

func contains(set string, c byte) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == c {
			return true
		}
	}
	return false
}

// clip bounds what an error message repeats of hostile input.
func clip(s string) string {
	const bytesMax = 80
	if len(s) > bytesMax {
		return s[:bytesMax] + "..."
	}
	return s
}
