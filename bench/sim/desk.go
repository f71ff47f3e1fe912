package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/memory"
	"github.com/entente-sync/entente/crdt/value"
)

// desk is one business system with its people and its connector.
type desk struct {
	w       *world
	plan    *deskPlan
	words   *vocabulary
	agent   *agent
	name    string // of the system in its agent's configuration
	binding *binding.Binding
	sys     *memory.System
	conn    *memory.Connector

	// read is what the core last took in of each record's fields, by marker.
	known  map[fieldAt]string
	writes int // calls that were made
	doubts int // of these, with an unknown outcome
}

type fieldAt struct {
	key   connectors.Key
	field string
}

func newDesk(w *world, p *deskPlan, name string, seed uint64) *desk {
	d := &desk{
		w: w, plan: p, words: vocabularies()[p.vocabulary], name: name,
		binding: w.agreed.bindings[p.vocabulary], known: map[fieldAt]string{},
	}
	d.sys = memory.New(memory.Config{
		Name: name, Capabilities: &p.caps, Schema: d.words.schema, Seed: seed, CommentKeys: p.commentKeys,
		Faults: append(append([]memory.Fault{}, p.standing...), p.faults...),
		Now:    func() time.Time { return time.UnixMilli(w.nowMillis).Add(p.skew).UTC() },
	})
	d.conn = d.sys.Connector()
	return d
}

// String names the system in traces.
func (d *desk) String() string { return string(d.agent.site()) + "/" + d.name }

// at names a record of the system in traces.
func (d *desk) at(key connectors.Key) string { return fmt.Sprintf("%s#%s.", d, key) }

// ahead is how far the system's clock is ahead of the agent's.
func (d *desk) ahead() time.Duration {
	return d.plan.skew - time.Duration(d.agent.clock()-d.w.nowMillis)*time.Millisecond
}

func (d *desk) heal() { d.sys.SetFaults(d.plan.standing...) }

func (d *desk) read(key connectors.Key) task {
	return func() (task, *answer) {
		rec, err := d.conn.Read(context.Background(), key)
		if err != nil {
			fault := *core.FaultOf(err)
			return nil, &answer{event: func(now int64) core.Event {
				return core.Missing{NowMillis: now, System: d.name, Key: key, Fault: fault}
			}}
		}
		ahead := d.ahead()
		return nil, &answer{after: d.learns(&rec), event: func(now int64) core.Event {
			return core.Observed{NowMillis: now, System: d.name, Record: rec, ClockAhead: ahead}
		}}
	}
}

// learns notes what the core knows of a record once it has taken rec in.
func (d *desk) learns(rec *connectors.Record) func() {
	return func() {
		for _, f := range d.texts() {
			d.known[fieldAt{rec.Key, f}] = marker(rec.Fields[f])
		}
	}
}

// texts are the fields whose edits the oracle follows.
func (d *desk) texts() []string { return []string{d.words.title, d.words.description} }

// write makes a write, and then reads the record back, which may fail.
func (d *desk) write(e core.Write) task {
	return func() (task, *answer) {
		d.writes++
		before, _ := d.sys.Get(e.Write.Key)
		e.Write.Fields = d.spelled(e.Write.Fields)
		receipt, err := d.conn.Write(context.Background(), e.Write)
		d.ranOver(&e.Write, &before)
		fault := core.FaultOf(err)
		if d.w.trace.keep {
			d.w.trace.logf(d.w.nowMillis, "%s write %d: %+v, fault %+v", d.at(e.Write.Key), e.Intent, receipt, fault)
		}
		ahead := d.ahead()
		var back *connectors.Record
		done := &answer{event: func(now int64) core.Event {
			return core.Written{
				NowMillis: now, System: e.System, Intent: e.Intent, Receipt: receipt, Fault: fault,
				Record: back, ClockAhead: ahead,
			}
		}}
		if fault != nil {
			d.doubts++
		}
		key := e.Write.Key
		if key == "" {
			key = receipt.Key
		}
		if key == "" || fault != nil && fault.Class != connectors.ClassUnknown && fault.Class != connectors.ClassConflict ||
			d.w.stormy(true, 8) {
			return nil, done
		}
		return func() (task, *answer) {
			if rec, err := d.conn.Read(context.Background(), key); err == nil {
				back = &rec
				done.after = d.learns(back)
			}
			return nil, done
		}, nil
	}
}

// ranOver excuses what nothing can mend: a write without compare-and-set landed
// on an edit that the agent had not read, and the system keeps no history of it.
func (d *desk) ranOver(w *connectors.Write, before *connectors.Record) {
	if w.Kind != connectors.WriteUpdate || d.sys.Capabilities().Conditional && (w.IfRevision != "" || d.revisions()) {
		return
	}
	for _, f := range d.texts() {
		m := marker(before.Fields[f])
		if _, named := w.Fields[f]; named && m != "" && !d.remembers(f) && d.known[fieldAt{w.Key, f}] != m {
			d.w.truth.excuse(m)
		}
	}
}

// revisions reports whether the system shows a revision at every look.
func (d *desk) revisions() bool {
	for _, f := range d.plan.faults {
		if f.Kind == memory.RevisionNull {
			return false
		}
	}
	return true
}

// remembers reports whether the system's history has every change of a field.
func (d *desk) remembers(field string) bool {
	if !d.plan.caps.History {
		return false
	}
	for _, f := range d.plan.caps.HistoryFields {
		if f == field {
			return true
		}
	}
	return d.plan.caps.HistoryFields == nil
}

func (d *desk) find(e core.Find) task {
	return func() (task, *answer) {
		keys, err := d.conn.Find(context.Background(), e.Correlation)
		return nil, &answer{event: func(now int64) core.Event {
			return core.Found{NowMillis: now, System: d.name, Intent: e.Intent, Keys: keys, Fault: core.FaultOf(err)}
		}}
	}
}

// normal is v as the system shows it once it stands in field; answered, as its
// automation leaves it.
func (d *desk) normal(field string, v value.Value, answered bool) value.Value {
	var faults []memory.Fault
	for _, f := range d.plan.standing {
		if f.Kind == memory.Normalise || answered && f.Kind == memory.Automation {
			faults = append(faults, memory.Fault{Kind: memory.Normalise, Field: f.Field, Form: f.Form})
		}
	}
	v = d.spelled(map[string]value.Value{field: v})[field]
	s := memory.New(memory.Config{Schema: d.words.schema, Faults: faults})
	rec, _ := s.Get(s.Create("somebody", map[string]value.Value{field: v}, time.Time{}))
	return rec.Fields[field]
}
