package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/retry"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// offer brings a hub of a new epoch what it may have lost, part by part: the
// next one goes out when the one before is answered and the answer is stored.
func (l *Loop) offer(ctx context.Context, client *wire.Client, epoch crdt.Epoch, pact crdt.Pact) error {
	part, open, err := l.config.Memory.NextOffer(pact)
	if err != nil {
		return local(err)
	}
	if !open {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := client.Offer(ctx)
	if err != nil {
		return fmt.Errorf("offer to %s: %w", pact, err)
	}
	silence := time.AfterFunc(l.config.SilenceMax, func() { cancel(errUnanswered) })
	defer silence.Stop()
	l.updatePact(pact, func(at *PactStatus) { at.Offering = true })
	l.config.Log.Warn("the hub has a new epoch: it is brought what this agent holds", "pact", pact)
	backoff := retry.Backoff{Min: restMin, Max: restMax}
	for id := uint64(1); open; id++ {
		silence.Reset(l.config.SilenceMax)
		result, err := ask(stream, offerOf(id, pact, epoch, &part))
		silence.Stop()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("offer to %s: %w", pact, regreet(err))
		}
		l.heard()
		answered, wait, err := l.answered(pact, epoch, &part, &result)
		if err != nil {
			return err
		}
		if !answered {
			retry.Sleep(ctx, max(backoff.Next(), min(wait, retryAfterMax)))
			continue
		}
		backoff.Reset()
		if part, open, err = l.config.Memory.NextOffer(pact); err != nil {
			return local(err)
		}
	}
	l.updatePact(pact, func(at *PactStatus) { at.Offering = false })
	return nil
}

// updatePact changes the status of one pact.
func (l *Loop) updatePact(pact crdt.Pact, change func(*PactStatus)) {
	l.update(func(s *Status) {
		at := s.Pacts[pact]
		change(&at)
		s.Pacts[pact] = at
	})
}

func ask(stream *wire.OfferClient, part wire.Offer) (wire.BatchResult, error) {
	if err := stream.Send(part); err != nil && !errors.Is(err, io.EOF) { // at EOF, Recv knows why
		return wire.BatchResult{}, err
	}
	result, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		err = errors.New("the hub ended the stream")
	}
	want := len(part.Registers)
	if part.End != nil {
		want++
	}
	if err == nil && (result.Batch != part.ID || len(result.Results) != want) {
		err = fmt.Errorf("the hub answered part %d with %d results, want part %d with %d",
			result.Batch, len(result.Results), part.ID, want)
	}
	return result, err
}

func offerOf(id uint64, pact crdt.Pact, epoch crdt.Epoch, part *core.OfferPart) wire.Offer {
	o := wire.Offer{ID: id, Pact: pact, Epoch: epoch, Lineage: part.Older, Registers: make([]wire.Offered, len(part.Registers))}
	for i := range part.Registers {
		o.Registers[i] = wire.Offered{Op: part.Registers[i].Op, Birth: part.Registers[i].Birth}
	}
	if part.End {
		o.End = &wire.OfferEnd{After: part.After, Held: part.Held}
	}
	return o
}

// answered hands an answer to the core; false if the part must be sent again.
func (l *Loop) answered(pact crdt.Pact, epoch crdt.Epoch, part *core.OfferPart, result *wire.BatchResult) (bool, time.Duration, error) {
	ev := core.Offered{Pact: pact, Epoch: epoch, Next: part.Next}
	for i, r := range result.Results {
		end := i == len(part.Registers)
		switch {
		case r.Outcome == wire.OutcomeApplied && end:
			ev.Done = true
		case r.Outcome == wire.OutcomeApplied:
			ev.Taken++
		case r.Outcome == wire.OutcomeRefused && end:
			return false, 0, fmt.Errorf("offer to %s: the end is refused: %w", pact, wire.Errorf(r.Reason, ""))
		case r.Outcome == wire.OutcomeRefused:
			ev.Refused++
			l.config.Log.Error("the hub does not take a register back", "pact", pact, "reason", r.Reason,
				"record", part.Registers[i].Op.Key.Record.String(), "field", part.Registers[i].Op.Key.Field)
		case r.Reason == wire.ReasonLeaderMoved:
			l.leader = result.Leader
			return false, 0, errMoved
		case r.Reason == wire.ReasonEpochChanged:
			return false, 0, errRegreet
		default:
			l.updatePact(pact, func(at *PactStatus) { at.Delayed = r.Reason })
			return false, result.RetryAfter, nil
		}
	}
	l.updatePact(pact, func(at *PactStatus) { at.Delayed = "" })
	return true, 0, local(l.config.Engine.Step(func(now int64) core.Event {
		ev.NowMillis = now
		return ev
	}))
}

// accept tells the hub which pact this site accepted, where the hub lacks it or
// has an older version. It reports whether that put the pact in force; if not, why
// says who is missing. Only the leader takes such a word: the error is that another
// node leads.
func (l *Loop) accept(ctx context.Context, client *wire.Client, p *wire.PactState) (inForce bool, why string, err error) {
	document, version := l.config.Document(p.Pact)
	if document == nil || p.Refused != wire.ReasonPactUnknown && (p.Refused != "" || p.Version >= version) {
		return false, "", nil
	}
	got, err := client.OfferPact(ctx, document)
	switch {
	case wire.ReasonOf(err) == wire.ReasonPactVersion:
		return false, "", nil // another text is in force: that is for people to settle
	case wire.ReasonOf(err) == wire.ReasonLeaderMoved:
		return false, "", err
	case err != nil:
		return false, "the hub does not take the accepted version: " + err.Error(), nil
	case len(got.Missing) > 0:
		return false, fmt.Sprintf("version %d waits for the word of %s", version, join(got.Missing)), nil
	}
	return true, "", nil
}

func join(sites []crdt.Site) (out string) {
	for i, site := range slices.Sorted(slices.Values(sites)) {
		if i > 0 {
			out += ", "
		}
		out += string(site)
	}
	return out
}
