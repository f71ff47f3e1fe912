package sim

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/outbox"
	"github.com/entente-sync/entente/agent/shadow"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// final is how things stand at rest.
type final struct {
	*world
	registers map[crdt.Key]*crdt.Register
	records   []crdt.RecordID // in order of their birth
	deleted   map[crdt.RecordID]bool
	links     map[*desk]map[crdt.RecordID]connectors.Key // shown and deleted ones
	ids       map[place]crdt.RecordID
	holds     map[*desk]map[heldAt]core.Hold
}

type heldAt struct {
	record crdt.RecordID
	field  crdt.Field
}

// check asks whether the invariants hold at rest.
func (w *world) check() {
	f := &final{
		world: w, registers: map[crdt.Key]*crdt.Register{}, deleted: map[crdt.RecordID]bool{},
		links: map[*desk]map[crdt.RecordID]connectors.Key{}, ids: map[place]crdt.RecordID{}, holds: map[*desk]map[heldAt]core.Hold{},
	}
	w.hub.recompute()
	for _, s := range w.hub.machine.Image().Registers {
		r := &s.Register
		f.registers[r.Op.Key] = r
		if r.Op.Key.Type == w.agreed.pact.Record && r.Op.Key.Field == crdt.FieldLife {
			f.records = append(f.records, r.Op.Key.Record)
			l, err := crdt.DecodeLife(r.Op.Value)
			if err != nil {
				w.fail("hub", nil, "life of %s: %v", r.Op.Key, err)
			}
			f.deleted[r.Op.Key.Record] = l.Deleted
		}
	}
	for _, a := range w.agents {
		f.memory(a)
	}
	for _, d := range w.desks {
		f.linked(d)
		f.held(d)
		f.unmoved(d)
	}
	if len(f.records) > f.truth.creates {
		f.fail("5 no duplicate", nil, "people made %d records, the pact has %d", f.truth.creates, len(f.records))
	}
	for _, id := range f.records {
		for _, d := range w.desks {
			f.shows(d, id)
		}
	}
	f.spoken()
	f.kept()
	f.bounded()
}

// names is what to look for in the trace to learn about a record.
func (f *final) names(id crdt.RecordID, more ...string) []string {
	names := append(more, short(id))
	for _, d := range f.desks {
		if key, ok := f.links[d][id]; ok {
			names = append(names, d.at(key))
		}
	}
	return names
}

func short(id crdt.RecordID) string { return hex.EncodeToString(id[:4]) }

// memory checks that an agent's registers are the hub's, and that nothing waits.
func (f *final) memory(a *agent) {
	a.view(func(tx store.Tx) error {
		all, err := outbox.List(tx, pactName)
		if err != nil || len(all) > 0 {
			f.fail("18 progress", nil, "%s: outbox has %d ops at rest (%v)", a.site(), len(all), err)
		}
		n := 0
		err = inbox.Walk(tx, pactName, nil, func(_ []byte, r crdt.Register) error {
			n++
			if want := f.registers[r.Op.Key]; want == nil || want.Digest != r.Digest {
				f.fail("1 convergence", []string{short(r.Op.Key.Record)}, "%s holds another version of %s than the hub: %s",
					a.site(), r.Op.Key, r.Op.ID())
			}
			return nil
		})
		if n != len(f.registers) {
			f.fail("1 convergence", nil, "%s holds %d registers, the hub %d", a.site(), n, len(f.registers))
		}
		return err
	})
}

// linked checks that every record of a system is one record of the pact.
func (f *final) linked(d *desk) {
	f.links[d] = map[crdt.RecordID]connectors.Key{}
	d.agent.view(func(tx store.Tx) error {
		link := func(key connectors.Key, gone bool) error {
			id, ok, err := shadow.ByKey(tx, d.name, key)
			if err != nil || !ok && gone {
				return err
			}
			if _, born := f.deleted[id]; !ok || !born {
				f.fail("4 no change dropped", []string{d.at(key)}, "%s is in no pact", d.at(key))
			}
			if other, twice := f.links[d][id]; twice {
				f.fail("5 no duplicate", f.names(id, d.at(key)), "%s is both %s and %s", short(id), d.at(other), d.at(key))
			}
			f.links[d][id], f.ids[place{d, key}] = key, id
			return nil
		}
		for _, key := range d.sys.Keys() {
			if err := link(key, false); err != nil {
				return err
			}
		}
		for _, p := range f.gone(d) {
			if err := link(p.key, true); err != nil {
				return err
			}
		}
		return nil
	})
}

// gone lists the records of d that somebody deleted there, in order.
func (f *final) gone(d *desk) []place {
	var out []place
	for p := range f.truth.deleted {
		if p.desk == d {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b place) int { return strings.Compare(string(a.key), string(b.key)) })
	return out
}

// held reads a system's holds, and reports those that nothing explains.
func (f *final) held(d *desk) {
	f.holds[d] = map[heldAt]core.Hold{}
	d.agent.view(func(tx store.Tx) error {
		holds, err := core.Holds(tx, d.name)
		if err != nil {
			return err
		}
		gone := 0
		for _, h := range holds {
			f.holds[d][heldAt{h.Record, h.Field}] = h
			key := f.links[d][h.Record]
			ok := false
			switch h.Code {
			case "value.unmapped":
				ok = h.Field == "priority"
			case "brake.oscillation":
				ok = !d.declared(d.words.description) && h.Field == "description"
			case "record.not_found":
				gone++
				ok = f.truth.deleted[place{d, key}]
			case "record.deleted_here":
				ok = f.truth.deleted[place{d, key}]
			case "record.deleted_elsewhere":
				ok = f.deleted[h.Record]
			}
			if !ok {
				f.fail("18 progress", f.names(h.Record), "%s holds %s %s at rest: %s", d.at(key), short(h.Record), h.Field, h.Code)
			}
		}
		st, err := core.StatusOf(tx, d.name)
		if st.Intents > gone { // what is not shown any more cannot be settled
			f.fail("18 progress", nil, "%s has %d open writes at rest", d, st.Intents)
		}
		return err
	})
}

// unmoved checks that what is bound to nothing stayed as people left it.
func (f *final) unmoved(d *desk) {
	for _, key := range d.sys.Keys() {
		rec, _ := d.sys.Get(key)
		if got := rec.Fields[d.words.private].AsText(); got != f.truth.private[place{d, key}] {
			f.fail("13 authorisation", []string{d.at(key)}, "%s shows %q in %s, which is bound to nothing", d.at(key), got, d.words.private)
		}
	}
}

// shows checks that a system shows the registers of a record through its
// binding, as its habits leave them.
func (f *final) shows(d *desk, id crdt.RecordID) {
	key, linked := f.links[d][id]
	if f.deleted[id] || f.truth.deleted[place{d, key}] {
		return // nothing is created, and what stays is held
	}
	if !linked {
		f.fail("1 convergence", f.names(id), "%s does not show %s", d, short(id))
	}
	rec, _ := d.sys.Get(key)
	for _, name := range d.binding.Fields() {
		if _, held := f.holds[d][heldAt{id, name}]; held {
			continue
		}
		r := f.registers[crdt.Key{Pact: pactName, Type: f.agreed.pact.Record, Record: id, Field: name}]
		if r == nil && !d.remembers(d.binding.Locals(name)[0]) {
			continue // may be a default that the system filled in when it created the record
		}
		want := value.Null()
		if r != nil {
			var err error
			if want, err = crdt.OpenPlain(r.Op.Value); err != nil {
				f.fail("hub", f.names(id), "%s: %v", r.Op.Key, err)
			}
		}
		got, problem := d.binding.Get(name, rec.Fields)
		if problem == nil && got.Equal(want) || f.image(d, name, want, &rec) {
			continue
		}
		f.fail("1 convergence", f.names(id), "%s shows %s = %s, the register is %s", d.at(key), name, got, want)
	}
}

// image reports whether what is shown is what a system makes of want.
func (f *final) image(d *desk, name crdt.Field, want value.Value, rec *connectors.Record) bool {
	writes, problem := d.binding.Put(name, want, rec.Fields)
	if problem != nil {
		return false
	}
	for local, v := range writes {
		shown := rec.Fields[local]
		if !same(d, local, shown, d.normal(local, v, false)) && !same(d, local, shown, d.normal(local, v, true)) {
			return false
		}
	}
	return true
}

// same compares as an agent does that was told of a normaliser.
func same(d *desk, local string, a, b value.Value) bool {
	if slices.Contains(d.sys.Capabilities().Normalises, local) {
		return strings.TrimSpace(flat(a)) == strings.TrimSpace(flat(b))
	}
	return a.Equal(b)
}

// flat is a text with plain line ends and without space before them.
func flat(v value.Value) string {
	lines := strings.Split(strings.ReplaceAll(v.AsText(), "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t")
	}
	return strings.Join(lines, "\n")
}

// spoken counts every comment: a public one once in every system, an internal
// one at home only.
func (f *final) spoken() {
	for _, c := range f.truth.comments {
		id, known := f.ids[c.place]
		for _, d := range f.desks {
			shown := 0
			for _, p := range f.everywhere(d) {
				rec, _ := d.sys.Get(p.key)
				for _, at := range rec.Comments {
					if strings.Contains(at.Body, c.id) {
						shown++
					}
				}
			}
			want := 1
			if c.internal && d != c.place.desk {
				want = 0
			}
			key := f.links[d][id]
			lost := f.deleted[id] || f.truth.deleted[c.place] || f.truth.deleted[place{d, key}] || !known
			if shown > want || shown < want && !lost {
				f.fail("6 comments exactly once", f.names(id, c.id, c.place.desk.at(c.place.key)),
					"comment %s of %s (internal %v) is %d times in %s, want %d", c.id, c.place.desk.at(c.place.key), c.internal, shown, d, want)
			}
		}
	}
}

// everywhere lists all records of d, deleted ones too.
func (f *final) everywhere(d *desk) []place {
	out := f.gone(d)
	for _, key := range d.sys.Keys() {
		out = append(out, place{d, key})
	}
	return out
}

// kept asks of every edit whether it is current, was seen by somebody whose own
// edit is kept, or stands in a conflict record. What lies in a deleted record is
// kept only if the delete had seen it, or by a conflict record.
func (f *final) kept() {
	fine := maps.Clone(f.truth.seen)
	maps.Copy(fine, f.truth.excused)
	for _, d := range f.desks {
		for at, h := range f.holds[d] {
			if h.Outgoing && at.field != "" { // reported, and shown where it was made
				rec, _ := d.sys.Get(f.links[d][at.record])
				for _, local := range d.binding.Locals(at.field) {
					fine[marker(rec.Fields[local])] = true
				}
			}
		}
	}
	for key, r := range f.registers {
		if key.Field.IsLost() {
			fine[f.lost(r)] = true
		} else if v, err := crdt.OpenPlain(r.Op.Value); err == nil && !f.deleted[key.Record] {
			fine[marker(v)] = true
		}
	}
	for _, e := range slices.Backward(f.truth.edits) {
		if !fine[e.id] {
			f.fail("2 no lost update", f.names(f.ids[e.place], e.id, e.place.desk.at(e.place.key)),
				"edit %s of %s in %s is neither current nor seen nor recorded", e.id, e.field, e.place.desk.at(e.place.key))
		}
		fine[e.saw] = true
	}
}

// lost returns the marker that a conflict record keeps.
func (f *final) lost(r *crdt.Register) string {
	l, err := crdt.DecodeLost(&r.Op)
	if err != nil {
		f.fail("2 no lost update", []string{short(r.Op.Key.Record)}, "conflict record %s: %v", r.Op.Key, err)
	}
	v, err := crdt.OpenPlain(l.Loser.Value)
	if err != nil {
		return "" // a link: no edit
	}
	return marker(v)
}

// bounded checks that nobody wrote without end: see DESIGN.md invariant 8.
func (f *final) bounded() {
	landed, excuse := 0, 0
	for _, d := range f.desks {
		c := d.sys.Counts()
		for _, fields := range c.Fields {
			for _, n := range fields {
				landed += n
			}
		}
		landed += c.Kinds[connectors.WriteComment]
		excuse += d.doubts
	}
	for _, a := range f.agents {
		excuse += a.crashes
	}
	others := len(f.desks) - 1
	if limit := others * (4*f.truth.acts + 8*excuse); landed > limit {
		f.fail("8 no echo", nil, "%d fields and comments were written for %d edits, %d doubts and crashes", landed, f.truth.acts, excuse)
	}
}
