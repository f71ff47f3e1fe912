package admission

import (
	"fmt"
	"testing"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// holding is a state whose pacts have that document.
type holding struct {
	State
	document []byte
}

func (h holding) Pact(name crdt.Pact) (state.PactInfo, error) {
	info, err := h.State.Pact(name)
	info.Document = h.document
	return info, err
}

// A pact came in force by another way than by what its members said here: their
// words no longer take a share.
func TestWordsForPactInForce(t *testing.T) {
	a, _ := offerTo(&offerLog{leader: "n1", result: takenWhole})
	now, held, later := a.cfg.Now(), document(2, "acme", "globex"), document(3, "acme", "globex")
	a.cfg.State = holding{a.cfg.State, held}
	a.accepted.add("tickets", "acme", held, now)
	a.accepted.add("tickets", "globex", later, now)
	if got, err := a.AcceptPact(t.Context(), identity.Agent{Site: "acme", Name: "main"}, held); err != nil || got.Version != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := a.accepted.sites["acme"]; n != 0 {
		t.Errorf("acme waits for %d pacts", n)
	}
	if missing := a.accepted.missing("tickets", later, []crdt.Site{"globex"}, now); len(missing) != 0 {
		t.Error("the word for the next version is forgotten")
	}
}

// Words that no longer count make room for others, of their site alone.
func TestWordsExpire(t *testing.T) {
	a, now := newAcceptances(), time.Unix(1000, 0)
	for i := range wire.PactsMax {
		if !a.add(crdt.Pact(fmt.Sprint("p", i)), "acme", nil, now) {
			t.Fatalf("pact %d is refused", i)
		}
	}
	a.add("p0", "globex", nil, now)
	if a.add("next", "acme", nil, now.Add(acceptedFor)) {
		t.Fatal("more than its share")
	}
	now = now.Add(acceptedFor + time.Second)
	if !a.add("next", "acme", nil, now) {
		t.Fatal("words that no longer count use up the share")
	}
	if missing := a.missing("next", nil, []crdt.Site{"acme"}, now); len(missing) != 0 || a.sites["acme"] != 1 || a.sites["globex"] != 1 || len(a.pacts) != 2 {
		t.Errorf("missing %v; %d and %d of %d pacts", missing, a.sites["acme"], a.sites["globex"], len(a.pacts))
	}
}
