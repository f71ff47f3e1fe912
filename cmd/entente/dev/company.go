package dev

import (
	"github.com/entente-sync/entente/connectors/sandbox"
	"github.com/entente-sync/entente/crdt"
)

// People of the two companies.
const (
	ana = "ana@acme.example"
	ben = "ben@acme.example"
	gil = "gil@globex.example"
	kim = "kim@globex.example"
)

// company is one side before it runs.
type company struct {
	site       crdt.Site
	name       string // for people
	system     string
	bindings   string // name of its binding's file
	vocabulary sandbox.Vocabulary
	words      words
	people     []string
	seeds      []seed
}

// words is a vocabulary next to the pact's, written down apart from the
// bindings, so that the check has something to hold them against.
type words struct {
	fields map[string]string            // name in the pact: local name
	values map[string]map[string]string // field of the pact: local value: value in the pact
}

// local is the local name of a field of the pact.
func (w words) local(field string) string { return w.fields[field] }

// read turns a ticket's fields into the pact's words. A value without a word
// there is marked.
func (w words) read(fields map[string]string) map[string]string {
	out := map[string]string{}
	for field, local := range w.fields {
		text := fields[local]
		if table, mapped := w.values[field]; mapped {
			word, ok := table[text]
			if !ok {
				word = "unmapped: " + text
			}
			text = word
		}
		out[field] = text
	}
	return out
}

func acme() company {
	return company{
		site: "acme", name: "Acme", system: "tracker", bindings: "acme.yaml", vocabulary: sandbox.Tracker(),
		people: []string{ana, ben}, seeds: acmeSeeds(),
		words: words{
			fields: map[string]string{
				"title": "title", "description": "description", "status": "status",
				"priority": "priority", "assignee": "assignee",
			},
			values: map[string]map[string]string{
				"status": {
					"New": "new", "In Progress": "in_progress", "On Hold": "on_hold", "Resolved": "resolved",
					"Closed": "closed",
				},
				"priority": {"High": "high", "Normal": "normal", "Low": "low"},
			},
		},
	}
}

func globex() company {
	return company{
		site: "globex", name: "Globex", system: "desk", bindings: "globex.yaml", vocabulary: sandbox.Desk(),
		people: []string{kim, gil}, seeds: globexSeeds(),
		words: words{
			fields: map[string]string{
				"title": "subject", "description": "details", "status": "status",
				"priority": "priority", "assignee": "owner",
			},
			values: map[string]map[string]string{
				"status": {
					"open": "new", "pending": "in_progress", "on-hold": "on_hold", "solved": "resolved",
					"closed": "closed",
				},
				"priority": {"1": "high", "2": "high", "3": "normal", "4": "low"},
			},
		},
	}
}
