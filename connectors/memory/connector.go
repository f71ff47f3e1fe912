package memory

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/entente-sync/entente/connectors"
)

const automation = "automation" // the actor of rules
const (
	cursorVersion = 1
	pageDefault   = 100
)

// Connector is the port to a System. It implements every optional ability but
// Watcher; abilities that are switched off refuse with ClassInvalid.
type Connector struct {
	s       *System
	account string
}

// Connector returns a connector that writes as the system's account.
func (s *System) Connector() *Connector { return s.ConnectorOf(s.account) }

// ConnectorOf returns a connector that writes as another account.
func (s *System) ConnectorOf(account string) *Connector { return &Connector{s, account} }

// Spec describes the system as it is now; Open returns a connector to it.
func (s *System) Spec() connectors.Spec {
	return connectors.Spec{
		Name: "memory", Capabilities: s.Capabilities(),
		Open: func(settings connectors.Settings) (connectors.Connector, error) {
			if user := settings.Options["account"]; user != "" {
				return s.ConnectorOf(user), nil
			}
			return s.Connector(), nil
		},
	}
}

// begin locks the system for one call on key ("" for none) and lets time pass:
// due automations run, and faults that come before the call strike. The caller
// unlocks.
func (c *Connector) begin(ctx context.Context, call Call, key connectors.Key) error {
	c.s.mu.Lock()
	if err := ctx.Err(); err != nil {
		return &connectors.Error{Class: connectors.ClassUnavailable, System: c.s.name, Op: string(call), Err: err}
	}
	c.s.automate()
	c.s.counts.Calls[call]++
	if f := c.s.hit(FailBefore, call, key, ""); f != nil {
		class := cmp.Or(f.Class, connectors.ClassUnavailable)
		if isRead(call) && class == connectors.ClassUnknown {
			class = connectors.ClassUnavailable
		}
		return &connectors.Error{Class: class, System: c.s.name, Op: string(call), RetryAfter: f.Duration, Message: "fault before the call"}
	}
	if f := c.s.hit(Denied, call, key, ""); f != nil {
		return c.fail(connectors.ClassDenied, call, "", "no permission")
	}
	if key != "" && c.s.hit(Hidden, call, key, "") != nil {
		return c.fail(connectors.ClassNotFound, call, "", "no such record")
	}
	return nil
}

func isRead(call Call) bool { return call == CallList || call == CallRead || call == CallFind }

func (c *Connector) fail(class connectors.Class, call Call, field, message string) error {
	return &connectors.Error{Class: class, System: c.s.name, Op: string(call), Field: field, Message: message}
}

// Changes implements connectors.Connector. The cursor is the number of the last
// change before which nothing is hidden by a lag.
func (c *Connector) Changes(ctx context.Context, cursor connectors.Cursor, limit int) (connectors.Page, error) {
	err := c.begin(ctx, CallList, "")
	defer c.s.mu.Unlock()
	if err != nil {
		return connectors.Page{}, err
	}
	after, err := c.parse(cursor)
	if err != nil {
		return connectors.Page{}, err
	}
	if limit <= 0 {
		limit = pageDefault
	}
	page := c.s.list(after, limit)
	if f := c.s.hit(Touch, CallList, "", ""); f != nil {
		c.s.touchAny(f.Key)
	}
	return page, nil
}

func (c *Connector) parse(cursor connectors.Cursor) (uint64, error) {
	switch {
	case len(cursor) == 0:
		return 0, nil
	case cursor[0] > cursorVersion:
		return 0, c.fail(connectors.ClassInvalid, CallList, "", fmt.Sprintf("cursor of version %d, newer than %d", cursor[0], cursorVersion))
	case len(cursor) != 9:
		return 0, c.fail(connectors.ClassInvalid, CallList, "", "malformed cursor")
	}
	return binary.BigEndian.Uint64(cursor[1:]), nil
}

func (s *System) list(after uint64, limit int) connectors.Page {
	var changed []*record
	for _, r := range s.records {
		if r.seq > after {
			changed = append(changed, r)
		}
	}
	slices.SortFunc(changed, func(a, b *record) int { return cmp.Compare(a.seq, b.seq) })
	now, next, gap := s.trueTime(), after, false
	page := connectors.Page{}
	for _, r := range changed {
		if len(page.Refs) >= limit {
			page.More = next > after // a gap at the start makes going on pointless
			break
		}
		if r.seen.After(now) {
			gap = true
			continue
		}
		if !gap {
			next = r.seq
		}
		if r.deleted && !s.caps.DeleteEvidence || s.hit(Hidden, CallList, r.key, "") != nil ||
			s.hit(ListSkip, CallList, r.key, "") != nil {
			continue
		}
		ref := connectors.Ref{Key: r.key, Revision: s.shown(r), Unsettled: s.unsettled(r, now)}
		page.Refs = append(page.Refs, ref)
		if s.hit(ListRepeat, CallList, r.key, "") != nil {
			page.Refs = append(page.Refs, ref)
		}
	}
	page.Next = binary.BigEndian.AppendUint64([]byte{cursorVersion}, next)
	return page
}

// unsettled: the clock has not left the grain of the last change.
func (s *System) unsettled(r *record, now time.Time) bool {
	f := s.standing(ClockCoarse, "")
	return f != nil && !s.grain(now).After(r.updated)
}

// shown is the revision as a look shows it, faults included.
func (s *System) shown(r *record) string {
	text := s.revision(r)
	if text == "" || s.hit(RevisionNull, "", r.key, "") != nil {
		return ""
	}
	if s.hit(RevisionFlaky, "", r.key, "") != nil {
		text += fmt.Sprintf("~%d", s.random.Uint32())
	}
	return text
}

func (s *System) touchAny(key connectors.Key) {
	if key == "" {
		keys := s.sortedKeys()
		if len(keys) == 0 {
			return
		}
		key = keys[s.random.IntN(len(keys))]
	}
	if r := s.records[key]; r != nil && !r.deleted {
		s.touch(r, s.clock())
	}
}

// Read implements connectors.Connector.
func (c *Connector) Read(ctx context.Context, key connectors.Key) (connectors.Record, error) {
	err := c.begin(ctx, CallRead, key)
	defer c.s.mu.Unlock()
	if err != nil {
		return connectors.Record{}, err
	}
	r, err := c.find(CallRead, key)
	if err != nil {
		return connectors.Record{}, err
	}
	rec := c.s.show(r, c.account)
	rec.Revision = c.s.shown(r)
	if !c.s.caps.Comments {
		rec.Comments = nil
	}
	if !c.s.caps.History {
		rec.History = nil
	} else if names := c.s.caps.HistoryFields; names != nil {
		rec.History = slices.DeleteFunc(rec.History, func(h connectors.Change) bool { return !slices.Contains(names, h.Field) })
	}
	if f := c.s.hit(Touch, CallRead, key, ""); f != nil {
		c.s.touchAny(key)
	}
	return rec, nil
}

// find returns a record that the account may see.
func (c *Connector) find(call Call, key connectors.Key) (*record, error) {
	r := c.s.records[key]
	if r == nil || r.deleted && (call != CallRead || !c.s.caps.DeleteEvidence) {
		return nil, c.fail(connectors.ClassNotFound, call, "", "no such record")
	}
	return r, nil
}

// Find implements connectors.Finder.
func (c *Connector) Find(ctx context.Context, correlation string) ([]connectors.Key, error) {
	err := c.begin(ctx, CallFind, "")
	defer c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !c.s.caps.Correlation {
		return nil, c.fail(connectors.ClassInvalid, CallFind, "", "no correlation keys here")
	}
	var keys []connectors.Key
	for _, key := range c.s.sortedKeys() {
		r := c.s.records[key]
		if correlation != "" && r.correlation == correlation && !r.deleted && !r.born.After(c.s.trueTime()) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Discover implements connectors.Discoverer.
func (c *Connector) Discover(ctx context.Context) (connectors.Schema, error) {
	err := c.begin(ctx, CallRead, "")
	defer c.s.mu.Unlock()
	if err != nil {
		return connectors.Schema{}, err
	}
	var schema connectors.Schema
	for _, f := range c.s.schema {
		f.ReadOnly = f.ReadOnly || c.s.standing(ReadOnly, f.Name) != nil
		f.Values = slices.DeleteFunc(slices.Clone(f.Values), func(v string) bool { return c.s.gone(f.Name, v) })
		schema.Fields = append(schema.Fields, f)
	}
	slices.SortFunc(schema.Fields, func(a, b connectors.FieldSchema) int { return cmp.Compare(a.Name, b.Name) })
	return schema, nil
}

// Check implements connectors.Checker.
func (c *Connector) Check(ctx context.Context) error {
	err := c.begin(ctx, CallRead, "")
	c.s.mu.Unlock()
	return err
}

// ClockOffset implements connectors.Clocked.
func (c *Connector) ClockOffset() (time.Duration, bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if f := c.s.standing(ClockSkew, ""); f != nil {
		return f.Duration, true
	}
	return 0, true
}
