package dev

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/agent/admin"
)

// Bounds of the check.
const (
	stepMax   = 60 * time.Second        // one step
	lookEvery = 25 * time.Millisecond   // between two looks
	quietFor  = 1500 * time.Millisecond // at rest, nothing may be written for so long
)

// Report is what a check found.
type Report struct {
	Command string       `json:"command"`
	OK      bool         `json:"ok"`
	Summary string       `json:"summary"`
	Steps   []StepReport `json:"steps"`
}

// StepReport is one step of a check.
type StepReport struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Millis int64  `json:"millis"`
	Detail string `json:"detail"`
}

// Check does what people would do at both ticket systems, over their HTTP API,
// and looks at what comes of it. The world must be running. The steps after a
// failed one are not tried.
func (w *World) Check(ctx context.Context) Report {
	c := &checker{world: w, gone: map[string]pair{}}
	for _, s := range w.Sides {
		c.users = append(c.users, newUser(s))
	}
	report := Report{Command: "dev --check", OK: true}
	began := time.Now()
	all := steps()
	for _, step := range all {
		bounded, cancel := context.WithTimeout(ctx, stepMax)
		start := time.Now()
		detail, err := step.run(c, bounded)
		cancel()
		one := StepReport{Name: step.name, OK: err == nil, Millis: time.Since(start).Milliseconds(), Detail: detail}
		if err != nil {
			one.Detail, report.OK = err.Error(), false
		}
		report.Steps = append(report.Steps, one)
		if err != nil {
			break
		}
	}
	report.Summary = fmt.Sprintf("%d of %d steps hold, in %s", passed(report.Steps), len(all),
		time.Since(began).Round(time.Millisecond))
	return report
}

func passed(steps []StepReport) (n int) {
	for _, s := range steps {
		if s.OK {
			n++
		}
	}
	return n
}

// checker is one check under way. Index 0 is Acme, 1 is Globex.
type checker struct {
	world *World
	users []*user
	// gone are tickets, by title, that Acme deleted and Globex keeps.
	gone map[string]pair
}

// pair is one ticket on both sides, by key.
type pair [2]string

// shared are the fields of the pact that the check compares.
func (c *checker) shared(side int, t ticket) map[string]string {
	fields := make(map[string]string, len(t.Fields))
	for name, v := range t.Fields {
		fields[name] = string(v)
	}
	return c.world.Sides[side].words.read(fields)
}

// at returns what one side shows of a pair, in the pact's words.
func (c *checker) at(p pair, side int) map[string]string {
	return c.shared(side, c.users[side].shown[p[side]])
}

// until looks at both systems until wrong has nothing to say; at the end of
// ctx its last words are the error.
func (c *checker) until(ctx context.Context, wrong func() string) error {
	last := "never looked"
	for {
		for _, u := range c.users {
			if err := u.look(ctx); err != nil {
				return c.late(ctx, last, err)
			}
		}
		if last = wrong(); last == "" {
			return nil
		}
		timer := time.NewTimer(lookEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return c.late(ctx, last, ctx.Err())
		case <-timer.C:
		}
	}
}

func (c *checker) late(ctx context.Context, last string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("too late: %s", last)
	}
	return err
}

// atOnce makes both edits without waiting for either.
func (c *checker) atOnce(ctx context.Context, p pair, edits [2]fieldsOf) error {
	errs := make(chan error, len(edits))
	for side, fields := range edits {
		go func() { errs <- c.users[side].edit(ctx, p[side], fields) }()
	}
	return errors.Join(<-errs, <-errs)
}

// created makes a ticket on one side and waits for it on the other.
func (c *checker) created(ctx context.Context, from int, fields fieldsOf) (pair, error) {
	var p pair
	key, err := c.users[from].create(ctx, fields)
	if err != nil {
		return p, err
	}
	to := 1 - from
	title := fields[c.world.Sides[from].words.local("title")]
	err = c.until(ctx, func() string {
		for _, t := range c.users[to].live() {
			if c.shared(to, t)["title"] == title {
				p[from], p[to] = key, t.Key
				return c.unequal(p)
			}
		}
		return fmt.Sprintf("%s has no ticket %q", c.world.Sides[to].name, title)
	})
	return p, err
}

// unequal says in which fields the two sides of a pair differ, "" for none.
func (c *checker) unequal(p pair) string {
	a, b := c.at(p, 0), c.at(p, 1)
	for _, field := range slices.Sorted(maps.Keys(a)) {
		if a[field] != b[field] {
			return fmt.Sprintf("%s: %q at %s, %q at %s", field, a[field], c.world.Sides[0].name, b[field], c.world.Sides[1].name)
		}
	}
	return ""
}

// holds returns what waits for a person at one side about a ticket.
func (c *checker) holds(ctx context.Context, side int, key string) ([]admin.Hold, error) {
	all, err := c.world.Sides[side].Admin().Holds(ctx)
	return slices.DeleteFunc(all, func(h admin.Hold) bool { return h.Key != key }), err
}

// untilHeld waits until a side holds something of a ticket for that reason.
func (c *checker) untilHeld(ctx context.Context, side int, key, field, code string) (held admin.Hold, err error) {
	err = c.until(ctx, func() string {
		holds, err := c.holds(ctx, side, key)
		if err != nil {
			return err.Error()
		}
		for _, h := range holds {
			if h.Field == field && h.Code == code {
				held = h
				return ""
			}
		}
		return fmt.Sprintf("%s holds nothing of ticket %s with code %s", c.world.Sides[side].name, key, code)
	})
	return held, err
}

// outOfStep says where the two systems differ: a ticket without a twin, a
// duplicate, a field, a comment that is missing, doubled or should have stayed.
func (c *checker) outOfStep() string {
	for title, p := range c.gone {
		if kept := c.users[1].shown[p[1]]; kept.Deleted {
			return fmt.Sprintf("%s lost %q", c.world.Sides[1].name, title)
		}
	}
	var byTitle [2]map[string]ticket
	for side := range byTitle {
		byTitle[side] = map[string]ticket{}
		for _, t := range c.users[side].live() {
			title := c.shared(side, t)["title"]
			if _, gone := c.gone[title]; gone {
				continue
			}
			if _, twice := byTitle[side][title]; twice {
				return fmt.Sprintf("%s has %q twice", c.world.Sides[side].name, title)
			}
			byTitle[side][title] = t
		}
	}
	for side := range byTitle {
		for title, t := range byTitle[side] {
			twin, ok := byTitle[1-side][title]
			if !ok {
				return fmt.Sprintf("%s has no ticket %q", c.world.Sides[1-side].name, title)
			}
			if side == 0 {
				if wrong := c.unequal(pair{t.Key, twin.Key}); wrong != "" {
					return fmt.Sprintf("%q: %s", title, wrong)
				}
			}
			if wrong := crossed(t, twin); wrong != "" {
				return fmt.Sprintf("%q: %s", title, wrong)
			}
		}
	}
	return ""
}

// crossed says which comment of a ticket's people is not shown as it should be
// at its twin.
func crossed(from, to ticket) string {
	public := 0
	for _, said := range from.Comments {
		if said.Author.Name == syncAccount {
			continue
		}
		copies := 0
		for _, there := range to.Comments {
			if strings.Contains(there.Body, said.Body) {
				copies++
				if !said.Internal && (there.Author.Name != syncAccount || !strings.HasSuffix(there.Body, "\n\n"+said.Body) ||
					!strings.Contains(there.Body, said.Author.Name)) {
					return fmt.Sprintf("a comment crossed without its byline: %q", there.Body)
				}
			}
		}
		switch {
		case said.Internal && copies > 0:
			return "an internal comment crossed"
		case !said.Internal && copies != 1:
			return fmt.Sprintf("a comment is shown %d times at the other side", copies)
		}
		if !said.Internal {
			public++
		}
	}
	if written := slices.DeleteFunc(slices.Clone(to.Comments), func(k comment) bool { return k.Author.Name != syncAccount }); len(written) != public {
		return fmt.Sprintf("%d comments for %d", len(written), public)
	}
	return ""
}
