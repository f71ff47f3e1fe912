package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

func prunesLittle(t testing.TB) {
	was := pruneMin
	pruneMin = 7
	t.Cleanup(func() { pruneMin = was })
}

// TestHistoryTwin: whatever was written, checkpointed, crashed over, pruned,
// moved, ended and begun again, every time within the retention is answered as the
// list of all versions answers it, and the sum of the history is that of its rows.
func TestHistoryTwin(t *testing.T) {
	prunesLittle(t)
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			a := newAnnals(t, 2)
			clock, version := now, uint32(1)
			for range 200 {
				switch n := r.IntN(42); {
				case n < 30:
					clock += r.Int64N(state.DayMillis / 4)
					back := r.Int64N(3) * state.DayMillis / 5 // another leader's clock may be behind
					a.edit(max(clock-back, a.since), []crdt.Site{"acme", "globex"}[r.IntN(2)], r.IntN(5), r.IntN(3) == 0)
				case n < 36:
					a.checkpoint()
				case n < 38:
					a.crash()
				case n < 39:
					a.move()
				case n < 40:
					clock += 3 * state.DayMillis // all but what is current is older than the retention
					a.edit(clock, "acme", r.IntN(5), false)
				case n < 41:
					version++
					if a.none {
						a.begin(clock, version, 2)
					} else {
						a.end(clock, version)
					}
				case !a.none:
					a.answers(r)
				}
			}
			if a.none {
				a.begin(clock, version+1, 2)
			}
			a.answers(r)
			a.scrub()
		})
	}
}

// answers asks for times that may be asked for, the oldest of them too.
func (a *annals) answers(r *rand.Rand) {
	a.t.Helper()
	horizon := max(a.since, a.clock-2*state.DayMillis)
	for range 3 {
		a.compare(horizon + r.Int64N(a.clock-horizon+1))
	}
	a.compare(horizon)
	a.timelines(horizon)
}

// TestHistoryBeginsAgain: what an ended history leaves is no predecessor in
// the next one: a pass that drops it does not drop it again for its successor.
func TestHistoryBeginsAgain(t *testing.T) {
	prunesLittle(t)
	a := newAnnals(t, 2)
	for i := range 50 {
		a.edit(now+int64(i), "acme", i%5, false)
	}
	a.checkpoint()
	a.end(now+100, 2)
	a.begin(now+101, 3, 2)
	for i := range 5 {
		a.edit(now+102, "acme", i, false)
	}
	a.checkpoint() // prunes a piece of the 50
	later := now + 30*state.DayMillis
	for range 20 {
		a.edit(later, "acme", 9, false)
		a.checkpoint()
	}
	if n := a.rows(); n != 5+20 {
		t.Fatalf("%d rows, want one of each of 5 registers and 20 of the last", n)
	}
	a.scrub()
	a.compare(later)
}

func (a *annals) scrub() {
	a.t.Helper()
	c, err := a.store.BeginScrub()
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.End()
	for done := false; !done; {
		if _, _, done, err = c.Step(1 << 12); err != nil {
			a.t.Fatal(err)
		}
	}
}

// rows counts rows of history.
func (a *annals) rows() (n int) {
	a.t.Helper()
	err := scanRows(a.store.db, a.store.ts, []byte{kindKept}, func(_, _ []byte) error { n++; return nil })
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// TestHistoryRetention: as the leaders' clock advances versions go, but of each
// register the one that was current at the horizon stays, however old it is.
func TestHistoryRetention(t *testing.T) {
	prunesLittle(t)
	a := newAnnals(t, 2)
	for i := range 50 {
		a.edit(now+int64(i), "acme", i%5, false)
	}
	a.checkpoint()
	if n := a.rows(); n != 50 {
		t.Fatalf("%d rows, want 50", n)
	}
	later := now + 30*state.DayMillis
	a.edit(later, "acme", 9, false)
	for range 20 { // each prunes a bounded piece
		a.edit(later, "acme", 9, false)
		a.checkpoint()
	}
	if n := a.rows(); n != 5+21 {
		t.Fatalf("%d rows, want the newest of each of 5 registers and 21 of the last", n)
	}
	a.compare(later - 2*state.DayMillis)
	_, err := a.AsOf(state.Moment{Pact: "tickets", Type: "ticket", Record: record(1), Millis: later - 2*state.DayMillis - 1})
	if !errors.Is(err, state.ErrHistoryBefore) {
		t.Fatalf("before the retention: %v", err)
	}
}

// TestHistoryNone: a pact that keeps none has no row, and the store and snapshots
// stay readable for a program without history.
func TestHistoryNone(t *testing.T) {
	for _, days := range []int{0, pact.HistoryNone} {
		a := newAnnals(t, days)
		for i := range 20 {
			a.edit(now+int64(i), "acme", i%2, i%3 == 0)
		}
		a.checkpoint()
		meta, err := newestMeta(a.store.db)
		if err != nil || a.rows() != 0 || meta.kept != (pageSum{}) || meta.ClockMillis != 0 {
			t.Fatalf("%d rows, meta %+v, %v", a.rows(), meta, err)
		}
		if b := snapshot(t, &hub{Machine: a.Machine}); b[len(snapshotMagic)] != 1 {
			t.Fatalf("snapshot of format %d", b[len(snapshotMagic)])
		}
		if _, err := a.History(state.Span{Key: titleOf(0)}); !errors.Is(err, state.ErrHistoryNone) {
			t.Fatalf("history that is not kept: %v", err)
		}
	}
}

// TestHistoryBeginsAndEnds: what came before the history is known while it is
// current, and said to be unknown afterwards; an ended history leaves no row and
// never shows in a later one.
func TestHistoryBeginsAndEnds(t *testing.T) {
	prunesLittle(t)
	a := newAnnals(t, 0)
	a.edit(now+1, "acme", 0, false)
	a.edit(now+2, "acme", 1, false)
	a.agree(now+10, 2, 5)
	a.edit(now+20, "acme", 1, false)
	a.checkpoint()
	ask := func(n int, millis int64) (state.Registers, error) {
		return a.AsOf(state.Moment{Pact: "tickets", Type: "ticket", Record: record(n), Millis: millis, Limit: 10, BytesMax: 1 << 20})
	}
	if _, err := ask(0, now+9); !errors.Is(err, state.ErrHistoryBefore) {
		t.Fatalf("before the history: %v", err)
	}
	if got, err := ask(0, now+15); err != nil || len(got.Versions) != 1 || got.Versions[0].Offset != 1 || got.Versions[0].Millis != 0 {
		t.Fatalf("an untouched register: %+v, %v", got, err)
	}
	if got, err := ask(1, now+15); err != nil || len(got.Versions) != 0 || !slices.Equal(got.Unknown, []crdt.Field{"title"}) {
		t.Fatalf("a version that nobody kept: %+v, %v", got, err)
	}
	if got, err := ask(1, now+20); err != nil || len(got.Versions) != 1 || got.Versions[0].Offset != 3 {
		t.Fatalf("a kept version: %+v, %v", got, err)
	}
	a.agree(now+30, 3, 0)
	a.agree(now+40, 4, 5)
	got, err := a.History(state.Span{Key: titleOf(1), Limit: 10, BytesMax: 1 << 20})
	if err != nil || len(got.Versions) != 1 || got.Versions[0].Millis != 0 {
		t.Fatalf("a history that ended shows: %+v, %v", got, err)
	}
	a.agree(now+50, 5, pact.HistoryNone)
	for range 3 {
		a.edit(now+60, "acme", 1, false)
		a.checkpoint()
	}
	if n := a.rows(); n != 0 {
		t.Fatalf("%d rows of an ended history", n)
	}
}

// TestHistoryRetentionGrows: more days do not bring back what one replica may have
// pruned and another not.
func TestHistoryRetentionGrows(t *testing.T) {
	a := newAnnals(t, 1)
	for i := range 10 {
		a.edit(now+int64(i)*state.DayMillis, "acme", 0, false)
	}
	last := now + 9*state.DayMillis
	a.agree(last, 2, 30)
	_, err := a.History(state.Span{Key: titleOf(0), From: last - state.DayMillis - 1})
	if !errors.Is(err, state.ErrHistoryBefore) {
		t.Fatalf("before what was kept: %v", err)
	}
	got, err := a.History(state.Span{Key: titleOf(0), Limit: 10, BytesMax: 1 << 20})
	if err != nil || len(got.Versions) != 2 {
		t.Fatalf("%d versions, %v, want the one at the horizon and the newest", len(got.Versions), err)
	}
}

// TestHistoryOfReplicas: a replica that checkpoints and prunes at each entry, and
// one that never does, answer alike.
func TestHistoryOfReplicas(t *testing.T) {
	prunesLittle(t)
	a, b := newAnnals(t, 1), newAnnals(t, 1)
	for i := range 80 {
		clock := now + int64(i)*state.DayMillis/10
		for _, x := range []*annals{a, b} {
			x.edit(clock, "acme", i%3, i%7 == 0)
		}
		a.checkpoint()
	}
	if a.rows() >= 80 {
		t.Fatalf("nothing was pruned: %d rows", a.rows())
	}
	for key := range a.twin {
		span := state.Span{Key: key, Limit: 100, BytesMax: 1 << 20}
		x, errA := a.History(span)
		y, errB := b.History(span)
		if errA != nil || errB != nil || fmt.Sprint(x) != fmt.Sprint(y) {
			t.Fatalf("%s: %v, %v\n%v\n%v", key, errA, errB, x, y)
		}
	}
}

// TestHistoryDamage: a row that is missing, or that flipped, is found by the scrub
// and before a snapshot spreads it; one that was never written, before the log is
// cut.
func TestHistoryDamage(t *testing.T) {
	for name, harm := range map[string]func(txn *badger.Txn, key, row []byte) error{
		"missing": func(txn *badger.Txn, key, _ []byte) error { return txn.Delete(key) },
		"flipped": func(txn *badger.Txn, key, row []byte) error { row[len(row)-1] ^= 1; return txn.Set(key, row) },
		"moved": func(txn *badger.Txn, key, row []byte) error {
			key[len(key)-1] ^= 0x40
			return set(txn, key, row)
		},
	} {
		a := newAnnals(t, 2)
		for i := range 10 {
			a.edit(now+int64(i), "acme", 0, false)
		}
		c := a.TakeDirty()
		if err := a.store.Checkpoint(c); err != nil {
			t.Fatal(err)
		}
		a.Persisted(c)
		key := keptKey(&crdt.Key{Pact: "tickets", Type: "ticket", Record: record(0), Field: "title"}, 4)
		txn := a.store.db.NewTransactionAt(a.store.ts, true)
		item, err := txn.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		row := must(item.ValueCopy(nil))
		if err := errors.Join(harm(txn, bytes.Clone(key), row), txn.CommitAt(a.store.ts, nil)); err != nil {
			t.Fatal(err)
		}
		if err := a.store.Verify(); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: verify: %v", name, err)
		}
		s, err := a.store.BeginScrub()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := s.Step(1 << 20); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: scrub: %v", name, err)
		}
		s.End()
		var b bytes.Buffer
		if err := a.store.Stream(&b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: stream: %v", name, err)
		}
	}
}

// FuzzKept: no bytes make the reader of a row panic, and what it takes is written
// as it was.
func FuzzKept(f *testing.F) {
	a := newAnnals(f, 2)
	for i := range 3 {
		a.edit(now+int64(i), "acme", 0, false)
	}
	c := a.TakeDirty()
	for i := range c.Kept {
		_ = c.Kept[i].Each(func(message []byte) error { f.Add(bytes.Clone(message)); return nil })
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, key, err := readKept(b, nil)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Fatalf("unnamed error: %v", err)
			}
			return
		}
		if v.Offset == 0 || v.Replaced >= v.Offset || v.Millis < 0 {
			t.Fatalf("taken: %+v", v)
		}
		if err := checkKept(key, b); err != nil {
			t.Fatal(err)
		}
	})
}
