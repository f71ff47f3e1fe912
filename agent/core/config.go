package core

import (
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

// Config is what Step knows besides its store. It is read-only while in use; a
// driver may pass another one from one event to the next, for a new pact version
// or a new binding. Zero limits mean the defaults named with them.
type Config struct {
	Site  crdt.Site
	Agent crdt.AgentName
	// Systems by name, one binding each.
	Systems map[string]System
	// Pacts that this site accepted, by name.
	Pacts map[crdt.Pact]*pact.Pact

	// InFlightMax bounds the reads, writes and look-ups under way per system; 8.
	InFlightMax int
	// CreatesMax is a brake: creates per system and hour before the agent stops
	// creating and asks (hold "brake.create"); 10000.
	CreatesMax int
	// BackoffMin and BackoffMax bound the wait after a failed call, doubling from
	// one to the other; 1 s and 5 min.
	BackoffMin, BackoffMax time.Duration
	// DoubtMin is the least time after a doubtful write before its absence is
	// believed, for systems whose StaleMax is shorter; 5 s.
	DoubtMin time.Duration
	// EchoMax bounds how long after our own write an automation's change counts as
	// its consequence and stays at home (SEMANTICS rule 7); 10 min.
	EchoMax time.Duration
}

// System is one business system beside the agent.
type System struct {
	Capabilities connectors.Capabilities
	Binding      Binding
	// OnMeet settles fields of a record that is found on both sides without a
	// shadow; "" means newest.
	OnMeet MeetPolicy
	// Filter evaluates the filters of jobs; nil lets everything pass.
	Filter Filter
}

// MeetPolicy decides between two filled fields that nobody ever compared.
type MeetPolicy string

// Policies.
const (
	MeetNewest MeetPolicy = "newest" // the later edit time wins
	MeetPact   MeetPolicy = "pact"   // what the pact has wins
	MeetLocal  MeetPolicy = "local"  // what the system shows wins
	MeetHold   MeetPolicy = "hold"   // a person decides
)

// Problem says why a value cannot cross a binding: that field is held.
type Problem struct {
	Code    string // stable, such as "value.unmapped"
	Message string // for people; names no secret, but may name the local value
	// Keep: nobody needs to act; the field keeps its local value.
	Keep bool
}

// Binding is what Step needs of a site's mapping between a system and a pact.
// Methods are pure. Maps are local fields by name and are never changed.
type Binding interface {
	Pact() crdt.Pact
	// Revision goes into every op that the binding makes.
	Revision() uint32
	// Fields are the pact's scalar fields that the binding maps, sorted.
	Fields() []crdt.Field
	// Locals are the local fields that make up f.
	Locals(f crdt.Field) []string
	Sends(f crdt.Field) bool
	Receives(f crdt.Field) bool
	// Get reads a pact value from what the system shows.
	Get(f crdt.Field, local map[string]value.Value) (value.Value, *Problem)
	// Put returns what to write so that the system shows v; local is what it shows
	// now, nil before a create.
	Put(f crdt.Field, v value.Value, local map[string]value.Value) (map[string]value.Value, *Problem)
	// Enters reports whether an unlinked local record becomes part of the pact.
	Enters(local map[string]value.Value) (bool, *Problem)
	// OnCreate are local fields that every create sets besides the mapped ones.
	OnCreate() map[string]value.Value
	// Comments returns the rule for comments; ok is false without one.
	Comments() (rule CommentRule, ok bool)
}

// CommentRule says which comments travel and how they are shown.
type CommentRule interface {
	// Field is the pact's comment field ("comments").
	Field() crdt.Field
	// Sends reports whether local comment c leaves; internal ones never by default.
	// With a problem that comment is held.
	Sends(c connectors.Comment) (bool, *Problem)
	Receives() bool
	// Body renders a comment from elsewhere, with its byline.
	Body(author string, site crdt.Site, body string) string
}

func (c *Config) inFlightMax() int          { return orInt(c.InFlightMax, 8) }
func (c *Config) createsMax() int           { return orInt(c.CreatesMax, 10000) }
func (c *Config) backoffMin() time.Duration { return orDuration(c.BackoffMin, time.Second) }
func (c *Config) backoffMax() time.Duration { return orDuration(c.BackoffMax, 5*time.Minute) }
func (c *Config) doubtMin() time.Duration   { return orDuration(c.DoubtMin, 5*time.Second) }
func (c *Config) echoMax() time.Duration    { return orDuration(c.EchoMax, 10*time.Minute) }

func orInt(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
