package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/sandbox"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

const syncAccount = sandbox.Account

// step is one thing that people do, and what must come of it.
type step struct {
	name string
	run  func(*checker, context.Context) (detail string, err error)
}

func steps() []step {
	return []step{
		{"backfill", (*checker).backfill},
		{"create", (*checker).create},
		{"edit different fields at once", (*checker).editDifferent},
		{"edit the same field at once", (*checker).editSame},
		{"comment", (*checker).comments},
		{"delete refused by the pact", (*checker).deleteRefused},
		{"value without a mapping", (*checker).unmapped},
		{"rest", (*checker).rest},
	}
}

// backfill: the tickets that were there before the pact are on both sides.
func (c *checker) backfill(ctx context.Context) (string, error) {
	want := 2 * seedsPerSide
	err := c.until(ctx, func() string {
		for side, u := range c.users {
			if n := len(u.live()); n != want {
				return fmt.Sprintf("%s has %d tickets, want %d", c.world.Sides[side].name, n, want)
			}
		}
		return c.outOfStep()
	})
	return fmt.Sprintf("%d tickets with fields and comments are equal on both sides", want), err
}

// create: a new ticket of either side appears at the other, whole.
func (c *checker) create(ctx context.Context) (string, error) {
	out, err := c.created(ctx, 0, fieldsOf{
		"title": "check: made at Acme", "description": "first line\nsecond line",
		"status": "In Progress", "priority": "High", "assignee": ben,
	})
	if err != nil {
		return "", err
	}
	if there := c.at(out, 1); there["status"] != "in_progress" || there["priority"] != "high" || there["assignee"] != ben {
		return "", fmt.Errorf("equal, but not as made: %v", there)
	}
	back, err := c.created(ctx, 1, fieldsOf{"subject": "check: made at Globex", "priority": "4", "status": "on-hold"})
	return fmt.Sprintf("tracker %s is desk %s, desk %s is tracker %s", out[0], out[1], back[1], back[0]), err
}

// editDifferent: two edits of one ticket on different fields both survive.
func (c *checker) editDifferent(ctx context.Context) (string, error) {
	p, err := c.created(ctx, 0, fieldsOf{"title": "check: two fields"})
	if err != nil {
		return "", err
	}
	err = c.atOnce(ctx, p, [2]fieldsOf{{"status": "Resolved"}, {"details": "as Globex found it"}})
	if err != nil {
		return "", err
	}
	err = c.until(ctx, func() string {
		for side := range c.users {
			if at := c.at(p, side); at["status"] != "resolved" || at["description"] != "as Globex found it" {
				return fmt.Sprintf("%s shows %v", c.world.Sides[side].name, at)
			}
		}
		return ""
	})
	return "status of Acme and description of Globex are on both sides", err
}

// sameFieldTries bounds how often the step tries: an edit that the other side had
// seen is no conflict.
const sameFieldTries = 3

// editSame: of two edits of one field both sides show the same one, and the
// other is kept.
func (c *checker) editSame(ctx context.Context) (string, error) {
	p, err := c.created(ctx, 0, fieldsOf{"title": "check: one field"})
	if err != nil {
		return "", err
	}
	// The side that did not make the ticket knows the record's id.
	record, err := crdt.ParseRecordID(c.users[1].shown[p[1]].Correlation)
	if err != nil {
		return "", err
	}
	for try := range sameFieldTries {
		words := [2]string{fmt.Sprintf("Acme says %d", try), fmt.Sprintf("Globex says %d", try)}
		err := c.atOnce(ctx, p, [2]fieldsOf{{"description": words[0]}, {"details": words[1]}})
		if err != nil {
			return "", err
		}
		bounded, cancel := context.WithTimeout(ctx, stepMax/sameFieldTries/2)
		var winner string
		err = c.until(bounded, func() string {
			if wrong := c.unequal(p); wrong != "" {
				return wrong
			}
			winner = c.at(p, 0)["description"]
			for side, word := range words {
				if winner == word {
					return c.keptLoser(record, words[1-side])
				}
			}
			return fmt.Sprintf("both show %q, which nobody wrote last", winner)
		})
		cancel()
		if err == nil {
			return fmt.Sprintf("both show %q; the other text is in an open conflict record", winner), nil
		}
		if wrong := c.unequal(p); wrong != "" || ctx.Err() != nil {
			return "", err
		}
	}
	return "", errors.New("both sides are equal, but no conflict record keeps the other text")
}

// keptLoser says whether the hub has an open conflict record of a description.
func (c *checker) keptLoser(record crdt.RecordID, lost string) string {
	after := crdt.Position{}
	for {
		slice, err := c.world.Hub.State().Feed(c.world.pact.Name, after, 1024, 1<<20)
		if err != nil {
			return err.Error()
		}
		entries, err := slice.Decode()
		if err != nil {
			return err.Error()
		}
		for _, s := range entries {
			op := &s.Register.Op
			if op.Key.Record != record || !op.Key.Field.IsLost() {
				continue
			}
			l, err := crdt.DecodeLost(op)
			if err != nil {
				return err.Error()
			}
			v, err := crdt.OpenPlain(l.Loser.Value)
			if err == nil && l.State == crdt.LostOpen && v.Equal(value.Text(lost)) {
				return ""
			}
		}
		if after = slice.Cursor; after.Offset >= slice.Head {
			return fmt.Sprintf("no open conflict record keeps %q", lost)
		}
	}
}

// comments: a public one crosses once, with a byline; an internal one stays.
func (c *checker) comments(ctx context.Context) (string, error) {
	p, err := c.created(ctx, 1, fieldsOf{"subject": "check: comments"})
	if err != nil {
		return "", err
	}
	for side, u := range c.users {
		name := c.world.Sides[side].name
		err := errors.Join(
			u.comment(ctx, p[side], "internal at "+name, true),
			u.comment(ctx, p[side], "public at "+name, false))
		if err != nil {
			return "", err
		}
	}
	err = c.until(ctx, func() string {
		a, b := c.users[0].shown[p[0]], c.users[1].shown[p[1]]
		if wrong := crossed(a, b); wrong != "" {
			return wrong
		}
		return crossed(b, a)
	})
	return "one public comment each way, with byline; the internal ones stayed", err
}

// deleteRefused: the pact lets nobody's delete travel. The other side keeps the
// ticket, and a hold says why.
func (c *checker) deleteRefused(ctx context.Context) (string, error) {
	const title = "check: deleted at Acme"
	p, err := c.created(ctx, 0, fieldsOf{"title": title})
	if err != nil {
		return "", err
	}
	c.gone[title] = p
	if err := c.users[0].remove(ctx, p[0]); err != nil {
		return "", err
	}
	held, err := c.untilHeld(ctx, 0, p[0], "", "record.deleted_here")
	if err != nil {
		return "", err
	}
	// rest looks again whether Globex still has it.
	return fmt.Sprintf("Globex keeps it; Acme's hold: %s", held.Message), c.until(ctx, c.outOfStep)
}

// unmapped: a value that the binding does not know holds its field; the others
// flow, and so does the field once it is mended.
func (c *checker) unmapped(ctx context.Context) (string, error) {
	p, err := c.created(ctx, 0, fieldsOf{"title": "check: unmapped", "priority": "Low"})
	if err != nil {
		return "", err
	}
	if err := c.users[0].edit(ctx, p[0], fieldsOf{"priority": "Urgent", "status": "On Hold"}); err != nil {
		return "", err
	}
	held, err := c.untilHeld(ctx, 0, p[0], "priority", "value.unmapped")
	if err != nil {
		return "", err
	}
	err = c.until(ctx, func() string {
		if at := c.at(p, 1); at["status"] != "on_hold" || at["priority"] != "low" {
			return fmt.Sprintf("Globex shows %v", at)
		}
		return ""
	})
	if err != nil {
		return "", err
	}
	if err := c.users[0].edit(ctx, p[0], fieldsOf{"priority": "High"}); err != nil {
		return "", err
	}
	err = c.until(ctx, func() string {
		if holds, err := c.holds(ctx, 0, p[0]); err != nil || len(holds) > 0 {
			return fmt.Sprintf("%d holds, %v", len(holds), err)
		}
		return c.unequal(p)
	})
	return fmt.Sprintf("the status flowed while the priority was held (%s); mended, it flowed, too", held.Message), err
}

// rest: nobody edits, so nobody writes; what was written was no echo, and both
// systems are equal, without duplicates.
func (c *checker) rest(ctx context.Context) (string, error) {
	if err := c.until(ctx, c.outOfStep); err != nil {
		return "", err
	}
	if err := c.idle(ctx); err != nil {
		return "", err
	}
	before := c.writes()
	timer := time.NewTimer(quietFor)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
	}
	if after := c.writes(); after != before {
		return "", fmt.Errorf("writes at rest: %v became %v within %s", before, after, quietFor)
	}
	for _, s := range c.world.Sides {
		if vain := s.Sandbox.System().Counts().Vain; len(vain) > 0 {
			return "", fmt.Errorf("%d writes to %s changed nothing: echoes", total(vain), s.name)
		}
	}
	if err := c.until(ctx, c.outOfStep); err != nil {
		return "", err
	}
	return fmt.Sprintf("no write within %s, no echo and no duplicate in %d + %d writes", quietFor, before[0], before[1]), nil
}

// idle waits until both agents have nothing left to do.
func (c *checker) idle(ctx context.Context) error {
	return c.until(ctx, func() string {
		for _, s := range c.world.Sides {
			st, err := s.Admin().Status(ctx)
			if err != nil {
				return err.Error()
			}
			for _, p := range st.Pacts {
				if p.Outbox > 0 || p.Cursor != p.Head {
					return fmt.Sprintf("%s: outbox %d, feed %d of %d", s.name, p.Outbox, p.Cursor, p.Head)
				}
			}
			for _, sys := range st.Systems {
				if sys.Reads+sys.Intents > 0 {
					return fmt.Sprintf("%s: %d reads and %d writes wait", s.name, sys.Reads, sys.Intents)
				}
			}
		}
		return ""
	})
}

// writes is what the agents have written to the two systems.
func (c *checker) writes() (n [2]int) {
	for i, s := range c.world.Sides {
		n[i] = s.Sandbox.System().Counts().Writes()
	}
	return n
}

func total(m map[connectors.Key]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}
