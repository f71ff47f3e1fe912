package redmine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// Local fields. Custom fields go by their own names.
const (
	fieldSubject     = "subject"
	fieldDescription = "description"
	fieldStatus      = "status"
	fieldPriority    = "priority"
	fieldTracker     = "tracker"
	fieldAssignee    = "assigned_to"
	fieldDoneRatio   = "done_ratio"
	fieldDueDate     = "due_date"
)

// fieldOf maps the names in a journal to ours.
var fieldOf = map[string]string{
	"subject": fieldSubject, "description": fieldDescription, "status_id": fieldStatus, "priority_id": fieldPriority,
	"tracker_id": fieldTracker, "assigned_to_id": fieldAssignee, "done_ratio": fieldDoneRatio, "due_date": fieldDueDate,
}

// labelOf are the words of Redmine's English refusals.
var labelOf = map[string]string{
	"Subject": fieldSubject, "Description": fieldDescription, "Status": fieldStatus, "Priority": fieldPriority,
	"Tracker": fieldTracker, "Assignee": fieldAssignee, "% Done": fieldDoneRatio, "Due date": fieldDueDate,
}

// Discover lists the standard fields and the project's custom fields.
func (c *client) Discover(ctx context.Context) (connectors.Schema, error) {
	n, err := c.directory(ctx, "discover")
	if err != nil {
		return connectors.Schema{}, err
	}
	fields := []connectors.FieldSchema{
		{Name: fieldSubject, Label: "Subject", Kind: connectors.FieldText, Required: true},
		{Name: fieldDescription, Label: "Description", Kind: connectors.FieldRichText},
		{Name: fieldStatus, Label: "Status", Kind: connectors.FieldEnum, Values: n.statuses.list},
		{Name: fieldPriority, Label: "Priority", Kind: connectors.FieldEnum, Values: n.priorities.list},
		{Name: fieldTracker, Label: "Tracker", Kind: connectors.FieldEnum, Values: n.trackers.list},
		{Name: fieldAssignee, Label: "Assignee", Kind: connectors.FieldPerson},
		{Name: fieldDoneRatio, Label: "% Done", Kind: connectors.FieldNumber},
		{Name: fieldDueDate, Label: "Due date", Kind: connectors.FieldDate},
	}
	for _, name := range n.custom.list {
		if name != c.correlation && !standard(name) {
			fields = append(fields, connectors.FieldSchema{Name: name, Label: name, Kind: connectors.FieldText, Custom: true})
		}
	}
	slices.SortFunc(fields, func(a, b connectors.FieldSchema) int { return strings.Compare(a.Name, b.Name) })
	return connectors.Schema{Fields: fields}, nil
}

// standard reports names that a custom field can't take.
func standard(name string) bool {
	for _, f := range fieldOf {
		if f == name {
			return true
		}
	}
	return false
}

// text is a text as we show it: LF, and null if empty.
func text(s string) value.Value {
	if s == "" {
		return value.Null()
	}
	return value.Text(strings.ReplaceAll(s, "\r\n", "\n"))
}

// date reads "2026-11-30"; "" is null.
func date(s string) (value.Value, bool) {
	if s == "" {
		return value.Null(), true
	}
	t, err := time.Parse(time.DateOnly, s)
	return value.Date(t), err == nil
}
