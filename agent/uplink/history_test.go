package uplink_test

import (
	"testing"

	"github.com/entente-sync/entente/agent/uplink"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// The past is asked of the node that the session is with, and its refusals come
// back as they are.
func TestHistoryGoesOverTheSession(t *testing.T) {
	key := crdt.Key{Pact: helpdesk, Type: "ticket", Record: crdt.RecordID{15: 1}, Field: "title"}
	inWorld(t, &hub{}, nil, func(t *testing.T, w *world) {
		got, err := w.loop.History(t.Context(), wire.Span{Key: key, After: 4})
		if err != nil || got.Next != 5 {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := w.loop.AsOf(t.Context(), wire.Moment{Key: key, Millis: 1}); wire.ReasonOf(err) != wire.ReasonHistoryBefore {
			t.Errorf("refused: %v", err)
		}
	})
}

func TestHistoryWithoutSession(t *testing.T) {
	l := uplink.New(uplink.Config{})
	if _, err := l.History(t.Context(), wire.Span{}); wire.ReasonOf(err) != wire.ReasonHubUnreachable {
		t.Errorf("versions: %v", err)
	}
	if _, err := l.AsOf(t.Context(), wire.Moment{}); wire.ReasonOf(err) != wire.ReasonHubUnreachable {
		t.Errorf("a record: %v", err)
	}
}
