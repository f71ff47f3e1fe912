package admission

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

var who = identity.Agent{Site: "acme", Name: "main"}

// fakeLog applies what it takes, up to a number of commands; then it fails.
type fakeLog struct {
	taken   []*command.Publish
	takeMax int
	err     error // of Start beyond takeMax
	waitErr error
	leader  string
}

func (l *fakeLog) Leader() string { return l.leader }

func (l *fakeLog) Start(c command.Command) (func(context.Context) (state.CommandResult, error), error) {
	if len(l.taken) == l.takeMax {
		return nil, l.err
	}
	publish := c.(*command.Publish)
	l.taken = append(l.taken, publish)
	return func(context.Context) (state.CommandResult, error) {
		var out state.CommandResult
		for i := range publish.Ops {
			out.Ops = append(out.Ops, state.OpResult{Outcome: state.OutcomeApplied, Offset: crdt.Offset(publish.Ops[i].Seq)})
		}
		return out, l.waitErr
	}, nil
}

type fakeState struct{ agreed *pact.Pact }

func (fakeState) Hub() (command.HubID, crdt.Epoch) { return command.HubID{1}, 7 }

func (s fakeState) Pact(name crdt.Pact) (state.PactInfo, error) {
	if name != s.agreed.Name {
		return state.PactInfo{}, state.ErrPactUnknown
	}
	return state.PactInfo{Pact: s.agreed}, nil
}

func testConfig(log *fakeLog) Config {
	return Config{
		Log: log, State: fakeState{&pact.Pact{Name: "tickets", Members: []crdt.Site{"acme"}}}, Self: "n1",
		Now: func() time.Time { return time.Unix(1000, 0) }, Site: Rate{100, 1 << 21}, Pact: Rate{1000, 1 << 24},
		AgentAddress: func(node string) string {
			if node == "" {
				return ""
			}
			return node + ":1"
		},
		Answered: func(wire.BatchResult) {}, Offered: func(wire.BatchResult, bool) {},
	}
}

func admit(log *fakeLog, b wire.Batch) wire.BatchResult {
	return New(testConfig(log)).Admit(who, b).Wait(context.Background())
}

// batchOf has ops of 60 kB, so that four of them fill an entry.
func batchOf(n int) wire.Batch {
	b := wire.Batch{ID: 5, Pact: "tickets", Epoch: 7}
	for i := range n {
		b.Ops = append(b.Ops, crdt.Op{
			Key:    crdt.Key{Pact: "tickets", Type: "ticket", Record: crdt.RecordID{1}, Field: "title"},
			Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}, Seq: crdt.Seq(i + 1), Value: make([]byte, 60_000),
		})
	}
	return b
}

func TestLargeBatchIsCut(t *testing.T) {
	log := &fakeLog{takeMax: 100}
	result := admit(log, batchOf(17))
	if len(log.taken) < 4 {
		t.Fatalf("%d commands for 1 MB", len(log.taken))
	}
	next := crdt.Seq(1)
	for i, c := range log.taken {
		if c.Ops[0].Seq != next || i > 0 && c.After.Seq != next-1 {
			t.Fatalf("command %d begins at %d behind %d, want %d", i, c.Ops[0].Seq, c.After.Seq, next)
		}
		if !command.NewBuilder(0, 0).Add(c) {
			t.Fatalf("command %d does not fit an entry", i)
		}
		next += crdt.Seq(len(c.Ops))
	}
	for i, r := range result.Results {
		if r.Outcome != wire.OutcomeApplied || r.Offset != crdt.Offset(i+1) {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	if result.Batch != 5 || result.TimeMillis != 1_000_000 {
		t.Fatalf("answer %d at %d", result.Batch, result.TimeMillis)
	}
}

func TestWhatTheLogDoesNotTake(t *testing.T) {
	for _, tc := range []struct {
		name   string
		log    *fakeLog
		reason wire.Reason
		leader string
	}{
		{"follower", &fakeLog{err: replica.ErrNotLeader, leader: "n2"}, wire.ReasonLeaderMoved, "n2:1"},
		{"election", &fakeLog{err: replica.ErrNotLeader}, wire.ReasonLeaderNone, ""},
		{"elected, not yet caught up", &fakeLog{err: replica.ErrNotLeader, leader: "n1"}, wire.ReasonLeaderNone, ""},
		{"full", &fakeLog{err: replica.ErrBusy}, wire.ReasonHubBusy, ""},
		{"amid an upgrade", &fakeLog{err: fmt.Errorf("%w: x", replica.ErrNotYet)}, wire.ReasonMemberOlder, ""},
		{"lost", &fakeLog{takeMax: 9, waitErr: fmt.Errorf("%w: x", replica.ErrUnknown)}, wire.ReasonLeaderLost, ""},
		{"stopped", &fakeLog{err: errors.New("disk")}, wire.ReasonLeaderLost, ""},
	} {
		result := admit(tc.log, batchOf(3))
		for _, r := range result.Results {
			if r.Outcome != wire.OutcomeRetry || r.Reason != tc.reason || result.Leader != tc.leader {
				t.Errorf("%s: %+v, leader %q", tc.name, r, result.Leader)
			}
		}
	}
}

// The log takes the first part of a batch and not the rest.
func TestHalfTaken(t *testing.T) {
	result := admit(&fakeLog{takeMax: 1, err: replica.ErrBusy}, batchOf(8))
	first, last := result.Results[0], result.Results[7]
	if first.Outcome != wire.OutcomeApplied || last.Outcome != wire.OutcomeRetry || last.Reason != wire.ReasonHubBusy {
		t.Fatalf("first %+v, last %+v", first, last)
	}
}

func TestForgedNeighbours(t *testing.T) {
	b := batchOf(3)
	b.Ops[1].Author.Site = "globex"
	log := &fakeLog{takeMax: 9}
	result := admit(log, b)
	if len(log.taken) != 0 {
		t.Fatal("a forged op reached the log")
	}
	for i, want := range []wire.Outcome{wire.OutcomeRetry, wire.OutcomeRefused, wire.OutcomeRetry} {
		if r := result.Results[i]; r.Outcome != want || r.Reason != wire.ReasonAuthorForged {
			t.Errorf("op %d: %+v, want %s", i, r, want)
		}
	}
}
