package rt

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/connectors/realtest"
	"github.com/entente-sync/entente/crdt/value"
)

// beyond tries what the conformance suite does not know of, in a queue of
// its own.
func beyond(t *testing.T, machine *realtest.RTServer) {
	if err := machine.NewQueue(t.Context(), "beyond"); err != nil {
		t.Fatal(err)
	}
	s := *machine
	s.Queue = "beyond"
	c, err := open(settings(&s, s.Service))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("backfill", func(t *testing.T) { backfill(t, &s, c) })
	t.Run("every field", func(t *testing.T) { everyField(t, &s, c) })
	t.Run("forbidden", func(t *testing.T) { forbidden(t, &s, c) })
	t.Run("messages", func(t *testing.T) { messages(t, &s, c) })
}

// backfill lists all tickets while one moves, and shows it again afterwards,
// with the revision that a read shows.
func backfill(t *testing.T, s *realtest.RTServer, c connectors.Connector) {
	left := map[connectors.Key]bool{}
	first := ""
	for i := range 5 {
		id, err := s.Create(t.Context(), s.Human, map[string]any{"Subject": "ticket " + strconv.Itoa(i)})
		if err != nil {
			t.Fatal(err)
		}
		if left[connectors.Key(id)] = true; first == "" {
			first = id
		}
	}
	revision := map[connectors.Key]string{}
	var at connectors.Cursor
	for more := true; more; {
		page, err := c.Changes(t.Context(), at, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Refs {
			revision[r.Key] = r.Revision
			delete(left, r.Key)
		}
		if len(at) == 0 {
			if err := s.Edit(t.Context(), s.Human, first, map[string]any{"Subject": "moved"}); err != nil {
				t.Fatal(err)
			}
		}
		at, more = page.Next, page.More
	}
	if len(left) > 0 {
		t.Errorf("not listed: %v", left)
	}
	for more := true; more; {
		page, err := c.Changes(t.Context(), at, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Refs {
			revision[r.Key] = r.Revision
		}
		at, more = page.Next, page.More
	}
	rec, err := c.Read(t.Context(), connectors.Key(first))
	if err != nil || revision[rec.Key] != rec.Revision {
		t.Errorf("listed with revision %q, reads %q, %v", revision[rec.Key], rec.Revision, err)
	}
}

// everyField writes every kind of field and finds it in fields and history.
func everyField(t *testing.T, s *realtest.RTServer, c connectors.Connector) {
	made, err := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteCreate, Correlation: `it's \ 100%`, Fields: map[string]value.Value{
		"Subject": value.Text("fields"), "Owner": value.Text(s.Human.Email), "Region": value.Text("north"), "Priority": value.Int(3),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := c.(connectors.Finder).Find(t.Context(), `it's \ 100%`); err != nil || !slices.Equal(keys, []connectors.Key{made.Key}) {
		t.Errorf("found %v, %v", keys, err)
	}
	before, err := c.Read(t.Context(), made.Key)
	if err != nil || before.Fields["Owner"].AsText() != s.Human.Email || before.Fields["Priority"].AsInt() != 3 {
		t.Errorf("created with %v, %v", before.Fields, err)
	}
	fields := map[string]value.Value{
		"Description": value.Text("text"), "Status": value.Text("stalled"), "Priority": value.Int(7),
		"Owner": value.Text(s.Service.Email), "Region": value.Text("south"),
	}
	w := connectors.Write{Kind: connectors.WriteUpdate, Key: made.Key, IfRevision: before.Revision, Fields: fields}
	if _, err := c.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	rec, err := c.Read(t.Context(), made.Key)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]connectors.Change{}
	for _, h := range rec.History {
		last[h.Field] = h
	}
	for field, want := range fields {
		if got := rec.Fields[field]; !got.Equal(want) {
			t.Errorf("%s shows %v, want %v", field, got, want)
		}
		if got := last[field]; !got.New.Equal(want) || !got.Old.Equal(before.Fields[field]) {
			t.Errorf("%s goes from %v to %v in history, want %v to %v", field, got.Old, got.New, before.Fields[field], want)
		}
	}
	w = connectors.Write{Kind: connectors.WriteUpdate, Key: made.Key, Fields: map[string]value.Value{"Owner": value.Null(), "Region": value.Null()}}
	if _, err := c.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if rec, err = c.Read(t.Context(), made.Key); err != nil || !rec.Fields["Owner"].IsNull() || !rec.Fields["Region"].IsNull() {
		t.Errorf("emptied: %v, %v", rec.Fields, err)
	}
}

// forbidden: what RT refuses or drops names its field.
func forbidden(t *testing.T, s *realtest.RTServer, c connectors.Connector) {
	id, err := s.Create(t.Context(), s.Human, map[string]any{"Subject": "forbidden"})
	if err != nil {
		t.Fatal(err)
	}
	for field, v := range map[string]value.Value{
		"Owner": value.Text("nobody@globex.example"), "Status": value.Text("no such"), "EntenteKey": value.Text("x"),
		"Priority": value.Null(), "Content": value.Text("x"), "Description": value.List(),
	} {
		_, err := c.Write(t.Context(), connectors.Write{Kind: connectors.WriteUpdate, Key: connectors.Key(id), Fields: map[string]value.Value{field: v}})
		var e *connectors.Error
		if !errors.As(err, &e) || e.Class != connectors.ClassInvalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// messages: the first one is a field, correspondence is public, a comment is
// not, and both keys are known at once.
func messages(t *testing.T, s *realtest.RTServer, c connectors.Connector) {
	id, err := s.Create(t.Context(), s.Human, map[string]any{
		"Subject": "messages", "Content": "first\r\nmessage", "ContentType": "text/plain", "Requestor": "jane@example.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	key := connectors.Key(id)
	for i, body := range []string{"public\nline", "internal"} {
		receipt, err := c.Write(t.Context(), connectors.Write{
			Kind: connectors.WriteComment, Key: key,
			Comment: connectors.CommentDraft{Body: body, Internal: i == 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		rec, err := c.Read(t.Context(), key)
		if err != nil || len(rec.Comments) != i+1 {
			t.Fatalf("%d comments, %v", len(rec.Comments), err)
		}
		if m := rec.Comments[i]; m.Key != receipt.Comment || m.Body != body || m.Internal != (i == 1) {
			t.Errorf("comment %d: key %q, want %q; internal %t", i, m.Key, receipt.Comment, m.Internal)
		}
		if got := rec.Fields["Content"].AsText(); got != "first\nmessage" {
			t.Errorf("first message %q", got)
		}
		for _, h := range rec.History {
			if h.Field == "Status" && !h.Actor.Automation {
				t.Errorf("the status moved by %q", h.Actor.Name)
			}
		}
	}
	_, err = c.Write(t.Context(), connectors.Write{Kind: connectors.WriteComment, Key: key, Comment: connectors.CommentDraft{Body: "0"}})
	if connectors.ClassOf(err) != connectors.ClassInvalid {
		t.Errorf("a comment that RT drops: %v", err)
	}
}
