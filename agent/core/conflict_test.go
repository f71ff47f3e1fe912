package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/proto/pact"
)

func (s *site) conflicts(all bool) (out []core.Conflict) {
	s.view(func(tx store.Tx) (err error) { out, err = core.Conflicts(tx, "ops", all); return err })
	return out
}

// restore puts a lost value back, as a person at this site asks.
func (s *site) restore(c *core.Conflict) core.Answer {
	s.w.t.Helper()
	return s.restored(core.Restored{Pact: "ops", Record: c.Loser.Key.Record, Field: c.Loser.Key.Field, Op: c.Loser.ID()})
}

func (s *site) restored(e core.Restored) (answer core.Answer) {
	s.w.t.Helper()
	e.NowMillis = s.clock()
	answers := 0
	for _, effect := range s.effects(e) {
		if a, ok := effect.(core.Answer); ok {
			answer = a
			answers++
		}
	}
	if answers != 1 {
		s.w.fatalf("%d answers to %+v", answers, e)
	}
	return answer
}

// restoreSome lets somebody somewhere put one lost value back.
func (w *world) restoreSome() {
	s := w.sites[w.rng.IntN(len(w.sites))]
	open := s.conflicts(false)
	if len(open) == 0 {
		return
	}
	c := &open[w.rng.IntN(len(open))]
	if s.restore(c).Refusal.Code != "" {
		return
	}
	w.count++
	v, err := crdt.OpenPlain(c.Loser.Value)
	w.must(err)
	saw, err := crdt.OpenPlain(c.Current.Op.Value)
	w.must(err)
	w.edits[fmt.Sprint("restore ", w.count)] = &edit{
		value: strings.TrimSpace(v.AsText()), saw: strings.TrimSpace(saw.AsText()), field: string(c.Loser.Key.Field),
	}
}

// clash makes two edits of one title of which acme's loses.
func clash(t *testing.T) (w *world, acme, globex *site, a, b connectors.Key) {
	t.Helper()
	w, acme, globex, a, b = calm(t, nil)
	acme.edit(a, "title", "mine")
	globex.edit(b, "title", "theirs")
	w.rest()
	acme.shows(a, "title", "theirs")
	return w, acme, globex, a, b
}

func TestConflictIsListedOnBothSides(t *testing.T) {
	w, acme, globex, _, _ := clash(t)
	for _, s := range w.sites {
		all := s.conflicts(false)
		if len(all) != 1 {
			t.Fatalf("%s lists %d conflicts", s.name, len(all))
		}
		c := all[0]
		lost, err := crdt.OpenPlain(c.Loser.Value)
		w.must(err)
		now, err := crdt.OpenPlain(c.Current.Op.Value)
		w.must(err)
		if lost.AsText() != "mine" || now.AsText() != "theirs" || c.Loser.Author.Site != acme.name ||
			c.Winner.ID != c.Current.Op.ID() || c.Winner.ID.Author.Site != globex.name || c.State != crdt.LostOpen || c.Restoring {
			t.Errorf("%s: %+v", s.name, c)
		}
	}
}

// Either side may put the value back; it is one op, and the record closes.
func TestRestoreOnEitherSide(t *testing.T) {
	for i := range 2 {
		w, acme, globex, a, b := clash(t)
		s := w.sites[i]
		c := s.conflicts(false)[0]
		first := s.restore(&c)
		if first.Refusal.Code != "" || first.Already || first.Op.Author.Site != s.name {
			t.Fatalf("%s: %+v", s.name, first)
		}
		if now := s.conflicts(false); len(now) != 1 || !now[0].Restoring {
			t.Errorf("%s: on its way: %+v", s.name, now)
		}
		if again := s.restore(&c); again != (core.Answer{Already: true, Op: first.Op}) {
			t.Errorf("%s: on its way, again: %+v", s.name, again)
		}
		w.rest()
		acme.shows(a, "title", "mine")
		globex.shows(b, "title", "mine")
		for _, other := range w.sites {
			if open := other.conflicts(false); len(open) != 0 {
				t.Errorf("%s: %d are open", other.name, len(open))
			}
			if all := other.conflicts(true); len(all) != 1 || all[0].State != crdt.LostResolved || all[0].Resolver.ID != first.Op {
				t.Errorf("%s: %+v", other.name, all)
			}
			if again := other.restore(&c); again != (core.Answer{Already: true, Op: first.Op}) {
				t.Errorf("%s, done before: %+v", other.name, again)
			}
			if n := len(other.pending()); n != 0 {
				t.Errorf("%s: %d ops wait", other.name, n)
			}
		}
		acme.edit(a, "title", "later")
		w.rest()
		globex.shows(b, "title", "later")
		if again := s.restore(&c); again.Refusal.Code != "conflict.answered" {
			t.Errorf("%s: after a later edit: %+v", s.name, again)
		}
	}
}

// An edit that the restoring person had not seen is a conflict as any other.
func TestRestoreAgainstAnUnseenEdit(t *testing.T) {
	w, acme, globex, a, b := clash(t)
	c := acme.conflicts(false)[0]
	if answer := acme.restore(&c); answer.Refusal.Code != "" {
		t.Fatal(answer)
	}
	globex.edit(b, "title", "at once")
	w.rest()
	acme.shows(a, "title", "at once")
	open := globex.conflicts(false)
	if len(open) != 1 || open[0].Loser.ID().Author.Site != acme.name {
		t.Fatalf("%+v", open)
	}
	v, err := crdt.OpenPlain(open[0].Loser.Value)
	w.must(err)
	if !v.Equal(value.Text("mine")) {
		t.Errorf("the record keeps %v", v)
	}
}

func TestRestoreIsRefused(t *testing.T) {
	for code, spoil := range map[string]func(*site, connectors.Key, *core.Restored){
		"conflict.unknown": func(_ *site, _ connectors.Key, e *core.Restored) { e.Op.Seq += 1000 },
		pact.ReasonWriter: func(s *site, _ connectors.Key, _ *core.Restored) {
			p := tickets()
			p.Fields[3].Writers = []crdt.Site{"globex"}
			s.cfg.Pacts["ops"] = p
		},
		pact.ReasonValue: func(s *site, _ connectors.Key, _ *core.Restored) {
			p := tickets()
			p.Fields[3].BytesMax = 2
			s.cfg.Pacts["ops"] = p
		},
		"conflict.busy": func(s *site, a connectors.Key, _ *core.Restored) {
			s.edit(a, "title", "newest")
			s.observe(a)
		},
	} {
		t.Run(code, func(t *testing.T) {
			w, acme, _, a, _ := clash(t)
			c := acme.conflicts(false)[0]
			e := core.Restored{Pact: "ops", Record: c.Loser.Key.Record, Field: "title", Op: c.Loser.ID()}
			spoil(acme, a, &e)
			before := len(acme.pending())
			answer := acme.restored(e)
			if answer.Refusal.Code != code || answer.Refusal.Message == "" || answer.Refusal.Later != (code == "conflict.busy") {
				t.Errorf("%+v", answer)
			}
			if after := len(acme.pending()); after != before {
				t.Errorf("a refusal said %d ops", after-before)
			}
			acme.cfg.Pacts["ops"] = tickets()
			w.rest()
		})
	}
}

// A foreign pact, or one without a system here, is refused like an unknown op.
func TestRestoreInNoPact(t *testing.T) {
	_, acme, _, _, _ := clash(t)
	c := acme.conflicts(false)[0]
	if a := acme.restored(core.Restored{Pact: "other", Record: c.Loser.Key.Record, Field: "title", Op: c.Loser.ID()}); a.Refusal.Code != "conflict.unknown" {
		t.Errorf("%+v", a)
	}
}
