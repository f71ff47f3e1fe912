package core_test

import (
	"context"
	"testing"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt/value"
)

// decorated is a connector of a system that adds to a field at each write, and
// says nothing of it.
type decorated struct {
	connectors.Connector
	add string
}

func (d decorated) Write(ctx context.Context, w connectors.Write) (connectors.Receipt, error) {
	if v, ok := w.Fields["description"]; ok {
		w.Fields["description"] = value.Text(v.AsText() + d.add)
	}
	return d.Connector.Write(ctx, w)
}

// Two systems without a common spelling stop within three rounds; that one field
// is frozen and reported, the others go on, and a person's edit thaws it.
func TestOscillationFreezesOneField(t *testing.T) {
	w, acme, globex, a, b := calm(t, func(c *connectors.Capabilities) {
		c.History, c.WriteRevision, c.Conditional, c.Revisions = false, false, false, false
	})
	for i, s := range w.sites {
		s.conn = decorated{s.sys.Connector(), string(rune('x' + i))}
	}
	acme.edit(a, "description", "it smokes ")
	w.rest()
	n := acme.sys.Counts().Kinds[connectors.WriteUpdate] + globex.sys.Counts().Kinds[connectors.WriteUpdate]
	if n > 7 {
		t.Errorf("%d writes for one edit", n)
	}
	frozen := globex
	if _, ok := acme.holds()["description"]; ok {
		frozen = acme
	}
	h, ok := frozen.holds()["description"]
	if !ok || h.Code != "brake.oscillation" {
		t.Fatalf("held: %v and %v", acme.holds(), globex.holds())
	}
	acme.edit(a, "title", "fire")
	w.rest()
	globex.shows(b, "title", "fire")
	for _, s := range w.sites {
		s.conn = s.sys.Connector()
	}
	frozen.step(core.Released{NowMillis: w.now, System: "desk", Record: h.Record, Field: "description"})
	w.rest()
	if _, ok := frozen.holds()["description"]; ok {
		t.Error("frozen after it was released")
	}
	acme.edit(a, "description", "out")
	w.rest()
	globex.shows(b, "description", "out")
}
