package uplink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

const greetMax = 10 * time.Second

// greet opens a session and tells the core of each pact that may run.
func (l *Loop) greet(ctx context.Context, client *wire.Client, address string) (wire.Welcome, error) {
	w, why, err := l.ask(ctx, client)
	if err != nil {
		return w, fmt.Errorf("greet %s: %w", address, err)
	}
	status := Status{
		Connected: true, Address: address, Hub: w.Hub, Epoch: w.Epoch,
		Pacts: make(map[crdt.Pact]PactStatus, len(w.Pacts)),
	}
	for i := range w.Pacts {
		p := &w.Pacts[i]
		at := PactStatus{Head: p.Head, Refused: why[p.Pact]}
		if p.Refused != "" {
			l.config.Log.Error("pact cannot run; its edits wait, other pacts go on", "pact", p.Pact, "reason", at.Refused)
		} else {
			if err := l.config.Engine.Step(greeted(&w, p)); err != nil {
				return w, local(err)
			}
			cursor, err := l.config.Memory.FeedCursor(p.Pact)
			if err != nil {
				return w, local(err)
			}
			at.Cursor = cursor.Offset
		}
		status.Pacts[p.Pact] = at
	}
	l.status.Store(&status)
	return w, nil
}

// ask greets without consequences. A pact whose document is not the one that
// this site accepted counts as refused; why says so for people.
func (l *Loop) ask(ctx context.Context, client *wire.Client) (w wire.Welcome, why map[crdt.Pact]string, err error) {
	incarnation, err := l.config.Memory.Incarnation()
	if err != nil {
		return w, nil, local(err)
	}
	ctx, cancel := context.WithTimeout(ctx, greetMax)
	defer cancel()
	hello := wire.Hello{
		Protocol: wire.Protocol, Software: l.config.Software,
		Incarnation: incarnation, Pacts: l.config.Pacts,
	}
	if w, err = client.Greet(ctx, hello); err != nil {
		return w, nil, err
	}
	l.heard()
	waits, again := map[crdt.Pact]string{}, false
	for i := range w.Pacts {
		inForce, missing, err := l.accept(ctx, client, &w.Pacts[i])
		if err != nil {
			return w, nil, err
		}
		waits[w.Pacts[i].Pact], again = missing, again || inForce
	}
	if again {
		if w, err = client.Greet(ctx, hello); err != nil {
			return w, nil, err
		}
	}
	why = map[crdt.Pact]string{}
	for i := range w.Pacts {
		p := &w.Pacts[i]
		if missing := waits[p.Pact]; missing != "" && (p.Refused != "" || l.config.Documents(*p) != nil) {
			p.Refused = wire.ReasonPactUnaccepted
			why[p.Pact] = string(p.Refused) + ": " + missing
		} else if p.Refused != "" {
			why[p.Pact] = string(p.Refused) + ": " + wire.Describe(p.Refused).Sentence
		} else if err := l.config.Documents(*p); err != nil {
			p.Refused = wire.ReasonPactVersion
			why[p.Pact] = string(p.Refused) + ": " + err.Error()
		}
	}
	return w, why, nil
}

// askAgain ends the session when other pacts may run than the ones that do.
func (l *Loop) askAgain(ctx context.Context, client *wire.Client, running int) error {
	for retry.Sleep(ctx, askAgainEvery) {
		w, _, err := l.ask(ctx, client)
		if err == nil && len(open(&w)) != running { // a hub in trouble breaks the streams by itself
			return errRegreet
		}
	}
	return ctx.Err()
}

// open lists the pacts that may run.
func open(w *wire.Welcome) (pacts []crdt.Pact) {
	for i := range w.Pacts {
		if w.Pacts[i].Refused == "" {
			pacts = append(pacts, w.Pacts[i].Pact)
		}
	}
	return pacts
}

// refusals says of each pact why it cannot run.
func (l *Loop) refusals() string {
	var all []string
	for pact, at := range l.status.Load().Pacts {
		all = append(all, fmt.Sprintf("%s: %s", pact, at.Refused))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func greeted(w *wire.Welcome, p *wire.PactState) func(int64) core.Event {
	authors := make([]core.AuthorState, len(p.Authors))
	for i, a := range p.Authors {
		authors[i] = core.AuthorState{Author: a.Author, Seen: a.Seen, Applied: a.Applied, Heard: a.Heard}
	}
	return func(now int64) core.Event {
		return core.Greeted{
			NowMillis: now, HubMillis: w.TimeMillis, Pact: p.Pact,
			Epoch: w.Epoch, Head: p.Head, Lineage: p.Lineage, Authors: authors,
		}
	}
}
