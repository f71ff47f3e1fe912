package conformance

import (
	"slices"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

func historyCases() []Case {
	return []Case{
		{
			Name: "history-complete", Run: historyComplete, Needs: hasHistory,
			Why: "edit times come from history, and so does the proof of what a write replaced",
		},
		{
			Name: "history-actors", Run: historyActors, Needs: func(c connectors.Capabilities, e *Env) bool { return hasHistory(c, e) && hasEdit(c, e) },
			Why: "own writes are told apart from edits by their actor",
		},
		{
			Name: "undeclared-history", Run: undeclaredHistory, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.History },
			Why: "an undeclared ability is one that the agent does not use",
		},
	}
}

// hasHistory: the text field's changes are promised.
func hasHistory(c connectors.Capabilities, e *Env) bool {
	return c.History && (c.HistoryFields == nil || slices.Contains(c.HistoryFields, e.Driver.Fields.Text))
}

// changesOf keeps the entries of one field.
func changesOf(rec connectors.Record, field string) []connectors.Change {
	return slices.DeleteFunc(slices.Clone(rec.History), func(c connectors.Change) bool { return c.Field != field })
}

func historyComplete(t T, e *Env) {
	text := e.Driver.Fields.Text
	key := e.create(t, "history", "", nil)
	values := []value.Value{e.read(t, key).Fields[text]}
	for range 2 {
		e.update(t, key, map[string]value.Value{text: e.unique("history")})
		values = append(values, e.read(t, key).Fields[text])
	}
	rec := e.read(t, key)
	changes := changesOf(rec, text)
	if len(changes) > 0 && changes[0].Old.IsNull() { // systems may note the creation too
		changes = changes[1:]
	}
	if len(changes) != 2 {
		t.Fatalf("two changes of %q make %d entries of Record.History, want 2", text, len(changes))
	}
	for i, c := range changes {
		if !c.Old.Equal(values[i]) || !c.New.Equal(values[i+1]) {
			t.Errorf("entry %d: Old and New must be in the terms of Record.Fields and form a chain, got kinds %s to %s", i, c.Old.Kind(), c.New.Kind())
		}
		if c.At.IsZero() || c.At.Before(rec.Created) {
			t.Errorf("entry %d: At %s lies before the creation %s", i, c.At, rec.Created)
		}
	}
	ids := map[string]bool{}
	for i, c := range rec.History {
		if c.ID == "" || ids[c.ID] {
			t.Errorf("Change.ID %q is empty or not unique within the record", c.ID)
		}
		ids[c.ID] = true
		if i > 0 && c.At.Before(rec.History[i-1].At) {
			t.Error("Record.History is not oldest first")
		}
	}
	if again := e.read(t, key); !slices.EqualFunc(rec.History, again.History, func(a, b connectors.Change) bool { return a.ID == b.ID }) {
		t.Error("Change.ID differs between two reads")
	}
}

func historyActors(t T, e *Env) {
	text := e.Driver.Fields.Text
	key := e.create(t, "actors", "", nil)
	e.update(t, key, map[string]value.Value{text: e.unique("mine")})
	if err := e.Scope.Users.Edit(e.context(t), key, map[string]value.Value{text: e.unique("theirs")}); err != nil {
		t.Fatalf("users' side: %v", err)
	}
	changes := changesOf(e.read(t, key), text)
	if len(changes) < 2 {
		t.Fatalf("two changes of %q make %d entries of Record.History", text, len(changes))
	}
	mine, theirs := changes[len(changes)-2].Actor, changes[len(changes)-1].Actor
	if !mine.Self {
		t.Errorf("Actor.Self is false for the connector's own write (by %q): every write would come back as an edit", mine.Name)
	}
	if theirs.Self {
		t.Errorf("Actor.Self is true for a user's edit (by %q): edits would be taken for echoes and lost", theirs.Name)
	}
	if theirs.Name == "" {
		t.Error("Actor.Name is empty for a user's edit")
	}
}

func undeclaredHistory(t T, e *Env) {
	key := e.create(t, "history", "", nil)
	e.update(t, key, map[string]value.Value{e.Driver.Fields.Text: e.unique("history")})
	if n := len(e.read(t, key).History); n > 0 {
		t.Errorf("Record.History has %d entries: declare Capabilities.History, or the agent will not rely on it", n)
	}
}
