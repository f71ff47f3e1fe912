package pair

import (
	"context"
	"fmt"
)

// Seed makes n issues in Acme's Redmine, as its people would have before anybody
// thought of Entente: all statuses and priorities, some with comments, some of
// which are private.
func (p *Pair) Seed(ctx context.Context, n int) error {
	for i := range n {
		id, err := p.Redmine.Create(ctx, p.Redmine.Human, map[string]any{
			"subject":     fmt.Sprintf("[A-%02d] printer on floor %d", i+1, i%7),
			"description": fmt.Sprintf("It is broken.\n\nSince day %d, \"always\" <at> noon & 日本 🖨.", i),
			"priority_id": 1 + i%4,
		})
		if err != nil {
			return err
		}
		if i%3 == 1 {
			if err := p.Redmine.Edit(ctx, p.Redmine.Human, id, map[string]any{"status_id": 2}); err != nil {
				return err
			}
		}
		if i%10 == 0 {
			if err := p.Redmine.Comment(ctx, p.Redmine.Human, id, fmt.Sprintf("I saw it too, %d", i), false); err != nil {
				return err
			}
			if err := p.Redmine.Comment(ctx, p.Redmine.Human, id, Private, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// Opened is how many of n seeds Request Tracker opens by a rule of its own: new
// ones that are answered. That is an edit, and travels back to Acme.
func Opened(n int) (opened int) {
	for i := range n {
		if i%10 == 0 && i%3 != 1 {
			opened++
		}
	}
	return opened
}

// Private is what the seeds' private notes say: it must never reach Globex.
const Private = "CANARY the customer does not pay"
