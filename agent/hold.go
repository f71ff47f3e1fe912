package agent

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/entente-sync/entente/agent/admin"
	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/adminhttp"
)

// waiting counts the holds that ask for a person.
func waiting(tx store.Tx) (n int, err error) {
	causes, err := core.Causes(tx)
	for i := range causes {
		n += causes[i].Holds - causes[i].Quiet - causes[i].Handled
	}
	return n, err
}

// Causes implements admin.Agent.
func (a *Agent) Causes() ([]admin.Cause, error) {
	out := []admin.Cause{}
	err := a.store.View(func(tx store.Tx) error {
		causes, err := core.Causes(tx)
		if err != nil {
			return err
		}
		for i := range causes {
			c := &causes[i]
			example, err := a.hold(tx, &c.Example)
			if err != nil {
				return err
			}
			out = append(out, admin.Cause{
				Here: string(a.config.Site), System: c.System, Pact: string(a.pactOf(c.System)), Code: c.Code, Field: string(c.Field),
				Stops: stops(c.Outgoing), Holds: c.Holds, Waiting: c.Holds - c.Quiet - c.Handled,
				Oldest: time.UnixMilli(c.OldestMillis).UTC(), Example: example,
			})
		}
		return nil
	})
	return out, err
}

func stops(outgoing bool) string {
	if outgoing {
		return "out"
	}
	return "in"
}

func (a *Agent) hold(tx store.Tx, h *core.Hold) (admin.Hold, error) {
	out := admin.Hold{
		System: h.System, Pact: string(a.pactOf(h.System)), Record: h.Record.String(),
		Key: string(h.Key), Field: string(h.Field), Code: h.Code, Message: h.Message,
		Since: time.UnixMilli(h.SinceMillis).UTC(), Keep: h.Quiet, Stops: stops(h.Outgoing),
	}
	word, ok, err := core.WordOn(tx, h)
	if err == nil && ok {
		out.Word = &admin.HoldWord{Verb: "ack", At: time.UnixMilli(word.AtMillis).UTC(), By: word.By, Reason: word.Reason}
		if word.Skip {
			out.Word.Verb = "skip"
		}
	}
	return out, err
}

// Holds implements admin.Agent.
func (a *Agent) Holds() ([]admin.Hold, error) { return a.HoldsOf(admin.HoldsPicked{}) }

// HoldsOf implements admin.Agent.
func (a *Agent) HoldsOf(pick admin.HoldsPicked) ([]admin.Hold, error) {
	out := []admin.Hold{}
	err := a.store.View(func(tx store.Tx) error {
		holds, err := a.picked(tx, pick, nil)
		if err != nil {
			return err
		}
		for i := range holds {
			one, err := a.hold(tx, &holds[i])
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}

// picked returns the holds that fit behind a place, at most core.HoldsMax.
func (a *Agent) picked(tx store.Tx, pick admin.HoldsPicked, after []byte) (out []core.Hold, err error) {
	err = core.EachHold(tx, pick.System, after, func(h core.Hold) error {
		if pick.Code != "" && pick.Code != h.Code || pick.Field != "" && pick.Field != string(h.Field) ||
			pick.Record != "" && pick.Record != h.Record.String() && pick.Record != string(h.Key) {
			return nil
		}
		if out = append(out, h); len(out) == core.HoldsMax {
			return store.ErrStop
		}
		return nil
	})
	return out, err
}

// HandleHolds implements admin.Agent. Each hold is handled in a step of its own:
// one that is mended meanwhile is none of this call's.
func (a *Agent) HandleHolds(v admin.HoldVerb) (done admin.HoldsHandled, err error) {
	if v.Verb != "retry" && v.Verb != "skip" && v.Verb != "ack" {
		return done, fmt.Errorf("%w: no verb %q (known: retry, skip, ack)", admin.ErrInvalid, v.Verb)
	}
	after, err := hex.DecodeString(v.After)
	if err != nil {
		return done, fmt.Errorf("%w: after: %w", admin.ErrInvalid, err)
	}
	var holds []core.Hold
	err = a.store.View(func(tx store.Tx) (err error) {
		holds, err = a.picked(tx, v.Pick, after)
		return err
	})
	if err != nil {
		return done, err
	}
	if len(holds) == core.HoldsMax {
		done.Next = hex.EncodeToString(holds[len(holds)-1].Place())
	}
	if len(holds) == 0 && v.After == "" {
		return done, &adminhttp.Error{
			Status: http.StatusNotFound, Code: "hold.unknown", Message: "nothing that fits is held here; it may have been mended",
			Next: "entente holds ls", Impact: adminhttp.Impact{Scope: "agent", Who: "you", Retried: "no", Lost: "no"},
		}
	}
	done.Picked = len(holds)
	if v.DryRun {
		return done, nil
	}
	for i := range holds {
		refused, err := a.handle(&holds[i], &v)
		if err != nil {
			return done, err
		}
		if refused {
			done.Refused++
		} else {
			done.Done++
		}
	}
	a.config.Log.Info("audit: a word on holds", "verb", v.Verb, "picked", done.Picked, "done", done.Done,
		"system", v.Pick.System, "code", v.Pick.Code, "field", v.Pick.Field, "by", v.By, "reason", v.Reason)
	if done.Done == 0 && done.Refused > 0 {
		return done, &adminhttp.Error{
			Status: http.StatusConflict, Code: "hold.whole", Message: "whole records are held, which cannot be skipped",
			Next:   "mend the cause and type entente holds retry, or entente holds ack to be asked no more",
			Impact: adminhttp.Impact{Scope: "record", Who: "you", Retried: "no", Lost: "no, queued"},
		}
	}
	return done, nil
}

func (a *Agent) handle(h *core.Hold, v *admin.HoldVerb) (refused bool, err error) {
	if v.Verb == "retry" {
		return false, a.engine.Step(func(now int64) core.Event {
			return core.Released{NowMillis: now, System: h.System, Record: h.Record, Field: h.Field}
		})
	}
	answer, err := a.ask(func(now int64) core.Event {
		return core.Handled{
			NowMillis: now, System: h.System, Record: h.Record, Field: h.Field, Skip: v.Verb == "skip", By: v.By, Reason: v.Reason,
		}
	})
	return answer.Refusal.Code != "", err
}

// Release implements admin.Agent.
func (a *Agent) Release(r admin.Release) error {
	record, err := crdt.ParseRecordID(r.Record)
	if err != nil {
		return fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	if a.systems[r.System] == nil {
		return fmt.Errorf("%w: no system %q", admin.ErrInvalid, r.System)
	}
	return a.engine.Step(func(now int64) core.Event {
		return core.Released{NowMillis: now, System: r.System, Record: record, Field: crdt.Field(r.Field)}
	})
}
