package wire_test

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	"github.com/entente-sync/entente/proto/wire"
)

func registerKey() crdt.Key {
	return crdt.Key{Pact: helpdesk, Type: "ticket", Record: crdt.RecordID{15: 1}, Field: "title"}
}

// versionsOf makes n versions of a register.
func versionsOf(t *testing.T, key crdt.Key, n int) (out []wire.Version) {
	t.Helper()
	for i := range n {
		op := crdttest.Op(crdt.StampOf(int64(i), 0), "acme", crdt.Seq(i+1), "text")
		op.Key = key
		out = append(out, wire.Version{
			Entry:  wire.Entry{Offset: crdt.Offset(2*i + 2), Register: crdt.NewRegister(op, crdt.Position{Epoch: 1, Offset: 2})},
			Millis: int64(i), Replaced: crdt.Offset(2 * i),
		})
	}
	return out
}

// What a hub knows of the past arrives as it was said.
func TestHistoryCalls(t *testing.T) {
	key := registerKey()
	timeline := wire.Timeline{Versions: versionsOf(t, key, 3), Next: 6, Reach: wire.Reach{HorizonMillis: 1, ClockMillis: 9, Head: 7}}
	past := wire.Past{Versions: timeline.Versions[:1], Unknown: []crdt.Field{"notes"}, Next: "title", Reach: timeline.Reach}
	var span wire.Span
	var at wire.Moment
	c := wire.NewClient(dial(t, hub{
		history: func(s wire.Span) (wire.Timeline, error) { span = s; return timeline, nil },
		asOf:    func(m wire.Moment) (wire.Past, error) { at = m; return past, nil },
	}))
	wantSpan := wire.Span{Key: key, FromMillis: 3, ToMillis: 5, After: 4, Limit: 7}
	got, err := c.History(t.Context(), wantSpan)
	if err != nil || span != wantSpan {
		t.Fatalf("asked %+v: %v", span, err)
	}
	if len(got.Versions) != 3 || got.Next != 6 || got.Reach != timeline.Reach {
		t.Fatalf("got %+v", got)
	}
	for i, v := range got.Versions {
		want := timeline.Versions[i]
		if v.Register.Digest != want.Register.Digest || v.Millis != want.Millis || v.Replaced != want.Replaced || v.Offset != want.Offset {
			t.Errorf("version %d: %+v, want %+v", i, v, want)
		}
	}
	record := key
	record.Field = ""
	wantAt := wire.Moment{Key: record, Millis: 8, After: "labels", Limit: wire.SliceEntriesMax}
	was, err := c.AsOf(t.Context(), wire.Moment{Key: record, Millis: 8, After: "labels"})
	if err != nil || at != wantAt {
		t.Fatalf("asked %+v: %v", at, err)
	}
	if len(was.Versions) != 1 || len(was.Unknown) != 1 || was.Unknown[0] != "notes" || was.Next != "title" || was.Reach != past.Reach {
		t.Fatalf("got %+v", was)
	}
}

// A question that makes no sense is refused before the hub looks at it, and an
// answer to another question by the agent.
func TestHistoryCallsAreChecked(t *testing.T) {
	key := registerKey()
	asked := false
	answer := wire.Timeline{}
	c := wire.NewClient(dial(t, hub{
		history: func(wire.Span) (wire.Timeline, error) { asked = true; return answer, nil },
		asOf:    func(wire.Moment) (wire.Past, error) { asked = true; return wire.Past{Versions: answer.Versions}, nil },
	}))
	other := key
	other.Field = "no field"
	for name, span := range map[string]wire.Span{
		"field":     {Key: other},
		"backwards": {Key: key, FromMillis: 5, ToMillis: 4},
		"early":     {Key: key, FromMillis: -1},
		"many":      {Key: key, Limit: wire.SliceEntriesMax + 1},
	} {
		if _, err := c.History(t.Context(), span); wire.ReasonOf(err) != wire.ReasonMalformed || asked {
			t.Errorf("%s: %v, asked: %t", name, err, asked)
		}
	}
	if _, err := c.AsOf(t.Context(), wire.Moment{Key: key, Millis: -1}); wire.ReasonOf(err) != wire.ReasonMalformed || asked {
		t.Errorf("a time before all: %v", err)
	}
	foreign := key
	foreign.Record[0] = 9
	answer.Versions = versionsOf(t, foreign, 1)
	if _, err := c.History(t.Context(), wire.Span{Key: key}); wire.ReasonOf(err) != wire.ReasonMalformed {
		t.Errorf("another record's version: %v", err)
	}
	if _, err := c.AsOf(t.Context(), wire.Moment{Key: key}); wire.ReasonOf(err) != wire.ReasonMalformed {
		t.Errorf("another record's version: %v", err)
	}
	answer.Versions = versionsOf(t, key, 2)
	answer.Versions[1].Offset, answer.Versions[1].Replaced = 2, 0
	if _, err := c.History(t.Context(), wire.Span{Key: key}); wire.ReasonOf(err) != wire.ReasonMalformed {
		t.Errorf("versions out of order: %v", err)
	}
}
