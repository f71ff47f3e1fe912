package dev

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	stormEdits = 60 // by each of the people
	stormSeed  = 7
	paceMax    = 20 * time.Millisecond
)

// TestStorm lets people of both sides edit everything at once. Whatever the
// order, both systems end equal, each comment is shown once, and no agent wrote
// what was there already.
func TestStorm(t *testing.T) {
	t.Parallel()
	w := run(t, 20*time.Millisecond)
	c := &checker{world: w, gone: map[string]pair{}}
	for _, s := range w.Sides {
		c.users = append(c.users, newUser(s))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*stepMax)
	defer cancel()
	if _, err := c.backfill(ctx); err != nil {
		t.Fatal(err)
	}
	group, gctx := errgroup.WithContext(ctx)
	for side, s := range w.Sides {
		for person := range 2 {
			group.Go(func() error {
				random := rand.New(rand.NewPCG(stormSeed, uint64(2*side+person)))
				return storm(gctx, s, newUser(s), person, random)
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	detail, err := c.rest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(detail)
}

// storm does what one person does in a hurry.
func storm(ctx context.Context, s *Side, u *user, person int, random *rand.Rand) error {
	for i := range stormEdits {
		key := fmt.Sprint(1 + random.IntN(2*seedsPerSide))
		text := fmt.Sprintf("%s %d-%d", s.name, person, i)
		var err error
		switch random.IntN(10) {
		case 0:
			_, err = u.create(ctx, fieldsOf{s.words.local("title"): text})
		case 1:
			err = u.comment(ctx, key, "<"+text+">", random.IntN(3) == 0)
		case 2, 3:
			err = u.edit(ctx, key, fieldsOf{s.words.local("description"): text})
		case 4:
			err = u.edit(ctx, key, fieldsOf{s.words.local("assignee"): pick(random, ana, ben, gil, kim)})
		case 5:
			err = u.edit(ctx, key, fieldsOf{
				s.words.local("status"): word(random, s, "status"), s.words.local("priority"): word(random, s, "priority"),
			})
		default:
			field := pick(random, "status", "priority")
			err = u.edit(ctx, key, fieldsOf{s.words.local(field): word(random, s, field)})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(paceMax)))) // as people do: the agents come in between
	}
	return nil
}

func pick(random *rand.Rand, words ...string) string { return words[random.IntN(len(words))] }

// word is any local word for a field with a table.
func word(random *rand.Rand, s *Side, field string) string {
	for _, f := range s.vocabulary.Fields {
		if f.Name != s.words.local(field) {
			continue
		}
		for {
			if w := pick(random, f.Values...); s.words.values[field][w] != "" {
				return w
			}
		}
	}
	return strings.ToUpper(field) // no such field: the system refuses it
}
