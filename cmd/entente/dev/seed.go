package dev

import (
	"fmt"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/sandbox"
	"github.com/entente-sync/entente/crdt/value"
)

// seedsPerSide is how many tickets each sandbox begins with.
const seedsPerSide = 10

// seed is one ticket in the words of the system that it begins in.
type seed struct {
	title, description, status, priority, assignee string
	comments                                       []remark
}

// remark is a comment; the internal ones must never leave.
type remark struct {
	text     string
	internal bool
}

func said(text string) remark  { return remark{text: text} }
func noted(text string) remark { return remark{text: text, internal: true} }

// plant fills a sandbox as its people would have.
func plant(s *sandbox.Server, who company, seeds []seed) error {
	for i, t := range seeds {
		person := who.people[i%len(who.people)]
		fields := map[string]value.Value{}
		for name, text := range map[string]string{
			"title": t.title, "description": t.description, "status": t.status, "priority": t.priority, "assignee": t.assignee,
		} {
			if text != "" {
				fields[who.words.local(name)] = value.Text(text)
			}
		}
		key := s.Seed(person, fields)
		if err := remarkOn(s, key, person, t.comments); err != nil {
			return fmt.Errorf("ticket %s: %w", key, err)
		}
	}
	return nil
}

func remarkOn(s *sandbox.Server, key connectors.Key, person string, remarks []remark) error {
	for _, r := range remarks {
		if _, err := s.System().AddComment(person, key, r.text, r.internal, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// acmeSeeds are what Acme's developers work on.
func acmeSeeds() []seed {
	return []seed{
		{
			"Checkout fails for cards with a 19-digit number", "The payment form cuts the number after 16 digits.\n\nSeen with two Globex customers.", "In Progress", "High", ana,
			[]remark{said("Reproduced on staging with a test card."), noted("Root cause is our own regular expression. Say nothing about it before the fix is out.")},
		},
		{
			"Export of invoices is slow for more than 5000 rows", "Takes about 4 minutes; a time-out follows at 5.", "New", "Normal", ben,
			[]remark{said("An index on the date column is missing.")},
		},
		{"Dark mode: unreadable text in the report dialog", "White on light grey.", "New", "Low", "", nil},
		{
			"Webhook is delivered twice after a restart", "The queue is read again from the last checkpoint.", "On Hold", "High", ana,
			[]remark{said("Waiting for Globex to tell us whether they see it, too.")},
		},
		{"Add an API for bulk assignment", "POST /v2/assignments with up to 500 ids.", "In Progress", "Normal", ben, nil},
		{
			"Wrong currency symbol in Swiss invoices", "Shows € instead of CHF.", "Resolved", "Normal", ben,
			[]remark{said("Fixed in 4.2.1.")},
		},
		{"Login page: tab order skips the second factor", "", "New", "Low", "", nil},
		{
			"Nightly backup reports success without a file", "The exit code of the upload is dropped.", "In Progress", "High", ana,
			[]remark{noted("Last good backup is from Thursday.")},
		},
		{"Umlauts are lost in file names: Rechnung März.pdf", "Äpfel, naïve, 東京 and 🚀 all become question marks.", "New", "Normal", ana, nil},
		{"Remove the old search page", "Nobody has opened it for 90 days.", "Closed", "Low", "", nil},
	}
}

// globexSeeds are what Globex's customers call about.
func globexSeeds() []seed {
	return []seed{
		{
			"Customer cannot download the March invoice", "Error 502 after about a minute.", "open", "2", kim,
			[]remark{said("Customer tries again on Monday."), noted("They are about to renew; treat with care.")},
		},
		{"Printer on floor 3 prints only blank pages", "Toner was changed this morning.", "pending", "4", gil, nil},
		{
			"Report e-mail arrives twice every night", "Since the maintenance on Sunday.", "open", "2", kim,
			[]remark{said("Two copies, one minute apart.")},
		},
		{"Please reset the second factor of Mrs. Novák", "New telephone.", "solved", "3", gil, []remark{said("Done, she is in again.")}},
		{
			"The status page says green while the shop is down", "Between 9:12 and 9:40.", "open", "1", kim,
			[]remark{said("Three customers called."), noted("Ask Acme before we answer in public.")},
		},
		{"Need access to the archive of 2019", "", "on-hold", "4", "", nil},
		{"Shop shows prices without tax for Austria", "All products, since this morning.", "pending", "1", kim, nil},
		{
			"Mobile app closes when a photo is attached", "Version 7.3, only on older telephones.", "open", "3", gil,
			[]remark{said("Works with photos below 5 MB.")},
		},
		{"Question about the retention of chat logs", "The customer asks for 30 days instead of 90.", "closed", "4", gil, nil},
		{"Search finds nothing for words with a hyphen", "\"e-bike\" gives no result, \"ebike\" does.", "open", "3", "", nil},
	}
}
