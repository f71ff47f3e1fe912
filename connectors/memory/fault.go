package memory

import (
	"slices"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// Kind names a fault of the menu.
type Kind string

// The fault menu. Each kind says which fields of Fault it reads besides Share,
// Skip, Times; Key and Field narrow it where they make sense.
const (
	// Errors. FailBefore: Calls fail with Class and have not happened (Class
	// unknown is a time-out on the way in). FailAfter: writes are applied, and the
	// answer is lost: ClassUnknown, whatever the status was. RetryAfter is Duration.
	FailBefore Kind = "fail-before"
	FailAfter  Kind = "fail-after"
	// HalfWrite applies the first half of the named fields, in order of name, then
	// fails with ClassUnknown.
	HalfWrite Kind = "half-write"
	// Denied and Hidden: the record answers 403 or 404. Hidden ones leave listings.
	Denied Kind = "denied"
	Hidden Kind = "hidden"

	// Revisions. RevisionNull shows none. RevisionFlaky shows another one at each
	// look. Touch moves a record's revision and its place in the listing, content
	// unchanged, after Calls: Key, or any record (pages that move).
	RevisionNull  Kind = "revision-null"
	RevisionFlaky Kind = "revision-flaky"
	Touch         Kind = "touch"

	// Listings. Lag hides each change from Changes and Find for up to Duration
	// (by chance). ListSkip leaves a reference out once; ListRepeat doubles it.
	Lag        Kind = "lag"
	ListSkip   Kind = "list-skip"
	ListRepeat Kind = "list-repeat"

	// Content. Normalise rewrites Field by Form whoever writes it ("comments" is
	// the bodies). ReadOnly and Refuse refuse a write that names Field (Refuse:
	// only Value, if given). Ignore drops Field silently. EnumGone takes Value out
	// of Field's enum; records keep showing it.
	Normalise Kind = "normalise"
	ReadOnly  Kind = "read-only"
	Refuse    Kind = "refuse"
	Ignore    Kind = "ignore"
	EnumGone  Kind = "enum-gone"

	// Others at work. UserEdit sets Field to Value as User just before a write
	// lands. Automation answers a connector's write of Field, Duration later: it
	// sets Target (or Field) to Value, or rewrites it by Form.
	UserEdit   Kind = "user-edit"
	Automation Kind = "automation"

	// History and time. HistoryGap loses history entries. ClockCoarse cuts all times
	// to Duration, and revisions are then times. ClockSkew moves the clock by Duration.
	HistoryGap  Kind = "history-gap"
	ClockCoarse Kind = "clock-coarse"
	ClockSkew   Kind = "clock-skew"
)

// Call is a connector's call that a fault can strike.
type Call string

// Calls.
const (
	CallList    Call = "list"
	CallRead    Call = "read"
	CallFind    Call = "find"
	CallCreate  Call = "create"
	CallUpdate  Call = "update"
	CallComment Call = "comment"
	CallDelete  Call = "delete"
)

// Form is a way in which a system rewrites a value.
type Form string

// Forms.
const (
	FormTrim   Form = "trim"   // no space at the ends
	FormCRLF   Form = "crlf"   // line ends become CR LF
	FormLF     Form = "lf"     // line ends become LF
	FormFold   Form = "fold"   // lower case
	FormMarkup Form = "markup" // **bold** becomes __bold__, "* " lists become "- "
	FormRound  Form = "round"  // numbers lose their fraction, times their seconds
)

// Fault is one entry chosen from the menu: data, so that a test can print it.
type Fault struct {
	Kind   Kind
	Calls  []Call         // nil means every call that the kind can strike
	Key    connectors.Key // "" means every record
	Field  string         // "" means every field
	Target string
	Value  value.Value
	Form   Form
	User   string
	Class  connectors.Class
	// Share of the chances that strike; 0 means all. Skip passes over the first
	// chances; Times bounds the strikes, 0 means no bound.
	Share    float64
	Skip     int
	Times    int
	Duration time.Duration
}

type fault struct {
	Fault
	chances, strikes int
}

// SetFaults replaces the chosen faults; none makes the system healthy. What
// happened already stays.
func (s *System) SetFaults(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	for _, f := range faults {
		s.faults = append(s.faults, &fault{Fault: f})
	}
}

// hit returns the first fault of kind that strikes here, nil if none. "" leaves
// call, key or field open.
func (s *System) hit(kind Kind, call Call, key connectors.Key, field string) *fault {
	for _, f := range s.faults {
		if !f.concerns(kind, call, key, field) {
			continue
		}
		f.chances++
		if f.chances <= f.Skip || f.Times > 0 && f.strikes >= f.Times ||
			f.Share > 0 && s.random.Float64() >= f.Share {
			continue
		}
		f.strikes++
		return f
	}
	return nil
}

// standing returns a fault that is a state rather than an event.
func (s *System) standing(kind Kind, field string) *fault {
	for _, f := range s.faults {
		if f.concerns(kind, "", "", field) {
			return f
		}
	}
	return nil
}

func (f *fault) concerns(kind Kind, call Call, key connectors.Key, field string) bool {
	return f.Kind == kind &&
		(call == "" || len(f.Calls) == 0 || slices.Contains(f.Calls, call)) &&
		(key == "" || f.Key == "" || f.Key == key) &&
		(field == "" || f.Field == "" || f.Field == field)
}

func (s *System) lag() time.Duration {
	if f := s.hit(Lag, "", "", ""); f != nil {
		return time.Duration(s.random.Int64N(int64(max(1, f.Duration))))
	}
	return 0
}
