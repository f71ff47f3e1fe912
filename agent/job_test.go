package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/entente-sync/entente/agent/admin"
	sandbox "github.com/entente-sync/entente/connectors/memory"
)

// A backfill runs to its end on the real loops; the feed is read again between
// two sessions.
func TestBackfillAndResync(t *testing.T) {
	h, desk := &hub{}, sandbox.New(sandbox.Config{Name: "desk"})
	c := configure(t, h, desk)
	for range 5 {
		desk.Create("ana", text("printer"), time.Time{})
	}
	a, stop := start(t, c)
	defer stop()
	client := admin.NewClient(c.Admin)
	eventually(t, "ready", func() bool {
		s, err := client.Status(t.Context())
		return err == nil && s.Ready && s.Systems[0].Linked == 5 && s.Pacts[0].Outbox == 0
	})
	for _, kind := range []string{"backfill", "resync"} {
		if _, err := client.StartJob(t.Context(), admin.JobStart{Kind: kind, Name: "desk", By: "ana"}); err != nil {
			t.Fatal(err)
		}
		var j admin.Job
		eventually(t, kind+" done", func() bool {
			jobs, err := client.Jobs(t.Context())
			if err != nil || len(jobs) != 1 {
				return false
			}
			j = jobs[0]
			return j.Kind == kind && j.State == "done"
		})
		if j.Count != (admin.Counts{Unchanged: 5}) || j.Done != 5 || j.Total != 5 || j.Listing || j.Ended == nil || j.By != "ana" {
			t.Errorf("%+v", j)
		}
	}
	eventually(t, "ready again", func() bool { return len(a.notReady()) == 0 })
}

// Without a hub nothing has to end first.
func TestRereadWithoutHub(t *testing.T) {
	c := configure(t, &hub{}, sandbox.New(sandbox.Config{Name: "desk"}))
	c.Dial = func(string) (*grpc.ClientConn, error) { return nil, errors.New("no route") }
	_, stop := start(t, c)
	defer stop()
	client := admin.NewClient(c.Admin)
	eventually(t, "the socket answers", func() bool { _, err := client.Status(t.Context()); return err == nil })
	jobs, err := client.StartJob(t.Context(), admin.JobStart{Kind: "resync", Name: "tickets"})
	if err != nil || len(jobs) != 1 || jobs[0].Waits != "hub.feed" {
		t.Errorf("%+v, %v", jobs, err)
	}
}

// What cannot be done says so, and an agent that failed says why.
func TestJobErrors(t *testing.T) {
	c := configure(t, &hub{}, sandbox.New(sandbox.Config{Name: "desk"}))
	_, stop := start(t, c)
	defer stop()
	client := admin.NewClient(c.Admin)
	eventually(t, "the socket answers", func() bool { _, err := client.Status(t.Context()); return err == nil })
	for want, do := range map[string]func(context.Context) error{
		`no job "reset" (known: backfill, resync)`: func(ctx context.Context) error {
			_, err := client.StartJob(ctx, admin.JobStart{Kind: "reset", Name: "desk"})
			return err
		},
		`job.system: this agent has no system or pact "tickets"`: func(ctx context.Context) error {
			_, err := client.StartJob(ctx, admin.JobStart{Kind: "backfill", Name: "tickets"})
			return err
		},
		"job.filter: invalid filter": func(ctx context.Context) error {
			_, err := client.StartJob(ctx, admin.JobStart{Kind: "backfill", Name: "desk", Filter: "it."})
			return err
		},
		`no verb "stop" (known: pause, resume, cancel)`: func(ctx context.Context) error {
			_, err := client.TellJob(ctx, admin.JobTell{System: "desk", Verb: "stop"})
			return err
		},
		"job.unknown: the system never had a job": func(ctx context.Context) error {
			_, err := client.TellJob(ctx, admin.JobTell{System: "desk", Verb: "pause"})
			return err
		},
	} {
		if err := do(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
