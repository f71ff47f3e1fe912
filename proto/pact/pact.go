// Package pact is the agreement between sites as a pure model: record types,
// typed fields, who may write which field, delete rights and limits. Hub and
// agents check ops with the same functions. It reads no files: package pactfile
// reads the YAML.
package pact

import (
	"github.com/entente-sync/entente/crdt"
)

// Pact is one version of an agreement. A Pact that passed Validate is immutable.
type Pact struct {
	Name    crdt.Pact
	Version uint32 // from 1, grows by one
	Members []crdt.Site
	Record  crdt.Type
	// Deletes lists the sites whose deletes travel.
	Deletes []crdt.Site
	Fields  []Field // sorted by name
	Limits  Limits
}

// Field is one shared field.
type Field struct {
	Name crdt.Field
	Type FieldType
	// Values of an enum.
	Values []string
	// Writers lists the sites that may write it; none means every member.
	Writers []crdt.Site
	// BytesMax bounds a text value; 0 means crdt.ValueBytesMax.
	BytesMax int
	Required bool
	Default  string
	// Pattern is a regular expression (RE2) that text must match; "" means any.
	Pattern string
	// Conflict says who settles a conflict; "" means PolicyNewest.
	Conflict Policy
	// Share names what of a person travels: "email".
	Share []string
	// Since is the pact version in which the field last changed: older ops on it
	// are refused.
	Since uint32
}

// FieldType is the type of a shared field.
type FieldType string

// Field types.
const (
	TypeText     FieldType = "text"
	TypeRichText FieldType = "richtext"
	TypeEnum     FieldType = "enum"
	TypeNumber   FieldType = "number"
	TypeDecimal  FieldType = "decimal"
	TypeBool     FieldType = "bool"
	TypeDate     FieldType = "date"
	TypeDateTime FieldType = "datetime"
	TypePerson   FieldType = "person"
	TypeTextSet  FieldType = "set<text>"    // a register per element
	TypeComments FieldType = "log<comment>" // child records
)

// Policy says who settles a conflict; the merge always keeps the newest.
type Policy string

// Policies.
const (
	PolicyNewest Policy = "newest"
	PolicyAsk    Policy = "ask"
	PolicyMerge  Policy = "merge"
)

// Limits of one pact; zero fields mean the hub's own.
type Limits struct {
	// OpsPerSecond and BytesPerSecond bound each member.
	OpsPerSecond   int
	BytesPerSecond int
	// Records bounds how many records there are, child records included, and
	// Registers how many registers, conflict records included.
	Records   int
	Registers int
	// HistoryDays is how long versions are kept that were replaced; HistoryNone
	// keeps none.
	HistoryDays int
}

// HistoryNone as Limits.HistoryDays keeps no version that was replaced.
const HistoryNone = -1

// HistoryDaysMax bounds Limits.HistoryDays: a hundred years.
const HistoryDaysMax = 36_525

// plain reports whether l has only what pacts of format 1 could say.
func (l Limits) plain() bool {
	return l.BytesPerSecond == 0 && l.Registers == 0 && l.HistoryDays == 0
}
