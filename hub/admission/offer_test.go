package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// offerLog takes every command and answers it with result.
type offerLog struct {
	taken  []command.Command
	err    error // of Start
	leader string
	result func(command.Command) state.CommandResult
}

func (l *offerLog) Leader() string { return l.leader }

func (l *offerLog) Start(c command.Command) (func(context.Context) (state.CommandResult, error), error) {
	if l.err != nil {
		return nil, l.err
	}
	l.taken = append(l.taken, c)
	return func(context.Context) (state.CommandResult, error) { return l.result(c), nil }, nil
}

// takenWhole answers as Apply does where everything may stand.
func takenWhole(c command.Command) (out state.CommandResult) {
	o, ok := c.(*command.Offer)
	if !ok {
		return state.CommandResult{Version: 2}
	}
	n := len(o.Registers)
	if o.End != nil {
		n++
	}
	out.Ops = slices.Repeat([]state.OpResult{{Outcome: state.OutcomeApplied, Offset: 3}}, n)
	return out
}

// offerOf has n registers with values of that size, and an end.
func offerOf(n, valueBytes int) wire.Offer {
	o := wire.Offer{ID: 9, Pact: "tickets", Epoch: 7, End: &wire.OfferEnd{Held: []crdt.Position{{Epoch: 6, Offset: 5}}}}
	for _, op := range batchOf(n).Ops {
		op.Author.Site, op.Value = "globex", op.Value[:valueBytes] // whoever wrote it
		o.Registers = append(o.Registers, wire.Offered{Op: op, Birth: crdt.Position{Epoch: 6, Offset: crdt.Offset(op.Seq)}})
	}
	return o
}

// offerTo is an admission over log, and what it told of offers.
func offerTo(log Log) (a *Admission, told *[]bool) {
	told = new([]bool)
	cfg := testConfig(&fakeLog{})
	cfg.Log = log
	cfg.Offered = func(_ wire.BatchResult, completed bool) { *told = append(*told, completed) }
	return New(cfg), told
}

// A large part is cut into commands that fit an entry, in order; the end goes with
// the last one.
func TestLargeOfferIsCut(t *testing.T) {
	log := &offerLog{result: takenWhole}
	a, told := offerTo(log)
	result := a.AdmitOffer(who, offerOf(17, 60_000)).Wait(t.Context())
	next, held := crdt.Seq(1), 0
	for i, c := range log.taken {
		o := c.(*command.Offer)
		if !command.NewBuilder(0, 0).Add(o) || o.Site != "acme" || o.Registers[0].Op.Seq != next {
			t.Fatalf("command %d begins at %d, want %d, and fits an entry", i, o.Registers[0].Op.Seq, next)
		}
		next += crdt.Seq(len(o.Registers))
		if o.End != nil {
			held = i + 1
		}
	}
	if len(log.taken) < 4 || next != 18 || held != len(log.taken) {
		t.Fatalf("%d commands up to %d, the end with number %d", len(log.taken), next-1, held)
	}
	if result.Batch != 9 || len(result.Results) != 18 || !slices.Equal(*told, []bool{true}) {
		t.Errorf("answer %d with %d results, told %v", result.Batch, len(result.Results), *told)
	}
	for i, r := range result.Results {
		if r.Outcome != wire.OutcomeApplied {
			t.Errorf("result %d: %+v", i, r)
		}
	}
}

// waitLog fails one of the commands that it took.
type waitLog struct {
	offerLog
	fail int // number of the command
	err  error
}

func (l *waitLog) Start(c command.Command) (func(context.Context) (state.CommandResult, error), error) {
	wait, err := l.offerLog.Start(c)
	if len(l.taken) == l.fail {
		return func(context.Context) (state.CommandResult, error) { return state.CommandResult{}, l.err }, nil
	}
	return wait, err
}

// The end says that all of an offer is here: it stays out of the log if a part
// before it was turned away from the queue, where others have as much right.
func TestEndOfOfferWaits(t *testing.T) {
	log := &waitLog{offerLog: offerLog{result: takenWhole}, fail: 2, err: replica.ErrBusy}
	a, told := offerTo(log)
	result := a.AdmitOffer(who, offerOf(17, 60_000)).Wait(t.Context())
	for i, c := range log.taken {
		if c.(*command.Offer).End != nil {
			t.Errorf("command %d has the end", i)
		}
	}
	if last := result.Results[17]; last.Outcome != wire.OutcomeRetry || last.Reason != wire.ReasonHubBusy || result.RetryAfter <= 0 {
		t.Errorf("the end is answered with %+v, wait %s", last, result.RetryAfter)
	}
	if first := result.Results[0]; first.Outcome != wire.OutcomeApplied || !slices.Equal(*told, []bool{false}) {
		t.Errorf("the first register is answered with %+v, told %v", first, *told)
	}
}

// What is turned away never reaches the log, whole as it came.
func TestOfferTurnedAway(t *testing.T) {
	stranger := identity.Agent{Site: "initech", Name: "main"}
	for name, tc := range map[string]struct {
		who    identity.Agent
		change func(*wire.Offer)
		log    *offerLog
		want   wire.Reason
		leader string
	}{
		"no member":         {stranger, func(*wire.Offer) {}, &offerLog{}, wire.ReasonPactNotMember, ""},
		"another epoch":     {who, func(o *wire.Offer) { o.Epoch = 6 }, &offerLog{}, wire.ReasonEpochChanged, ""},
		"unknown pact":      {who, func(o *wire.Offer) { o.Pact = "bugs" }, &offerLog{}, wire.ReasonPactUnknown, ""},
		"follower":          {who, func(*wire.Offer) {}, &offerLog{err: replica.ErrNotLeader, leader: "n2"}, wire.ReasonLeaderMoved, "n2:1"},
		"full":              {who, func(*wire.Offer) {}, &offerLog{err: replica.ErrBusy}, wire.ReasonHubBusy, ""},
		"full disk":         {who, func(*wire.Offer) {}, &offerLog{err: replica.ErrDiskLow}, wire.ReasonHubDiskLow, ""},
		"disputed":          {who, func(*wire.Offer) {}, &offerLog{err: replica.ErrDisputed}, wire.ReasonHubReadonly, ""},
		"amid an upgrade":   {who, func(*wire.Offer) {}, &offerLog{err: fmt.Errorf("%w: x", replica.ErrNotYet)}, wire.ReasonMemberOlder, ""},
		"of unknown effect": {who, func(*wire.Offer) {}, &offerLog{err: errors.New("disk")}, wire.ReasonLeaderLost, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, told := offerTo(tc.log)
			o := offerOf(3, 10)
			tc.change(&o)
			result := a.AdmitOffer(tc.who, o).Wait(t.Context())
			if len(tc.log.taken) != 0 || len(result.Results) != 4 || result.Leader != tc.leader || !slices.Equal(*told, []bool{false}) {
				t.Fatalf("%d commands, answer %+v, told %v", len(tc.log.taken), result, *told)
			}
			for _, r := range result.Results {
				if r.Outcome != wire.OutcomeRetry || r.Reason != tc.want {
					t.Errorf("%+v, want %s", r, tc.want)
				}
			}
		})
	}
}

// Offers count in the same quota as ops, so that nobody slows others by offering.
func TestOfferTakesQuota(t *testing.T) {
	log := &offerLog{result: takenWhole}
	a, _ := offerTo(log)
	for i := 0; ; i++ {
		result := a.AdmitOffer(who, offerOf(1000, 10)).Wait(t.Context())
		if r := result.Results[0]; r.Outcome == wire.OutcomeRetry {
			if r.Reason != wire.ReasonQuotaOps || result.RetryAfter <= 0 || i == 0 {
				t.Errorf("put off at part %d: %+v, wait %s", i, r, result.RetryAfter)
			}
			break
		}
		if i > 3 {
			t.Fatal("100 ops a second let 4,000 registers through")
		}
	}
	ops := batchOf(1000)
	for i := range ops.Ops {
		ops.Ops[i].Value = nil
	}
	if result := a.Admit(who, ops).Wait(t.Context()); result.Results[0].Reason != wire.ReasonQuotaOps {
		t.Errorf("ops behind them: %+v", result.Results[0])
	}
}

// What Apply refuses (forged, malformed) is answered where it stood, and an offer
// whose end is refused is not told as completed.
func TestOfferRefusedByApply(t *testing.T) {
	log := &offerLog{result: func(c command.Command) state.CommandResult {
		out := takenWhole(c)
		out.Ops[1] = state.OpResult{Outcome: state.OutcomeRefused, Reason: state.ReasonMalformed}
		out.Ops[3] = state.OpResult{Outcome: state.OutcomeRefused, Reason: state.ReasonForged}
		return out
	}}
	a, told := offerTo(log)
	result := a.AdmitOffer(who, offerOf(3, 10)).Wait(t.Context())
	var got []wire.Reason
	for _, r := range result.Results {
		got = append(got, r.Reason)
	}
	if !slices.Equal(got, []wire.Reason{"", wire.ReasonOpMalformed, "", wire.ReasonAuthorForged}) || !slices.Equal(*told, []bool{false}) {
		t.Errorf("answered %v, told %v", got, *told)
	}
}

// document is a version of the pact that acme and globex share.
func document(version uint32, members ...crdt.Site) []byte {
	p := pact.Pact{
		Name: "tickets", Version: version, Members: members, Record: "ticket",
		Fields: []pact.Field{{Name: "title", Type: pact.TypeText}},
	}
	return p.Encode()
}

// A document goes into the log when every member, of the version in force too, has
// sent the same bytes; never before.
func TestAcceptPact(t *testing.T) {
	log := &offerLog{leader: "n1", result: takenWhole}
	a, _ := offerTo(log)
	now := time.Unix(1000, 0)
	a.cfg.Now = func() time.Time { return now }
	accept := func(site crdt.Site, document []byte) (wire.Acceptance, wire.Reason) {
		got, err := a.AcceptPact(t.Context(), identity.Agent{Site: site, Name: "main"}, document)
		return got, wire.ReasonOf(err)
	}
	next, other := document(2, "acme", "globex"), document(2, "acme", "globex", "initech")
	for name, tc := range map[string]struct {
		site     crdt.Site
		document []byte
		want     wire.Reason
	}{
		"unreadable":     {"acme", []byte{1, 2, 3}, wire.ReasonPactInvalid},
		"of a newer hub": {"acme", []byte{pact.Format + 1}, wire.ReasonVersionNewer},
		"no member":      {"initech", next, wire.ReasonPactNotMember},
		"what was":       {"acme", document(0, "acme", "globex"), wire.ReasonPactInvalid},
	} {
		if _, reason := accept(tc.site, tc.document); reason != tc.want {
			t.Errorf("%s: %s, want %s", name, reason, tc.want)
		}
	}
	if got, reason := accept("acme", next); reason != "" || !slices.Equal(got.Missing, []crdt.Site{"globex"}) {
		t.Fatalf("the first word: %+v, %s", got, reason)
	}
	if got, reason := accept("globex", other); reason != "" || !slices.Equal(got.Missing, []crdt.Site{"acme", "initech"}) {
		t.Fatalf("the word for another text: %+v, %s", got, reason)
	}
	now = now.Add(acceptedFor + time.Second) // acme's word is too old by now
	if got, reason := accept("globex", next); reason != "" || !slices.Equal(got.Missing, []crdt.Site{"acme"}) || len(log.taken) > 0 {
		t.Fatalf("%d commands, %+v, %s", len(log.taken), got, reason)
	}
	if got, reason := accept("acme", next); reason != "" || got.Version != 2 || len(log.taken) != 1 {
		t.Fatalf("%d commands, %+v, %s", len(log.taken), got, reason)
	}
	c := log.taken[0].(*command.OfferPact)
	if !slices.Equal(c.Sites, []crdt.Site{"acme", "globex"}) || string(c.Document) != string(next) {
		t.Errorf("put into the log: %+v", c)
	}
	log.err = fmt.Errorf("%w: x", replica.ErrNotYet)
	accept("acme", next)
	if _, reason := accept("globex", next); reason != wire.ReasonMemberOlder {
		t.Errorf("amid an upgrade: %s", reason)
	}
	log.leader = "n2"
	if _, reason := accept("acme", next); reason != wire.ReasonLeaderMoved {
		t.Errorf("at a follower: %s", reason)
	}
}
