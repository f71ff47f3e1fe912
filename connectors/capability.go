package connectors

import "time"

// Capabilities is what a connector declares of its system. The agent plans by
// it, and the conformance suite is chosen by it: a declared ability that fails
// is a finding, and so is an undeclared one that works.
type Capabilities struct {
	// Revisions: Ref and Record carry a revision that moves with content.
	Revisions bool
	// Conditional: Write.IfRevision is checked by the system itself.
	Conditional bool
	// WriteRevision: Receipt.Revision proves the state after a write.
	WriteRevision bool
	// History: Record.History has every change of the fields in HistoryFields
	// (nil means all), with actor and time.
	History       bool
	HistoryFields []string
	// Correlation: creates carry a key that Find finds.
	Correlation bool
	// Comments can be read and appended; InternalComments: visibility exists.
	Comments         bool
	InternalComments bool
	// Deletes: WriteDelete works. DeleteEvidence: Record.Deleted is shown.
	Deletes        bool
	DeleteEvidence bool
	// StaleMax bounds how long after a write a Find or Changes may not show it.
	StaleMax time.Duration
	// Normalises names fields whose text comes back changed (trim, line ends).
	Normalises []string
}

// Schema is what Discover found.
type Schema struct {
	Fields []FieldSchema // sorted by name
}

// FieldSchema describes one local field.
type FieldSchema struct {
	Name     string
	Label    string
	Kind     FieldKind
	Values   []string // of an enum, as they are read and written
	ReadOnly bool
	Required bool // on create
	Custom   bool
}

// FieldKind is the local type of a field.
type FieldKind string

// Field kinds.
const (
	FieldText     FieldKind = "text"
	FieldRichText FieldKind = "richtext"
	FieldEnum     FieldKind = "enum"
	FieldNumber   FieldKind = "number"
	FieldBool     FieldKind = "bool"
	FieldDate     FieldKind = "date"
	FieldTime     FieldKind = "datetime"
	FieldPerson   FieldKind = "person" // an e-mail address as text
	FieldSet      FieldKind = "set"    // a list of texts without order
)

// Spec is one kind of connector, as package all lists them.
type Spec struct {
	Name         string // "redmine"
	Capabilities Capabilities
	// Open checks the settings and returns a connector; it does not dial.
	Open func(Settings) (Connector, error)
}
