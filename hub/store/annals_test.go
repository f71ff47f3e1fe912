package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// annals is a node with a store, the log that it would replay, and beside it a
// dumb list of every version that ever became current.
type annals struct {
	*state.Machine
	t     testing.TB
	store *Store
	dir   string
	log   []command.Entry // of index 1 and up
	clock int64           // greatest of the log
	head  crdt.Offset     // what the list has seen
	next  map[crdt.Author]crdt.Seq
	twin  map[crdt.Key][]listed
	since int64 // when the history began
	none  bool  // the pact keeps none
}

type listed struct {
	offset crdt.Offset
	millis int64 // 0: it became current while no history was kept, and is known until it is replaced
	digest crdt.Digest
}

func newAnnals(t testing.TB, days int) *annals {
	t.Helper()
	a := &annals{
		Machine: state.New(), t: t, dir: t.TempDir(),
		next: map[crdt.Author]crdt.Seq{}, twin: map[crdt.Key][]listed{}, since: now,
	}
	a.open()
	a.entry(now, &command.Found{Hub: command.HubID{1}, Epoch: epoch})
	a.agree(now, 1, days)
	return a
}

func (a *annals) open() {
	a.t.Helper()
	s, err := Open(a.dir, Options{MemTableBytes: 1 << 20})
	if err != nil {
		a.t.Fatal(err)
	}
	a.store = s
	a.Machine = state.New()
	if err := s.LoadInto(a.Machine, s); err != nil {
		a.t.Fatal(err)
	}
	a.KeepPages(0)
	for i := a.Index(); i < uint64(len(a.log)); i++ {
		a.replay(i+1, a.log[i])
	}
}

func (a *annals) replay(index uint64, e command.Entry) state.Result {
	a.t.Helper()
	done, err := a.Prepare(e)
	if err != nil {
		a.t.Fatal(err)
	}
	defer done()
	return a.Apply(index, e)
}

// entry applies commands at a leader's clock, and lists what became current.
func (a *annals) entry(millis int64, cs ...command.Command) state.Result {
	a.t.Helper()
	e := command.Entry{TimeMillis: millis, DriftMaxMillis: 1 << 50, Commands: cs}
	a.log = append(a.log, e)
	a.clock = max(a.clock, millis)
	res := a.replay(uint64(len(a.log)), e)
	for _, c := range res.Commands {
		if c.Reason != "" {
			a.t.Fatalf("entry %d: %s", len(a.log), c.Reason)
		}
	}
	if len(a.Pacts()) == 0 {
		return res
	}
	slice, err := a.Feed("tickets", crdt.Position{Epoch: epoch, Offset: a.head}, 1000, 1<<20)
	if err != nil {
		a.t.Fatal(err)
	}
	entries, err := slice.Decode()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, s := range entries {
		key := s.Register.Op.Key
		a.twin[key] = append(a.twin[key], listed{s.Offset, a.clock, s.Register.Digest})
	}
	a.head = slice.Head
	if a.none {
		a.forget()
	}
	return res
}

// agree puts a version of the pact in force.
func (a *annals) agree(millis int64, version uint32, days int) {
	a.t.Helper()
	p := &pact.Pact{
		Name: "tickets", Version: version, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Deletes: []crdt.Site{"acme"}, Fields: []pact.Field{{Name: "title", Type: pact.TypeText}},
		Limits: pact.Limits{HistoryDays: days},
	}
	a.entry(millis, &command.PutPact{Document: p.Encode()})
}

// end ends the history.
func (a *annals) end(millis int64, version uint32) {
	a.t.Helper()
	a.agree(millis, version, pact.HistoryNone)
	a.none = true
	a.forget()
}

// forget drops from the list what nobody can ask for any more.
func (a *annals) forget() {
	for key, all := range a.twin {
		last := all[len(all)-1]
		a.twin[key] = []listed{{last.offset, 0, last.digest}}
	}
}

// begin begins another history.
func (a *annals) begin(millis int64, version uint32, days int) {
	a.t.Helper()
	a.agree(millis, version, days)
	a.none, a.since = false, millis
}

func record(n int) crdt.RecordID { return crdt.RecordID{0: 1, 15: byte(n)} }

func titleOf(n int) crdt.Key {
	return crdt.Key{Pact: "tickets", Type: "ticket", Record: record(n), Field: "title"}
}

// edit writes a title on what is current, or on nothing if blind: then it
// conflicts.
func (a *annals) edit(millis int64, site crdt.Site, n int, blind bool) {
	a.t.Helper()
	author := crdt.Author{Site: site, Agent: "main", Incarnation: 1}
	a.next[author]++
	op := crdt.Op{
		Key: titleOf(n), Stamp: crdt.StampOf(now+int64(len(a.log)), 0), Author: author, Seq: a.next[author],
		PactVersion: 1, Binding: 1, Evidence: crdt.Evidence{Class: crdt.EvidencePoll},
		Value: crdt.Plain(value.Text(fmt.Sprintf("%s %d", site, len(a.log)))),
	}
	if cur, err := a.Get(op.Key); err != nil {
		a.t.Fatal(err)
	} else if cur != nil && !blind {
		op.Base = crdt.Base{Pred: cur.Register.Op.ID(), Birth: cur.Register.Birth}
	}
	res := a.entry(millis, &command.Publish{Site: site, Agent: "main", Pact: "tickets", Epoch: epoch, Ops: []crdt.Op{op}})
	if r := res.Commands[0].Ops[0]; r.Outcome != state.OutcomeApplied {
		a.t.Fatalf("edit: %s %s", r.Outcome, r.Reason)
	}
}

func (a *annals) checkpoint() {
	a.t.Helper()
	c := a.TakeDirty()
	if err := a.store.Checkpoint(c); err != nil {
		a.t.Fatal(err)
	}
	a.Persisted(c)
	if len(a.log)%2 == 0 {
		if err := a.store.Verify(); err != nil {
			a.t.Fatal(err)
		}
	}
	if n := a.rows(); uint64(n) != a.store.kept.count {
		a.t.Fatalf("%d rows of history, but the sum in the meta row has %d", n, a.store.kept.count)
	}
}

// crash ends the process, in the middle of a checkpoint if there is something to
// write: everything but its meta row is there. It goes on with what that leaves.
func (a *annals) crash() {
	a.t.Helper()
	s, c := a.store, a.TakeDirty()
	if c.Meta.Index > s.Index() {
		if err := s.look(); err != nil {
			a.t.Fatal(err)
		}
		at := max(c.Meta.Index, s.newest+1)
		w := &writer{
			db: s.db, from: s.ts, at: at, pages: s.pages, leftovers: s.leftovers, batch: s.db.NewWriteBatchAt(at),
			kept: s.kept, keptBefore: s.kept, fresh: s.fresh, verified: s.verified, pruned: s.pruned,
		}
		if err := errors.Join(w.rows(c), w.batch.Flush()); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		a.t.Fatal(err)
	}
	a.open()
}

// move goes on in another directory, with what a snapshot brings.
func (a *annals) move() {
	a.t.Helper()
	var b bytes.Buffer
	f := a.Freeze()
	err := WriteFrozen(&b, f)
	f.Close()
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := CheckSnapshot(bytes.NewReader(b.Bytes())); err != nil {
		a.t.Fatal(err)
	}
	img, err := ReadSnapshot(&b)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := errors.Join(a.store.Restore(img), a.store.Verify(), a.store.Close()); err != nil {
		a.t.Fatal(err)
	}
	a.open()
}

// want is what the list says was current at a time.
func (a *annals) want(key crdt.Key, millis int64) (v listed, ok bool) {
	for _, l := range a.twin[key] {
		if l.millis <= millis {
			v, ok = l, true
		}
	}
	return v, ok
}

// compare asks about every register at a time, alone and with its record.
func (a *annals) compare(millis int64) {
	a.t.Helper()
	records := map[crdt.RecordID]int{}
	for key := range a.twin {
		at := state.Moment{Pact: key.Pact, Type: key.Type, Record: key.Record, Field: key.Field, Millis: millis, Limit: 1, BytesMax: 1}
		got, err := a.AsOf(at)
		if err != nil {
			a.t.Fatalf("as of %d: %v", millis-now, err)
		}
		want, ok := a.want(key, millis)
		all := a.twin[key]
		gone := ok && want.millis == 0 && want != all[len(all)-1]
		ok = ok && !gone
		if ok != (len(got.Versions) == 1) || gone != (len(got.Unknown) == 1) {
			a.t.Fatalf("%s as of %d: %d versions, %d unknown, want %v", key, millis-now, len(got.Versions), len(got.Unknown), want)
		}
		if !ok {
			continue
		}
		records[key.Record]++
		v := got.Versions[0]
		if (listed{v.Offset, v.Millis, v.Register.Digest}) != want {
			a.t.Fatalf("%s as of %d: offset %d at %d, want %d at %d", key, millis-now, v.Offset, v.Millis-now, want.offset, want.millis-now)
		}
	}
	for record, want := range records {
		at, n := state.Moment{Pact: "tickets", Type: "ticket", Record: record, Millis: millis, Limit: 2, BytesMax: 1 << 20}, 0
		for {
			page, err := a.AsOf(at)
			if err != nil {
				a.t.Fatal(err)
			}
			n += len(page.Versions)
			if at.After = page.Next; at.After == "" {
				break
			}
		}
		if n != want {
			a.t.Fatalf("record %x as of %d: %d registers, want %d", record, millis-now, n, want)
		}
	}
}

// timelines asks for every version since a time, page by page.
func (a *annals) timelines(from int64) {
	a.t.Helper()
	for key, all := range a.twin {
		var want []listed
		for i, l := range all {
			if i == len(all)-1 || all[i+1].millis > from && l.millis > 0 {
				want = append(want, l)
			}
		}
		var got []listed
		span := state.Span{Key: key, From: from, Limit: 3, BytesMax: 1 << 20}
		for {
			page, err := a.History(span)
			if err != nil {
				a.t.Fatal(err)
			}
			for _, v := range page.Versions {
				got = append(got, listed{v.Offset, v.Millis, v.Register.Digest})
			}
			if span.After = page.Next; span.After == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			a.t.Fatalf("%s since %d: %d versions, want %d", key, from-now, len(got), len(want))
		}
	}
}
