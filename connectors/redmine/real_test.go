package redmine

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/realtest"
	"github.com/entente-sync/entente/crdt/value"
)

// beyond tries what the conformance suite does not know of, in a project of
// its own.
func beyond(t *testing.T, machine *realtest.RedmineServer) {
	if err := machine.NewProject(t.Context(), "beyond"); err != nil {
		t.Fatal(err)
	}
	s := *machine
	s.Project = "beyond"
	c, err := open(settings(&s, s.Service))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("sweep", func(t *testing.T) { sweep(t, &s, c) })
	t.Run("every field", func(t *testing.T) { everyField(t, &s, c) })
	t.Run("forbidden", func(t *testing.T) { forbidden(t, &s, c) })
	t.Run("moved away", func(t *testing.T) { movedAway(t, &s, c) })
}

// sweep backfills more than a page while the first issue moves.
func sweep(t *testing.T, s *realtest.RedmineServer, c connectors.Connector) {
	const issues = 7
	left := map[connectors.Key]bool{}
	for i := range issues {
		id, err := s.Create(t.Context(), s.Human, map[string]any{"subject": "issue " + strconv.Itoa(i)})
		if err != nil {
			t.Fatal(err)
		}
		left[connectors.Key(id)] = true
	}
	var at connectors.Cursor
	first, pages := connectors.Key(""), 0
	for more := true; more; pages++ {
		page, err := c.Changes(t.Context(), at, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Refs {
			delete(left, r.Key)
		}
		if first == "" {
			first = page.Refs[0].Key
			if err := s.Edit(t.Context(), s.Human, string(first), map[string]any{"subject": "moved"}); err != nil {
				t.Fatal(err)
			}
		}
		at, more = page.Next, page.More
	}
	if len(left) > 0 || pages != (issues+1)/2 {
		t.Errorf("%d issues were not listed in %d pages", len(left), pages)
	}
	page, err := c.Changes(t.Context(), at, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range page.Refs {
		found = found || r.Key == first
	}
	if !found {
		t.Error("the issue that moved during the sweep is not listed after it")
	}
}

// everyField writes every kind of field and finds it in fields and history.
func everyField(t *testing.T, s *realtest.RedmineServer, c connectors.Connector) {
	made, err := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteCreate, Fields: map[string]value.Value{
		"subject": value.Text("fields"), "assigned_to": value.Text(s.Human.Email), "Region": value.Text("north"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]value.Value{
		"description": value.Text("text"), "status": value.Text("Resolved"), "priority": value.Text("Urgent"),
		"tracker": value.Text("Support"), "assigned_to": value.Text(s.Service.Email), "done_ratio": value.Int(40),
		"due_date": value.Date(time.Date(2030, 2, 28, 0, 0, 0, 0, time.UTC)), "Region": value.Text("south"),
	}
	if _, err := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteUpdate, Key: made.Key, Fields: fields}); err != nil {
		t.Fatal(err)
	}
	rec, err := c.Read(t.Context(), made.Key)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]value.Value{}
	for _, h := range rec.History {
		last[h.Field] = h.New
	}
	for field, want := range fields {
		if got := rec.Fields[field]; !got.Equal(want) {
			t.Errorf("%s shows %v, want %v", field, got, want)
		}
		if got := last[field]; !got.Equal(want) {
			t.Errorf("%s is %v in history, want %v", field, got, want)
		}
	}
	for _, h := range rec.History {
		if h.Field == "assigned_to" && h.Old.AsText() != s.Human.Email {
			t.Errorf("assigned_to was %v", h.Old)
		}
	}
	if rec.CreatedBy.Email != s.Service.Email {
		t.Errorf("created by %+v", rec.CreatedBy)
	}
}

// forbidden: what Redmine refuses or drops names its field.
func forbidden(t *testing.T, s *realtest.RedmineServer, c connectors.Connector) {
	id, err := s.Create(t.Context(), s.Human, map[string]any{"subject": "forbidden"})
	if err != nil {
		t.Fatal(err)
	}
	for field, v := range map[string]value.Value{
		"subject": value.Null(), "Region": value.Text("west"), "assigned_to": value.Text("nobody@acme.example"),
		"done_ratio": value.Int(400), "status": value.Text("No such"), "Entente key": value.Text("x"),
		"due_date": value.Date(time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)), "tracker": value.List(),
	} {
		_, err := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteUpdate, Key: connectors.Key(id), Fields: map[string]value.Value{field: v}})
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassInvalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func movedAway(t *testing.T, s *realtest.RedmineServer, c connectors.Connector) {
	if err := s.NewProject(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	id, err := s.Create(t.Context(), s.Admin, map[string]any{"subject": "moved"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Edit(t.Context(), s.Admin, id, map[string]any{"project_id": "other"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(t.Context(), connectors.Key(id)); connectors.ClassOf(err) != connectors.ClassNotFound {
		t.Errorf("an issue of another project: %v", err)
	}
}
