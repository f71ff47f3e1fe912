package conformance

import (
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

func writeCases() []Case {
	return []Case{
		{
			Name: "read-own-write", Run: readOwnWrite,
			Why: "the read-back after a write decides what is an echo",
		},
		{
			Name: "only-named-fields", Run: onlyNamedFields, Needs: hasEnum,
			Why: "a write of one field must not undo an edit of another",
		},
		{
			Name: "same-write-twice", Run: sameWriteTwice,
			Why: "after a crash an update may be written again",
		},
		{
			Name: "write-revision", Run: writeRevision, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.WriteRevision },
			Why: "the receipt is proof of what a read-back shows",
		},
		{
			Name: "undeclared-write-revision", Run: undeclaredWriteRevision, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.WriteRevision },
			Why: "an undeclared ability is one that the agent does not use",
		},
		{
			Name: "conditional-conflict", Run: conditionalConflict, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.Conditional },
			Why: "only the system can see the edit that slips in between read and write",
		},
		{
			Name: "undeclared-conditional", Run: undeclaredConditional, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.Conditional && c.Revisions },
			Why: "an undeclared ability is one that the agent does not use",
		},
		{
			Name: "create-is-found", Run: createIsFound, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.Correlation },
			Why: "after a doubtful create the key is looked up instead of creating a second record",
		},
		{
			Name: "find-is-exact", Run: findIsExact, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.Correlation },
			Why: "a record that is taken for another one is overwritten",
		},
		{
			Name: "undeclared-correlation", Run: undeclaredCorrelation, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.Correlation },
			Why: "an undeclared ability is one that the agent does not use",
		},
		{
			Name: "unknown-option", Run: unknownOption, Needs: hasEnum,
			Why: "only an error that names the field holds just that field",
		},
		{
			Name: "unknown-field", Run: unknownField,
			Why: "a write that is silently dropped looks applied",
		},
	}
}

func hasEnum(_ connectors.Capabilities, e *Env) bool { return e.Driver.Fields.Enum != "" }

func readOwnWrite(t T, e *Env) {
	key := e.create(t, "own", "", nil)
	want := e.unique("rewritten")
	e.update(t, key, map[string]value.Value{e.Driver.Fields.Text: want})
	got := e.read(t, key).Fields[e.Driver.Fields.Text]
	if !got.Equal(want) && !slices.Contains(e.Caps.Normalises, e.Driver.Fields.Text) {
		t.Errorf("a read right after a write shows other content than was written, and Normalises does not name %q", e.Driver.Fields.Text)
	}
}

func onlyNamedFields(t T, e *Env) {
	f := e.Driver.Fields
	key := e.create(t, "named", "", map[string]value.Value{f.Enum: value.Text(f.EnumValues[0])})
	before := e.read(t, key)
	e.update(t, key, map[string]value.Value{f.Enum: value.Text(f.EnumValues[1])})
	after := e.read(t, key)
	if !after.Fields[f.Text].Equal(before.Fields[f.Text]) {
		t.Errorf("writing %q changed %q", f.Enum, f.Text)
	}
	if got := after.Fields[f.Enum].AsText(); got != f.EnumValues[1] {
		t.Errorf("field %q shows another value than the one written, of the driver's EnumValues", f.Enum)
	}
}

func sameWriteTwice(t T, e *Env) {
	key := e.create(t, "twice", "", nil)
	fields := map[string]value.Value{e.Driver.Fields.Text: e.unique("twice")}
	e.update(t, key, fields)
	one := e.read(t, key)
	e.update(t, key, fields)
	two := e.read(t, key)
	if !one.Fields[e.Driver.Fields.Text].Equal(two.Fields[e.Driver.Fields.Text]) {
		t.Error("the same update twice leaves other content than once")
	}
	if len(one.Comments) != len(two.Comments) {
		t.Error("an update without a change leaves a comment")
	}
	changes := func(r connectors.Record) (n int) {
		for _, c := range r.History {
			if c.Old.Equal(c.New) {
				t.Errorf("Record.History has a change of %q from a value to itself", c.Field)
			}
			n++
		}
		return n
	}
	if changes(one) != changes(two) {
		t.Error("an update without a change adds to Record.History")
	}
}

func writeRevision(t T, e *Env) {
	key := e.create(t, "receipt", "", nil)
	receipt := e.update(t, key, map[string]value.Value{e.Driver.Fields.Text: e.unique("receipt")})
	if receipt.Key != key {
		t.Errorf("Receipt.Key is %q after an update of %q", receipt.Key, key)
	}
	rec := e.read(t, key)
	if receipt.Revision == "" {
		t.Error("Capabilities.WriteRevision is declared, but Receipt.Revision is empty")
	} else if receipt.Revision != rec.Revision {
		t.Errorf("Receipt.Revision %q is not what the next read shows, %q", receipt.Revision, rec.Revision)
	}
}

func undeclaredWriteRevision(t T, e *Env) {
	key := e.create(t, "receipt", "", nil)
	receipt := e.update(t, key, map[string]value.Value{e.Driver.Fields.Text: e.unique("receipt")})
	if receipt.Revision != "" {
		t.Errorf("Receipt.Revision is %q: declare Capabilities.WriteRevision if the answer proves it, else leave it empty", receipt.Revision)
	}
}

func conditionalConflict(t T, e *Env) {
	text := e.Driver.Fields.Text
	key := e.create(t, "conditional", "", nil)
	old := e.read(t, key)
	e.interfere(t, key)
	theirs := e.read(t, key)
	write := connectors.Write{Kind: connectors.WriteUpdate, Key: key, IfRevision: old.Revision, Fields: map[string]value.Value{text: canaryText()}}
	_, err := e.C.Write(e.context(t), write)
	wantClass(t, e, err, connectors.ClassConflict, "update with a stale IfRevision")
	if got := e.read(t, key); !got.Fields[text].Equal(theirs.Fields[text]) {
		t.Error("a write that reported a conflict happened nevertheless")
	}
	write.IfRevision, write.Fields = theirs.Revision, map[string]value.Value{text: e.unique("conditional")}
	if _, err := e.C.Write(e.context(t), write); err != nil {
		t.Errorf("update with the current IfRevision failed: %v", err)
	}
}

// interfere changes the text as a user, or as the connector if there is none.
func (e *Env) interfere(t T, key connectors.Key) {
	t.Helper()
	fields := map[string]value.Value{e.Driver.Fields.Text: e.unique("theirs")}
	if e.Scope.Users.Edit == nil {
		e.update(t, key, fields)
		return
	}
	if err := e.Scope.Users.Edit(e.context(t), key, fields); err != nil {
		t.Fatalf("users' side: %v", err)
	}
}

func undeclaredConditional(t T, e *Env) {
	key := e.create(t, "conditional", "", nil)
	old := e.read(t, key)
	e.interfere(t, key)
	if e.read(t, key).Revision == old.Revision {
		return // too coarse to tell
	}
	_, err := e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteUpdate, Key: key, IfRevision: old.Revision,
		Fields: map[string]value.Value{e.Driver.Fields.Text: e.unique("conditional")},
	})
	if connectors.ClassOf(err) == connectors.ClassConflict {
		t.Error("a stale IfRevision is refused: declare Capabilities.Conditional, or the agent will not rely on it. " +
			"(A comparison that the connector itself makes before it writes is not the system's check: remove it.)")
	}
}

func createIsFound(t T, e *Env) {
	finder := e.C.(connectors.Finder)
	correlation := e.correlation()
	key := e.create(t, "correlated", correlation, nil)
	deadline := time.Now().Add(e.Caps.StaleMax)
	for {
		keys, err := finder.Find(e.context(t), correlation)
		if err != nil {
			t.Fatalf("Find failed: %v", err)
		}
		if slices.Equal(keys, []connectors.Key{key}) {
			break
		}
		if len(keys) > 0 {
			t.Fatalf("Find returned %v for the one record %s", keys, key)
		}
		if time.Now().After(deadline) {
			t.Fatalf("Find does not find what was created %s (StaleMax) ago: an agent would now create it again", e.Caps.StaleMax)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := e.read(t, key).Correlation; got != correlation {
		t.Errorf("Record.Correlation is %q, want the key given at the create", got)
	}
}

func findIsExact(t T, e *Env) {
	finder := e.C.(connectors.Finder)
	key := e.correlation()
	e.create(t, "exact", key, nil)
	for _, near := range []string{key[:16], key[:31] + "x", strings.ToUpper(key), "%", "*", "' OR '1'='1", ""} {
		keys, err := finder.Find(e.context(t), near)
		if err != nil && connectors.ClassOf(err) != connectors.ClassInvalid {
			t.Errorf("Find(%q) failed: %v", near, err)
		}
		if len(keys) > 0 {
			t.Errorf("Find(%q) returned %v: it must compare whole keys, literally", near, keys)
		}
	}
}

func undeclaredCorrelation(t T, e *Env) {
	finder, ok := e.C.(connectors.Finder)
	if !ok {
		return
	}
	correlation := e.correlation()
	e.create(t, "correlated", correlation, nil)
	if keys, err := finder.Find(e.context(t), correlation); err == nil && len(keys) > 0 {
		t.Error("Find works: declare Capabilities.Correlation, or the agent will not rely on it")
	}
}

func unknownOption(t T, e *Env) {
	f := e.Driver.Fields
	key := e.create(t, "option", "", nil)
	before := e.read(t, key)
	rest := e.unique("option")
	_, err := e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteUpdate, Key: key,
		Fields: map[string]value.Value{f.Enum: canaryText(), f.Text: rest},
	})
	if got := refusal(t, e, err, connectors.ClassInvalid, "update with an unknown option").Field; got != f.Enum {
		t.Errorf("Error.Field is %q, want %q: without the field the whole record is held", got, f.Enum)
	}
	if after := e.read(t, key); !after.Fields[f.Text].Equal(before.Fields[f.Text]) {
		t.Error("a refused update was half applied: look at all values before writing any")
	}
	e.update(t, key, map[string]value.Value{f.Text: rest}) // what the agent does next
	after := e.read(t, key)
	if !after.Fields[f.Text].Equal(rest) && !slices.Contains(e.Caps.Normalises, f.Text) {
		t.Error("the rest of a refused update can't be written by itself")
	}
	changes := 0
	for _, c := range after.History[len(before.History):] {
		if c.Field == f.Text {
			changes++
		}
	}
	if changes > 1 {
		t.Errorf("Record.History has %d changes of a field that was written once", changes)
	}
}

func unknownField(t T, e *Env) {
	const name = "no_such_field_4711"
	key := e.create(t, "field", "", nil)
	_, err := e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteUpdate, Key: key,
		Fields: map[string]value.Value{name: canaryText()},
	})
	if got := refusal(t, e, err, connectors.ClassInvalid, "update of an unknown field").Field; got != name {
		t.Errorf("Error.Field is %q, want %q", got, name)
	}
}
