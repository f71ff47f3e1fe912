package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/binding"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// rereadMax bounds the wait for the session with the hub to end.
const rereadMax = 20 * time.Second

// Jobs implements admin.Agent.
func (a *Agent) Jobs() ([]admin.Job, error) {
	out := []admin.Job{}
	err := a.store.View(func(tx store.Tx) error {
		for _, s := range a.config.Systems {
			j, ok, err := core.JobOf(tx, s.Name)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			feed, err := inbox.GetFeed(tx, s.Binding.Pact())
			if err != nil {
				return err
			}
			out = append(out, a.job(&s, &j, feed.Met))
		}
		return nil
	})
	return out, err
}

func (a *Agent) job(s *System, j *core.Job, met bool) admin.Job {
	c := j.Count
	out := admin.Job{
		Here: string(a.config.Site), System: s.Name, Pact: string(s.Binding.Pact()), Kind: "backfill", DryRun: j.DryRun, Filter: j.Filter,
		State: map[core.JobState]string{
			core.JobRunning: "running", core.JobPaused: "paused", core.JobDone: "done", core.JobCancelled: "cancelled",
		}[j.State],
		Since: unixTime(j.SinceMillis), Rate: j.Rate, By: j.By, Started: time.UnixMilli(j.StartedMillis).UTC(), Ended: unixTime(j.EndedMillis),
		Done: c.Done(), Total: j.Total, Listing: !j.Whole, Count: admin.Counts(c),
	}
	if j.Kind == core.JobResync {
		out.Kind = "resync"
	}
	active := j.ActiveMillis
	if j.State == core.JobRunning {
		active += max(a.config.Now().UnixMilli()-j.RunMillis, 0)
	}
	if active > 0 {
		out.PerSecond = float64(out.Done) * 1000 / float64(active)
	}
	if j.State == core.JobRunning && j.Whole && out.PerSecond > 0 {
		left := int64(float64(j.Total-min(out.Done, j.Total)) / out.PerSecond)
		out.ETASeconds = &left
	}
	switch {
	case j.State != core.JobRunning:
	case !met:
		out.Waits = "hub.feed" // nothing is captured before the feed was read to its head
	default:
		out.Waits, out.Until = j.Waits, unixTime(j.WaitsMillis)
	}
	return out
}

func unixTime(millis int64) *time.Time {
	if millis == 0 {
		return nil
	}
	t := time.UnixMilli(millis).UTC()
	return &t
}

// StartJob implements admin.Agent. A real resync of whole systems also reads the
// hub's feed again from its beginning, first.
func (a *Agent) StartJob(j admin.JobStart) ([]admin.Job, error) {
	started, err := a.jobEvent(&j)
	if err != nil {
		return nil, err
	}
	systems, err := a.jobSystems(&j)
	if err != nil {
		return nil, err
	}
	if j.Kind == "resync" && j.Record == "" && !j.DryRun {
		if err := a.reread(systems); err != nil {
			return nil, err
		}
	}
	for _, s := range systems {
		answer, err := a.ask(func(now int64) core.Event {
			e := started
			e.NowMillis, e.System, e.Key = now, s.name, s.key
			return e
		})
		if err != nil {
			return nil, err
		}
		if answer.Refusal.Code != "" {
			return nil, jobRefusal(answer.Refusal, s.name)
		}
		a.config.Log.Info("audit: a job begins", "kind", j.Kind, "system", s.name, "dry_run", j.DryRun, "rate", j.Rate, "by", j.By)
	}
	return a.Jobs()
}

// jobEvent checks what is asked of a job.
func (a *Agent) jobEvent(j *admin.JobStart) (core.JobStarted, error) {
	e := core.JobStarted{Kind: core.JobBackfill, Filter: j.Filter, Rate: j.Rate, DryRun: j.DryRun, By: j.By}
	switch j.Kind {
	case "backfill":
	case "resync":
		e.Kind = core.JobResync
	default:
		return e, fmt.Errorf("%w: no job %q (known: backfill, resync)", admin.ErrInvalid, j.Kind)
	}
	if j.Since != nil {
		e.SinceMillis = j.Since.UnixMilli()
	}
	if j.Filter != "" {
		if _, err := binding.NewFilter(j.Filter); err != nil {
			return e, &adminhttp.Error{
				Status: http.StatusBadRequest, Code: "job.filter", Message: err.Error(),
				Next:   `a filter is CEL over a local record: it.status == "New"`,
				Impact: adminhttp.Impact{Scope: "system", Who: "you", Retried: "no", Lost: "no"},
			}
		}
	}
	return e, nil
}

// target is one system that a job is for, and the one record there, if it is for one.
type target struct {
	name string
	pact crdt.Pact
	key  connectors.Key
}

func (a *Agent) jobSystems(j *admin.JobStart) (out []target, err error) {
	for _, s := range a.config.Systems {
		if j.Name == s.Name || j.Kind == "resync" && j.Name == string(s.Binding.Pact()) {
			out = append(out, target{name: s.Name, pact: s.Binding.Pact()})
		}
	}
	if len(out) == 0 {
		return nil, jobRefusal(core.Refusal{Code: "job.system", Message: fmt.Sprintf("this agent has no system or pact %q", j.Name)}, "")
	}
	if j.Record == "" {
		return out, nil
	}
	at, err := a.one(j.Record, string(out[0].pact))
	if err != nil {
		return nil, err
	}
	var there []target
	err = a.store.View(func(tx store.Tx) error {
		for _, t := range out {
			sh, ok, err := shadow.Get(tx, t.name, at.record)
			if err != nil {
				return err
			}
			if ok {
				t.key = sh.Key
				there = append(there, t)
			}
		}
		return nil
	})
	if err == nil && len(there) == 0 {
		err = &adminhttp.Error{
			Status: http.StatusNotFound, Code: "record.unlinked", Message: "the record has no local key there", Next: "entente holds show --record " + j.Record,
			Impact: adminhttp.Impact{Scope: "record", Who: "you", Retried: "no", Lost: "no"},
		}
	}
	return there, err
}

// reread makes the feeds of pacts be read again from their beginning, between two
// sessions: a slice of the old one must not move the place in the feed.
func (a *Agent) reread(systems []target) error {
	ctx, cancel := context.WithTimeout(context.Background(), rereadMax)
	defer cancel()
	err := a.uplink.Between(ctx, func() error {
		done := map[crdt.Pact]bool{}
		for _, s := range systems {
			if done[s.pact] {
				continue
			}
			done[s.pact] = true
			if err := a.engine.Step(func(now int64) core.Event { return core.Reread{NowMillis: now, Pact: s.pact} }); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return &adminhttp.Error{
			Status: http.StatusServiceUnavailable, Code: "hub.busy", Message: "the session with the hub did not end in time",
			Next: "entente status; then try again", Impact: adminhttp.Impact{Scope: "hub", Who: "nobody needs to", Retried: "no", Lost: "no"},
		}
	}
	return err
}

// TellJob implements admin.Agent.
func (a *Agent) TellJob(t admin.JobTell) ([]admin.Job, error) {
	state, ok := map[string]core.JobState{
		"pause": core.JobPaused, "resume": core.JobRunning, "cancel": core.JobCancelled,
	}[t.Verb]
	if !ok {
		return nil, fmt.Errorf("%w: no verb %q (known: pause, resume, cancel)", admin.ErrInvalid, t.Verb)
	}
	answer, err := a.ask(func(now int64) core.Event { return core.JobTold{NowMillis: now, System: t.System, State: state} })
	if err != nil {
		return nil, err
	}
	if answer.Refusal.Code != "" {
		return nil, jobRefusal(answer.Refusal, t.System)
	}
	a.config.Log.Info("audit: a word to a job", "verb", t.Verb, "system", t.System, "by", t.By, "reason", t.Reason)
	return a.Jobs()
}

func jobRefusal(r core.Refusal, system string) error {
	e := &adminhttp.Error{
		Status: http.StatusConflict, Code: r.Code, Message: r.Message, Next: "entente backfill status",
		Impact: adminhttp.Impact{Scope: "system", Who: "you", Retried: "no", Lost: "no"},
	}
	switch {
	case r.Later:
		e.Status, e.Who = http.StatusServiceUnavailable, "nobody needs to"
		e.Next = "try again in a moment"
	case r.Code == "job.running":
		e.Next = "entente backfill status; or entente backfill cancel " + system
	case r.Code == "job.system":
		e.Status, e.Next = http.StatusNotFound, "entente status names the systems"
	}
	return e
}

// filter evaluates the filters of jobs, each compiled once. Jobs are few: one text
// is kept.
func filter() core.Filter {
	var text string
	var compiled *binding.Filter
	return func(source string, local map[string]value.Value) (bool, *core.Problem) {
		if compiled == nil || text != source {
			f, err := binding.NewFilter(source)
			if err != nil {
				return false, &core.Problem{Code: "job.filter", Message: err.Error()}
			}
			text, compiled = source, f
		}
		passes, p := compiled.Passes(local)
		if p != nil {
			return false, &core.Problem{Code: p.Code, Message: p.Message}
		}
		return passes, nil
	}
}
