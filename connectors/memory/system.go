// Package memory is the reference system: a ticket store in memory with a
// connector that keeps every promise of the port, and a fault menu that makes it
// misbehave like real systems do. It is deterministic: time and chance come from
// its Config and the order of calls.
package memory

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// Config makes a System. The zero Config is a full-featured ticket system.
type Config struct {
	Name string // Settings.Name; "" means "memory"
	// Capabilities to offer, each enforced: what is off does not work. Nil means
	// all. StaleMax must cover the longest Lag fault.
	Capabilities *connectors.Capabilities
	// Schema of the records; nil means Tickets().
	Schema []connectors.FieldSchema
	// Now is the system's clock; nil means one that starts in 2026 and moves a
	// millisecond at each look.
	Now  func() time.Time
	Seed uint64
	// Account is who connectors write as; "" means "sync".
	Account string
	// CommentKeys lets comments carry a correlation key.
	CommentKeys bool
	Faults      []Fault
}

// All returns every capability.
func All() connectors.Capabilities {
	return connectors.Capabilities{
		Revisions: true, Conditional: true, WriteRevision: true, History: true, Correlation: true,
		Comments: true, InternalComments: true, Deletes: true, DeleteEvidence: true,
	}
}

// Tickets returns the default schema.
func Tickets() []connectors.FieldSchema {
	return []connectors.FieldSchema{
		{Name: "assignee", Kind: connectors.FieldPerson},
		{Name: "description", Kind: connectors.FieldRichText},
		{Name: "due", Kind: connectors.FieldDate},
		{Name: "effort", Kind: connectors.FieldNumber},
		{Name: "labels", Kind: connectors.FieldSet},
		{Name: "priority", Kind: connectors.FieldEnum, Values: []string{"low", "normal", "high"}},
		{Name: "status", Kind: connectors.FieldEnum, Values: []string{"new", "open", "waiting", "done"}},
		{Name: "title", Kind: connectors.FieldText, Required: true},
	}
}

// System is one ticket system. It is safe for concurrent use.
type System struct {
	name        string
	account     string
	commentKeys bool
	caps        connectors.Capabilities
	schema      map[string]connectors.FieldSchema
	now         func() time.Time

	mu      sync.Mutex
	random  *rand.Rand
	faults  []*fault
	records map[connectors.Key]*record
	keys    uint64 // last record key given out
	seq     uint64 // last change anywhere
	changes uint64 // last history entry or comment anywhere
	due     []answer
	counts  Counts
}

// record is a ticket. Its actors have only a name; who is Self depends on the
// connector that looks.
type record struct {
	key         connectors.Key
	fields      map[string]value.Value
	correlation string
	created     time.Time
	createdBy   string
	updated     time.Time
	version     uint64 // moves with content
	seq         uint64 // of the last change, for listings
	seen        time.Time
	born        time.Time // when it becomes findable
	deleted     bool
	comments    []connectors.Comment
	history     []connectors.Change
}

// New returns an empty system.
func New(cfg Config) *System {
	s := &System{
		name: cfg.Name, account: cfg.Account, commentKeys: cfg.CommentKeys, caps: All(), now: cfg.Now,
		schema:  map[string]connectors.FieldSchema{},
		random:  rand.New(rand.NewPCG(cfg.Seed, 1)),
		records: map[connectors.Key]*record{},
		counts:  newCounts(),
	}
	if cfg.Capabilities != nil {
		s.caps = *cfg.Capabilities
	}
	if s.name == "" {
		s.name = "memory"
	}
	if s.account == "" {
		s.account = "sync"
	}
	if s.now == nil {
		s.now = ticking()
	}
	if cfg.Schema == nil {
		cfg.Schema = Tickets()
	}
	for _, f := range cfg.Schema {
		s.schema[f.Name] = f
	}
	s.SetFaults(cfg.Faults...)
	return s
}

func ticking() func() time.Time {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Time {
		at = at.Add(time.Millisecond)
		return at
	}
}

// Capabilities returns what the system really offers now, faults included:
// normalisers are named, and a coarse clock takes away what rests on revisions.
func (s *System) Capabilities() connectors.Capabilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capabilities()
}

func (s *System) capabilities() connectors.Capabilities {
	caps := s.caps
	fields := slices.Clone(caps.Normalises)
	for _, f := range s.faults {
		switch f.Kind {
		case Normalise:
			fields = append(fields, f.Field)
		case ClockCoarse:
			caps.Conditional, caps.WriteRevision = false, false
		}
	}
	slices.Sort(fields)
	caps.Normalises = slices.Compact(fields)
	return caps
}

// clock is the system's time now, with its skew and grain.
func (s *System) clock() time.Time { return s.grain(s.trueTime()) }

func (s *System) trueTime() time.Time {
	at := s.now()
	for _, f := range s.faults {
		if f.Kind == ClockSkew {
			at = at.Add(f.Duration)
		}
	}
	return at.UTC()
}

func (s *System) grain(at time.Time) time.Time {
	if f := s.standing(ClockCoarse, ""); f != nil {
		return at.Truncate(f.Duration)
	}
	return at
}

// touch books a change of r at the time at: it moves revision and listing.
func (s *System) touch(r *record, at time.Time) {
	s.seq++
	r.seq, r.version, r.updated = s.seq, r.version+1, at
	r.seen = s.trueTime().Add(s.lag())
}

func (s *System) revision(r *record) string {
	if !s.caps.Revisions {
		return ""
	}
	if s.standing(ClockCoarse, "") != nil {
		return r.updated.Format(time.RFC3339)
	}
	return fmt.Sprintf("r%d", r.version)
}

// set changes one field as actor, with a history entry, and reports whether it
// changed.
func (s *System) set(r *record, actor, field string, v value.Value, at time.Time) bool {
	v = s.normal(field, v)
	old := r.fields[field]
	if old.Equal(v) {
		return false
	}
	r.fields[field] = v
	if s.hit(HistoryGap, "", r.key, field) == nil {
		s.changes++
		r.history = append(r.history, connectors.Change{
			ID: fmt.Sprintf("%08d", s.changes), At: at, Actor: connectors.Actor{Name: actor}, Field: field, Old: old, New: v,
		})
	}
	return true
}

// create adds a record that has every field of the schema.
func (s *System) create(actor, correlation string, fields map[string]value.Value, at time.Time) *record {
	s.keys++
	r := &record{
		key: connectors.Key(fmt.Sprint(s.keys)), fields: map[string]value.Value{},
		correlation: correlation, created: at, createdBy: actor,
	}
	for name := range s.schema {
		r.fields[name] = s.normal(name, fields[name])
	}
	s.records[r.key] = r
	s.touch(r, at)
	r.born = r.seen
	return r
}

func (s *System) comment(r *record, actor, body string, internal bool, correlation string, at time.Time) string {
	s.changes++
	key := fmt.Sprint(s.changes)
	r.comments = append(r.comments, connectors.Comment{
		Key: key, At: at, Author: connectors.Actor{Name: actor}, Body: s.normal("comments", value.Text(body)).AsText(),
		Internal: internal, Correlation: correlation,
	})
	s.touch(r, at)
	return key
}

// show is r as account sees it; what it returns shares nothing with r.
func (s *System) show(r *record, account string) connectors.Record {
	person := func(a connectors.Actor) connectors.Actor {
		if strings.Contains(a.Name, "@") {
			a.Email = strings.ToLower(a.Name)
		}
		a.Self, a.Automation = a.Name == account, a.Name == automation
		return a
	}
	rec := connectors.Record{
		Key: r.key, Number: "T-" + string(r.key), Revision: s.revision(r), Correlation: r.correlation,
		Fields: maps.Clone(r.fields), Deleted: r.deleted, Created: r.created, Updated: r.updated,
		CreatedBy: person(connectors.Actor{Name: r.createdBy}),
		Comments:  slices.Clone(r.comments), History: slices.Clone(r.history),
	}
	for i := range rec.Comments {
		rec.Comments[i].Author = person(rec.Comments[i].Author)
	}
	for i := range rec.History {
		rec.History[i].Actor = person(rec.History[i].Actor)
	}
	return rec
}
