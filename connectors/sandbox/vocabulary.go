package sandbox

import (
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// Vocabulary is how one sandbox names things, so that two of them need a
// binding in between, as real systems do.
type Vocabulary struct {
	Name   string // "tracker"
	Fields []connectors.FieldSchema
	// Title is the field that lists show.
	Title string
	// Defaults are what a new ticket has unless told otherwise.
	Defaults map[string]value.Value
}

// Tracker speaks like an issue tracker of a development team.
func Tracker() Vocabulary {
	return Vocabulary{
		Name: "tracker", Title: "title",
		Fields: []connectors.FieldSchema{
			{Name: "assignee", Label: "Assignee (e-mail)", Kind: connectors.FieldPerson},
			{Name: "description", Label: "Description", Kind: connectors.FieldRichText},
			{Name: "labels", Label: "Labels (comma separated)", Kind: connectors.FieldSet},
			{Name: "priority", Label: "Priority", Kind: connectors.FieldEnum, Values: []string{"Low", "Normal", "High", "Urgent"}},
			{Name: "status", Label: "Status", Kind: connectors.FieldEnum, Values: []string{"New", "In Progress", "On Hold", "Resolved", "Closed"}},
			{Name: "title", Label: "Title", Kind: connectors.FieldText, Required: true},
		},
		Defaults: map[string]value.Value{"priority": value.Text("Normal"), "status": value.Text("New")},
	}
}

// Desk speaks like a service desk; its priorities are numbers, 1 the highest.
func Desk() Vocabulary {
	return Vocabulary{
		Name: "desk", Title: "subject",
		Fields: []connectors.FieldSchema{
			{Name: "details", Label: "Details", Kind: connectors.FieldRichText},
			{Name: "owner", Label: "Owner (e-mail)", Kind: connectors.FieldPerson},
			{Name: "priority", Label: "Priority", Kind: connectors.FieldEnum, Values: []string{"1", "2", "3", "4"}},
			{Name: "status", Label: "Status", Kind: connectors.FieldEnum, Values: []string{"open", "pending", "on-hold", "solved", "closed"}},
			{Name: "subject", Label: "Subject", Kind: connectors.FieldText, Required: true},
			{Name: "tags", Label: "Tags (comma separated)", Kind: connectors.FieldSet},
		},
		Defaults: map[string]value.Value{"priority": value.Text("3"), "status": value.Text("open")},
	}
}
