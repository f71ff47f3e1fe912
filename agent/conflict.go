package agent

import (
	"fmt"
	"net/http"
	"time"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/adminhttp"
	"github.com/entente-sync/entente/proto/pact"
)

// Conflicts implements admin.Agent.
func (a *Agent) Conflicts(asked admin.ConflictsAsked) ([]admin.Conflict, error) {
	out := []admin.Conflict{}
	err := a.store.View(func(tx store.Tx) error {
		var records map[crdt.RecordID]bool
		if asked.Record != "" {
			found, err := a.find(tx, asked.Record)
			if err != nil {
				return err
			}
			records = map[crdt.RecordID]bool{}
			for _, at := range found {
				records[at.record] = true
			}
		}
		for _, p := range a.config.Pacts {
			if asked.Pact != "" && asked.Pact != string(p.Name) {
				continue
			}
			all, err := core.Conflicts(tx, p.Name, asked.All)
			if err != nil {
				return err
			}
			for i := range all {
				key := all[i].Loser.Key
				if records != nil && !records[key.Record] || asked.Field != "" && asked.Field != string(key.Field) {
					continue
				}
				one, err := a.conflict(tx, &all[i])
				if err != nil {
					return err
				}
				out = append(out, one)
			}
		}
		return nil
	})
	return out, err
}

func (a *Agent) conflict(tx store.Tx, c *core.Conflict) (admin.Conflict, error) {
	key := c.Loser.Key
	out := admin.Conflict{
		Here: string(a.config.Site), Pact: string(key.Pact), Record: key.Record.String(), Field: string(key.Field), State: c.State.String(),
		Lost: versionOf(c.Loser.ID(), c.Loser.Stamp, c.Loser.Value), Won: versionOf(c.Winner.ID, c.Winner.Stamp, nil),
		Current: versionOf(c.Current.Op.ID(), c.Current.Op.Stamp, c.Current.Op.Value), Keys: map[string]string{},
	}
	if c.Current.Op.ID() == c.Winner.ID {
		out.Won = out.Current
	}
	switch {
	case c.State == crdt.LostResolved:
		by := versionOf(c.Resolver.ID, c.Resolver.Stamp, nil)
		if c.Current.Op.ID() == c.Resolver.ID {
			by = out.Current
		}
		out.Answered = &by
	case c.Restoring:
		out.State = "restoring"
	}
	for _, s := range a.config.Systems {
		if s.Binding.Pact() != key.Pact {
			continue
		}
		sh, ok, err := shadow.Get(tx, s.Name, key.Record)
		if err != nil {
			return out, err
		}
		if ok {
			out.Keys[s.Name] = string(sh.Key)
		}
	}
	return out, nil
}

func versionOf(id crdt.OpID, stamp crdt.Stamp, envelope []byte) admin.Version {
	v := admin.Version{Op: id.String(), Site: string(id.Author.Site), Agent: string(id.Author.Agent), At: time.UnixMilli(stamp.Millis()).UTC()}
	if len(envelope) > 0 {
		if plain, err := crdt.OpenPlain(envelope); err == nil {
			text := showValue(plain)
			v.Value = &text
		}
	}
	return v
}

// place is a record in a pact.
type place struct {
	pact   crdt.Pact
	record crdt.RecordID
}

// find returns the records that a name may mean: a record id in any pact, or a
// local key in any system.
func (a *Agent) find(tx store.Tx, name string) (out []place, err error) {
	if id, err := crdt.ParseRecordID(name); err == nil {
		for _, p := range a.config.Pacts {
			out = append(out, place{p.Name, id})
		}
		return out, nil
	}
	seen := map[place]bool{}
	for _, s := range a.config.Systems {
		id, ok, err := shadow.ByKey(tx, s.Name, connectors.Key(name))
		if err != nil {
			return nil, err
		}
		if at := (place{s.Binding.Pact(), id}); ok && !seen[at] {
			seen[at] = true
			out = append(out, at)
		}
	}
	return out, nil
}

// one returns the record that a name means, within a pact if that is given.
func (a *Agent) one(name, pact string) (place, error) {
	var found []place
	err := a.store.View(func(tx store.Tx) (err error) {
		found, err = a.find(tx, name)
		return err
	})
	if err != nil {
		return place{}, err
	}
	var fits []place
	for _, at := range found {
		if pact == "" || pact == string(at.pact) {
			fits = append(fits, at)
		}
	}
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return place{}, &adminhttp.Error{
			Status: http.StatusNotFound, Code: "record.unknown", Message: fmt.Sprintf("no record here is called %q", name),
			Next:   "entente conflicts ls shows record ids and local keys",
			Impact: adminhttp.Impact{Scope: "record", Who: "you", Retried: "no", Lost: "no"},
		}
	}
	return place{}, &adminhttp.Error{
		Status: http.StatusConflict, Code: "record.ambiguous", Message: fmt.Sprintf("%d records here are called %q", len(fits), name),
		Next:   "name the record by its id, or add --pact",
		Impact: adminhttp.Impact{Scope: "record", Who: "you", Retried: "no", Lost: "no"},
	}
}

// Restore implements admin.Agent.
func (a *Agent) Restore(r admin.Restore) (admin.Restoration, error) {
	op, err := crdt.ParseOpID(r.Op)
	if err != nil {
		return admin.Restoration{}, fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	field, err := crdt.ParseField(r.Field)
	if err != nil {
		return admin.Restoration{}, fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	at, err := a.one(r.Record, r.Pact)
	if err != nil {
		return admin.Restoration{}, err
	}
	answer, err := a.ask(func(now int64) core.Event {
		return core.Restored{NowMillis: now, Pact: at.pact, Record: at.record, Field: field, Op: op}
	})
	if err != nil {
		return admin.Restoration{}, err
	}
	if answer.Refusal.Code != "" {
		return admin.Restoration{}, refusal(answer.Refusal, "field", "entente conflicts show "+r.Record)
	}
	a.config.Log.Info("audit: a lost value is put back", "pact", string(at.pact), "record", at.record.String(),
		"field", r.Field, "lost", r.Op, "op", answer.Op.String(), "already", answer.Already, "by", r.By, "reason", r.Reason)
	return admin.Restoration{
		Pact: string(at.pact), Record: at.record.String(), Field: r.Field, Op: answer.Op.String(), Already: answer.Already,
	}, nil
}

// ask steps a person's word and returns what became of it.
func (a *Agent) ask(build func(now int64) core.Event) (core.Answer, error) {
	effects, err := a.engine.Ask(build)
	for _, e := range effects {
		if answer, ok := e.(core.Answer); ok {
			return answer, err
		}
	}
	return core.Answer{}, err
}

// refusal makes an error of a refusal; next is what to type.
func refusal(r core.Refusal, scope, next string) error {
	e := &adminhttp.Error{
		Status: http.StatusConflict, Code: r.Code, Message: r.Message, Next: next,
		Impact: adminhttp.Impact{Scope: scope, Who: "you", Retried: "no", Lost: "no, the lost value is kept"},
	}
	if r.Code == pact.ReasonWriter {
		e.Who, e.Next = "partner", "ask a site that may write the field to restore it there"
	}
	if r.Later {
		e.Status, e.Next, e.Who = http.StatusServiceUnavailable, "try again in a moment; entente status shows what waits", "nobody needs to"
	}
	return e
}

// showValue is a value for people: a text as it stands.
func showValue(v value.Value) string {
	if v.Kind() == value.KindText {
		return v.AsText()
	}
	return v.String()
}
