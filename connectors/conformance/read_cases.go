package conformance

import (
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

func readCases() []Case {
	return []Case{
		{
			Name: "changes-without-loss", Run: changesWithoutLoss,
			Why: "a change that no page shows is lost until the next sweep",
		},
		{
			Name: "changes-under-edits", Run: changesUnderEdits, Needs: hasEdit,
			Why: "records move in the listing while it is read",
		},
		{
			Name: "resume-any-cursor", Run: resumeAnyCursor,
			Why: "an agent restarts between any two pages",
		},
		{
			Name: "cursor-refused", Run: cursorRefused,
			Why: "a damaged cursor must not read as the beginning or the end",
		},
		{
			Name: "unknown-key", Run: unknownKey,
			Why: "absence must be told apart from an outage",
		},
		{
			Name: "record-whole", Run: recordWhole,
			Why: "a field that is missing counts as not shown, so it would never be synced",
		},
		{
			Name: "revision-stable", Run: revisionStable, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.Revisions },
			Why: "an agent skips records whose revision it knows",
		},
		{
			Name: "undeclared-revisions", Run: undeclaredRevisions, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.Revisions },
			Why: "an undeclared ability is one that the agent does not use",
		},
	}
}

func hasEdit(_ connectors.Capabilities, e *Env) bool { return e.Scope.Users.Edit != nil }

func changesWithoutLoss(t T, e *Env) {
	cursor := now(t, e)
	keys := []connectors.Key{e.create(t, "page", "", nil), e.create(t, "page", "", nil), e.create(t, "page", "", nil)}
	await(t, e, cursor, keys...)
	found, _ := drain(t, e, e.C, cursor, 2)
	for _, k := range keys {
		if _, ok := found[k]; !ok {
			t.Errorf("reading two at a time misses %s, reading all at once does not", k)
		}
	}
}

// changesUnderEdits edits every record between two pages of one.
func changesUnderEdits(t T, e *Env) {
	cursor := now(t, e)
	keys := []connectors.Key{e.create(t, "moving", "", nil), e.create(t, "moving", "", nil), e.create(t, "moving", "", nil)}
	await(t, e, cursor, keys...)
	page, err := e.C.Changes(e.context(t), cursor, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if err := e.Scope.Users.Edit(e.context(t), k, map[string]value.Value{e.Driver.Fields.Text: e.unique("moved")}); err != nil {
			t.Fatalf("users' side: %v", err)
		}
	}
	await(t, e, page.Next, keys...)
}

func resumeAnyCursor(t T, e *Env) {
	start := now(t, e)
	first := e.create(t, "resume", "", nil)
	middle := await(t, e, start, first)
	second := e.create(t, "resume", "", nil)
	end := await(t, e, middle, second)

	c := e.reopen(t)
	if found, _ := drain(t, e, c, start, 1); !has(found, first) || !has(found, second) {
		t.Error("a new instance that reads on from an old cursor, page by page, misses a record: cursors must carry all they need")
	}
	if found, _ := drain(t, e, c, middle, 0); !has(found, second) {
		t.Error("a new instance that reads on from a middle cursor misses the later record")
	}
	found, _ := drain(t, e, c, end, 0)
	if ref, again := found[first]; again && len(found) > 50 && ref.Key == first {
		t.Error("the last cursor lists everything again: cursors do not move")
	}
}

func has(s seen, k connectors.Key) bool {
	_, ok := s[k]
	return ok
}

func cursorRefused(t T, e *Env) {
	for _, bad := range []connectors.Cursor{{0xff, 0xff, 0xff}, {0x00}, connectors.Cursor("\xfegarbage of another age")} {
		_, err := e.C.Changes(e.context(t), bad, 1)
		wantClass(t, e, err, connectors.ClassInvalid, "Changes with a malformed cursor")
	}
}

func unknownKey(t T, e *Env) {
	const key = "999999999"
	_, err := e.C.Read(e.context(t), key)
	wantClass(t, e, err, connectors.ClassNotFound, "Read of an unknown key")
	_, err = e.C.Write(e.context(t), connectors.Write{
		Kind: connectors.WriteUpdate, Key: key,
		Fields: map[string]value.Value{e.Driver.Fields.Text: canaryText()},
	})
	wantClass(t, e, err, connectors.ClassNotFound, "update of an unknown key")
}

func recordWhole(t T, e *Env) {
	f := e.Driver.Fields
	fields := map[string]value.Value{}
	if f.Enum != "" {
		fields[f.Enum] = value.Text(f.EnumValues[0])
	}
	key := e.create(t, "whole", "", fields)
	rec := e.read(t, key)
	for _, name := range []string{f.Text, f.Long, f.Enum} {
		if _, ok := rec.Fields[name]; !ok && name != "" {
			t.Errorf("Record.Fields does not have %q: an empty field must be present and null", name)
		}
	}
	if f.Long != "" && !rec.Fields[f.Long].IsNull() && e.Driver.Fields.OnCreate[f.Long].IsNull() {
		t.Errorf("field %q was never filled, but is not null: %s", f.Long, rec.Fields[f.Long].Kind())
	}
	if f.Enum != "" && rec.Fields[f.Enum].AsText() != f.EnumValues[0] {
		t.Errorf("field %q does not show the value that the create gave it", f.Enum)
	}
	if rec.Created.IsZero() || rec.Updated.IsZero() || rec.Updated.Before(rec.Created) {
		t.Errorf("Record.Created %s and Updated %s must both be set, in this order", rec.Created, rec.Updated)
	}
	if rec.Deleted {
		t.Error("Record.Deleted is true for a live record")
	}
	if !rec.CreatedBy.Self {
		t.Errorf("Record.CreatedBy.Self is false for a record that the connector itself created (by %q): own writes must be recognisable", rec.CreatedBy.Name)
	}
	again := e.read(t, key)
	rec.Fields[f.Text] = value.Null()
	if again.Fields[f.Text].IsNull() {
		t.Error("two reads share one map: what Read returns must belong to the caller")
	}
	if f.Long == "" {
		return
	}
	e.update(t, key, map[string]value.Value{f.Long: value.Text("filled")})
	e.update(t, key, map[string]value.Value{f.Long: value.Null()})
	if got := e.read(t, key).Fields[f.Long]; !got.IsNull() {
		t.Errorf("field %q was emptied with null but shows a %s: empty text and null must read alike", f.Long, got.Kind())
	}
}

func revisionStable(t T, e *Env) {
	key := e.create(t, "revision", "", nil)
	one, two := e.read(t, key), e.read(t, key)
	if one.Revision == "" {
		t.Fatal("Capabilities.Revisions is declared, but Record.Revision is empty")
	}
	if one.Revision != two.Revision {
		t.Errorf("the revision moved between two reads with nothing in between: %q, %q", one.Revision, two.Revision)
	}
	e.update(t, key, map[string]value.Value{e.Driver.Fields.Text: e.unique("revised")})
	if three := e.read(t, key); three.Revision == one.Revision && !e.unsettled(t, key) {
		t.Errorf("the content changed, the revision %q did not, and Changes does not say Unsettled", one.Revision)
	}
}

// unsettled reports whether Changes marks key as one that may change unseen.
func (e *Env) unsettled(t T, key connectors.Key) bool {
	t.Helper()
	found, _ := drain(t, e, e.C, nil, 0)
	return found[key].Unsettled
}

func undeclaredRevisions(t T, e *Env) {
	if rev := e.read(t, e.create(t, "revision", "", nil)).Revision; rev != "" {
		t.Errorf("Record.Revision is %q, but Capabilities.Revisions is not declared", rev)
	}
}
