package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
)

// truth is what people did and saw, which no part of the system can know.
type truth struct {
	edits    []edit
	comments []comment
	seen     map[string]bool // markers that a delete, or somebody clearing a field, had seen
	excused  map[string]bool // see desk.ranOver
	deleted  map[place]bool
	private  map[place]string
	secrets  [][]byte
	count    int
	creates  int
	acts     int // fields changed, records made, comments: what may cause a write elsewhere
}

// place is one record in one system.
type place struct {
	desk *desk
	key  connectors.Key
}

// edit is one edit of a text. Every text holds a marker that names its edit.
type edit struct {
	id, saw string
	place   place
	field   string
}

// comment is one comment by a person.
type comment struct {
	id       string
	place    place
	internal bool
}

func newTruth() *truth {
	return &truth{seen: map[string]bool{}, excused: map[string]bool{}, deleted: map[place]bool{}, private: map[place]string{}}
}

func (t *truth) excuse(id string) { t.excused[id] = true }

// mark names the next edit so that no normaliser changes the name.
func (t *truth) mark() string {
	t.count++
	return fmt.Sprintf("q%dq", t.count)
}

// secret is a text that no other party may ever see.
func (t *truth) secret() string {
	t.count++
	s := fmt.Sprintf("zz%dzz", t.count)
	t.secrets = append(t.secrets, []byte(s))
	return s
}

// marker finds the name of the edit that a text is from; "" for none.
func marker(v value.Value) string {
	text := v.AsText()
	for {
		i := strings.IndexByte(text, 'q')
		if i < 0 {
			return ""
		}
		digits := strings.IndexByte(text[i+1:], 'q')
		if digits > 0 && strings.Trim(text[i+1:i+1+digits], "0123456789") == "" {
			return text[i : i+digits+2]
		}
		text = text[i+1:]
	}
}

// private checks that an entry of the hub's log holds no secret.
func (w *world) private(entry []byte) {
	for _, s := range w.truth.secrets {
		if bytes.Contains(entry, s) {
			w.fail("14 privacy", []string{string(s)}, "the secret %s is in the hub's log", s)
		}
	}
}

// echoed checks that an agent says only what people in its own systems wrote,
// whatever its systems make of that and tell of it.
func (w *world) echoed(op *crdt.Op) {
	if op.Key.Type != w.agreed.pact.Record || op.Key.Field.Reserved() {
		return
	}
	v, err := crdt.OpenPlain(op.Value)
	if err != nil {
		return
	}
	i := slices.IndexFunc(w.truth.edits, func(e edit) bool { return e.id == marker(v) })
	if i < 0 {
		return
	}
	from := w.truth.edits[i].place
	for _, a := range w.agents {
		if a.site() != op.Author.Site || a == from.desk.agent || a.crashes > 0 || w.plan.restore || a.wild() {
			continue // a crash inside a write may cost one
		}
		w.fail("8 no echo", []string{short(op.Key.Record), from.desk.at(from.key)}, "%s says %s on %s, which people at %s wrote",
			op.Author.Site, v, op.Key, from.desk)
	}
}

// wild reports whether a system of the agent rewrites what is written, and neither
// says so nor tells who wrote what.
func (a *agent) wild() bool {
	return slices.ContainsFunc(a.desks, func(d *desk) bool { return !d.declared(d.words.description) })
}

// act lets somebody do something in d.
func (w *world) act(d *desk) {
	keys := d.sys.Keys()
	if len(keys) == 0 || len(keys) < 4 && w.rng.IntN(8) == 0 {
		w.create(d)
		return
	}
	p := place{d, keys[min(w.rng.IntN(len(keys)), w.rng.IntN(len(keys)))]} // the older, the busier
	rec, _ := d.sys.Get(p.key)
	switch w.rng.IntN(12) {
	case 0, 1:
		w.comment(p)
	case 2:
		w.choose(p, d.words.status, d.words.statuses)
	case 3:
		w.choose(p, d.words.priority, d.words.priorities)
	case 4:
		w.other(p, &rec)
	case 5:
		w.edit(p, &rec, d.words.title, d.words.description)
	case 6, 7:
		w.edit(p, &rec, d.words.title)
	default:
		w.edit(p, &rec, d.words.description)
	}
}

// text decorates a marker with what normalisers like to change.
func (w *world) text(id string) string {
	t := []string{id, "About " + id, "  " + id + " \n", "**" + id + "** is bold", "One\n* " + id + "\n", "\r\nTwo\r\n" + id}
	return t[w.rng.IntN(len(t))]
}

func (w *world) create(d *desk) {
	title, description := w.truth.mark(), w.truth.mark()
	fields := map[string]value.Value{
		d.words.title: value.Text(title), d.words.description: value.Text(w.text(description)), d.words.status: d.words.statuses[0],
	}
	if w.rng.IntN(3) == 0 {
		delete(fields, d.words.description)
	}
	p := place{d, d.sys.Create(jane, d.spelled(fields), time.Time{})}
	w.truth.edits = append(w.truth.edits, edit{id: title, place: p, field: d.words.title})
	if _, filled := fields[d.words.description]; filled {
		w.truth.edits = append(w.truth.edits, edit{id: description, place: p, field: d.words.description})
	}
	w.truth.acts++
	w.truth.creates++
	w.logf(p, "somebody creates %v", fields)
}

// edit changes texts in one save.
func (w *world) edit(p place, rec *connectors.Record, names ...string) {
	writes := map[string]value.Value{}
	for _, name := range names {
		saw := marker(rec.Fields[name])
		if name == p.desk.words.description && w.rng.IntN(10) == 0 {
			w.truth.seen[saw] = true
			writes[name] = value.Null()
			continue
		}
		id := w.truth.mark()
		w.truth.edits = append(w.truth.edits, edit{id, saw, p, name})
		text := w.text(id)
		if name == p.desk.words.title {
			text = strings.Join(strings.Fields(text), " ")
		}
		writes[name] = value.Text(text)
	}
	w.save(p, writes)
}

func (w *world) save(p place, writes map[string]value.Value) {
	w.truth.acts += len(writes)
	if err := p.desk.sys.Edit(jane, p.key, p.desk.spelled(writes), time.Time{}); err != nil {
		w.fail("world", nil, "edit: %v", err)
	}
	w.logf(p, "somebody saves %v", writes)
}

func (w *world) choose(p place, name string, values []value.Value) {
	w.save(p, map[string]value.Value{name: values[w.rng.IntN(len(values))]})
}

// other is what people do less often.
func (w *world) other(p place, rec *connectors.Record) {
	switch w.rng.IntN(4) {
	case 0:
		day := time.Date(2026, 3, 1+w.rng.IntN(28), 0, 0, 0, 0, time.UTC)
		w.save(p, map[string]value.Value{p.desk.words.due: value.Date(day)})
	case 1:
		w.save(p, map[string]value.Value{p.desk.words.priority: p.desk.words.stray})
	case 2:
		s := w.truth.secret()
		w.truth.private[p] = s
		w.save(p, map[string]value.Value{p.desk.words.private: value.Text(s)})
	default:
		for _, name := range p.desk.texts() {
			w.truth.seen[marker(rec.Fields[name])] = true
		}
		w.truth.deleted[p] = true
		if err := p.desk.sys.Delete(p.key); err != nil {
			w.fail("world", nil, "delete: %v", err)
		}
		w.logf(p, "somebody deletes it")
	}
}

func (w *world) comment(p place) {
	c := comment{place: p, internal: w.rng.IntN(4) == 0}
	if c.internal {
		c.id = w.truth.secret()
	} else {
		c.id = w.truth.mark()
		w.truth.acts++
	}
	w.truth.comments = append(w.truth.comments, c)
	if _, err := p.desk.sys.AddComment(jane, p.key, w.text(c.id), c.internal, time.Time{}); err != nil {
		w.fail("world", nil, "comment: %v", err)
	}
	w.logf(p, "somebody comments %s, internal %v", c.id, c.internal)
}

// jane is everybody.
const jane = "jane"
