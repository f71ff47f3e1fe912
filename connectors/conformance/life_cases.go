package conformance

import (
	"time"

	"github.com/entente-sync/entente/connectors"
)

func lifeCases() []Case {
	return []Case{
		{
			Name: "delete", Run: deleteRecord, Needs: func(c connectors.Capabilities, _ *Env) bool { return c.Deletes },
			Why: "a delete that is not seen to have happened is repeated",
		},
		{
			Name: "undeclared-delete", Run: undeclaredDelete, Needs: func(c connectors.Capabilities, _ *Env) bool { return !c.Deletes },
			Why: "an undeclared ability is one that the agent does not use",
		},
		{
			Name: "delete-evidence", Run: deleteEvidence, Needs: func(c connectors.Capabilities, e *Env) bool { return c.DeleteEvidence && e.Scope.Users.Delete != nil },
			Why: "a deletion travels only on positive evidence",
		},
		{
			Name: "delete-no-evidence", Run: deleteNoEvidence, Needs: func(c connectors.Capabilities, e *Env) bool { return !c.DeleteEvidence && e.Scope.Users.Delete != nil },
			Why: "absence is not deletion",
		},
		{
			Name: "clock", Run: clockOffset, Needs: is[connectors.Clocked],
			Why: "edit times of different systems are compared",
		},
	}
}

func deleteRecord(t T, e *Env) {
	key := e.create(t, "deleted", "", nil)
	if _, err := e.C.Write(e.context(t), connectors.Write{Kind: connectors.WriteDelete, Key: key}); err != nil {
		t.Fatalf("delete failed: %v", err)
	}
	rec, err := e.C.Read(e.context(t), key)
	if err == nil && !rec.Deleted {
		t.Error("a deleted record reads as live")
	}
	if err != nil {
		wantClass(t, e, err, connectors.ClassNotFound, "Read of a deleted record")
	}
	_, err = e.C.Write(e.context(t), connectors.Write{Kind: connectors.WriteDelete, Key: key})
	wantClass(t, e, err, connectors.ClassNotFound, "second delete of a record")
}

func undeclaredDelete(t T, e *Env) {
	key := e.create(t, "kept", "", nil)
	_, err := e.C.Write(e.context(t), connectors.Write{Kind: connectors.WriteDelete, Key: key})
	if err == nil {
		t.Fatal("a delete works: declare Capabilities.Deletes, or refuse it")
	}
	wantClass(t, e, err, connectors.ClassInvalid, "delete where it is not offered")
	e.read(t, key)
}

func deleteEvidence(t T, e *Env) {
	key := e.create(t, "evidence", "", nil)
	cursor := now(t, e)
	if err := e.Scope.Users.Delete(e.context(t), key); err != nil {
		t.Fatalf("users' side: %v", err)
	}
	await(t, e, cursor, key)
	if rec := e.read(t, key); !rec.Deleted {
		t.Error("Capabilities.DeleteEvidence is declared, but Record.Deleted is false after a user's delete")
	}
}

func deleteNoEvidence(t T, e *Env) {
	key := e.create(t, "evidence", "", nil)
	if err := e.Scope.Users.Delete(e.context(t), key); err != nil {
		t.Fatalf("users' side: %v", err)
	}
	rec, err := e.C.Read(e.context(t), key)
	if err == nil && rec.Deleted {
		t.Fatal("Record.Deleted is shown: declare Capabilities.DeleteEvidence, or the agent will not rely on it")
	}
	wantClass(t, e, err, connectors.ClassNotFound, "Read of a deleted record without evidence")
}

// clockOffset: a record made now must carry the time of now, after calibration.
func clockOffset(t T, e *Env) {
	clock := e.Scope.Settings.Now
	if clock == nil {
		clock = time.Now
	}
	before := clock()
	rec := e.read(t, e.create(t, "clock", "", nil))
	after := clock()
	offset, ok := e.C.(connectors.Clocked).ClockOffset()
	if !ok {
		t.Fatal("ClockOffset knows nothing after two answers")
	}
	const tolerance = 3 * time.Second // coarse clocks, and the second of a Date header
	if at := rec.Created.Add(-offset); at.Before(before.Add(-tolerance)) || at.After(after.Add(tolerance)) {
		t.Errorf("Record.Created, corrected by ClockOffset %s, is %s; the record was made between %s and %s: mind zones and calibration",
			offset, at.UTC(), before.UTC(), after.UTC())
	}
}
