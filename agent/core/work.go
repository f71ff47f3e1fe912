package core

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/entente-sync/entente/agent/inbox"
	"github.com/entente-sync/entente/agent/store"
	"github.com/entente-sync/entente/agent/store/pack"
	"github.com/entente-sync/entente/connectors"
	"github.com/entente-sync/entente/crdt"
)

const (
	tableSystem = 's' // system -> systemState
	tableWork   = 'w' // system, item -> work
	tableDue    = 'q' // system, due time, item -> nothing
)

const workVersion = 1

// startedMax bounds what one step starts by itself, so that a long feed slice
// does not make one long transaction.
const startedMax = 64

// dueMax bounds how far ahead anything is put off. What lies beyond was put there
// by a clock that has stepped back since, and is due.
const dueMax = 2 * time.Hour

// item is one thing to look at: a local record to read, or a record of the
// feed that has no local key yet.
type item struct {
	kind byte // itemKey or itemRecord
	name string
}

const (
	itemKey    = 'K'
	itemRecord = 'R'
)

func keyItem(key connectors.Key) item  { return item{itemKey, string(key)} }
func recordItem(id crdt.RecordID) item { return item{itemRecord, string(id[:])} }
func (i item) String() string          { return string(i.kind) + i.name }
func itemOf(s string) (item, error) {
	if len(s) < 1 || s[0] != itemKey && (s[0] != itemRecord || len(s) != 17) {
		return item{}, fmt.Errorf("work item: %w", pack.ErrCorrupt)
	}
	return item{s[0], s[1:]}, nil
}

// work is the state of one item.
type work struct {
	DueMillis int64 // while Issued: when that began
	Issued    bool  // a Read is under way
	Again     bool  // something changed since it was issued
	// Void: what the Read under way shows may be older than what was taken in
	// since; its answer is not looked at.
	Void     bool
	Attempts uint64
}

// systemState is what the agent remembers of one system as a whole.
type systemState struct {
	Cursor   connectors.Cursor
	InFlight int
	// Creates counts the creates since HourMillis, for the brake.
	HourMillis int64
	Creates    int
	// ListedMillis is when the listing was last read to its end.
	ListedMillis int64
}

func encodeSystem(st systemState) []byte {
	w := pack.NewWriter(workVersion)
	w.String(string(st.Cursor))
	w.Uint(uint64(st.InFlight))
	w.Int(st.HourMillis)
	w.Uint(uint64(st.Creates))
	w.Int(st.ListedMillis)
	return w.Bytes()
}

func decodeSystem(b []byte) (systemState, error) {
	r := pack.NewReader(b, workVersion)
	st := systemState{Cursor: connectors.Cursor(r.String())}
	st.InFlight = int(r.Uint() & 0xffff)
	st.HourMillis = r.Int()
	st.Creates = int(r.Uint() & 0xffffffff)
	st.ListedMillis = r.Int()
	return st, r.Close("system state")
}

func systemOf(tx store.Tx, system string) (systemState, error) {
	b, ok, err := tx.Get(pack.Key(tableSystem, system))
	if err != nil || !ok {
		return systemState{}, err
	}
	return decodeSystem(b)
}

func (s *step) changeSystem(system string, change func(*systemState)) error {
	st, err := systemOf(s.tx, system)
	if err != nil {
		return err
	}
	change(&st)
	return s.tx.Set(pack.Key(tableSystem, system), encodeSystem(st))
}

// flight counts the calls under way.
func (s *step) flight(system string, n int) error {
	return s.changeSystem(system, func(st *systemState) { st.InFlight = max(0, st.InFlight+n) })
}

func encodeWork(k work) []byte {
	w := pack.NewWriter(workVersion)
	w.Int(k.DueMillis)
	w.Bool(k.Issued)
	w.Bool(k.Again)
	w.Bool(k.Void)
	w.Uint(k.Attempts)
	return w.Bytes()
}

func decodeWork(b []byte) (work, error) {
	r := pack.NewReader(b, workVersion)
	k := work{DueMillis: r.Int(), Issued: r.Bool(), Again: r.Bool(), Void: r.Bool(), Attempts: r.Uint()}
	return k, r.Close("work")
}

func (s *step) work(system string, it item) (work, bool, error) {
	b, ok, err := s.tx.Get(pack.Key(tableWork, system, it.String()))
	if err != nil || !ok {
		return work{}, false, err
	}
	k, err := decodeWork(b)
	return k, err == nil, err
}

func dueKey(system string, dueMillis int64, it item) []byte {
	return pack.Key(tableDue, system, pack.Ordered(uint64(max(dueMillis, 0))), it.String())
}

// putWork replaces the work of an item; had is what was stored before, if any.
func (s *step) putWork(system string, it item, had *work, k *work) error {
	var errs []error
	if had != nil && !had.Issued {
		errs = append(errs, s.tx.Delete(dueKey(system, had.DueMillis, it)))
	}
	if k == nil {
		return errors.Join(append(errs, s.tx.Delete(pack.Key(tableWork, system, it.String())))...)
	}
	if !k.Issued {
		errs = append(errs, s.tx.Set(dueKey(system, k.DueMillis, it), []byte{workVersion}))
	}
	return errors.Join(append(errs, s.tx.Set(pack.Key(tableWork, system, it.String()), encodeWork(*k)))...)
}

// look puts an item on the list, due now, unless it backs off.
func (s *step) look(system string, it item) error { return s.lookAt(system, it, s.now) }

// lookAt puts an item on the list; an earlier time that it already has stays.
func (s *step) lookAt(system string, it item, dueMillis int64) error {
	k, ok, err := s.work(system, it)
	switch {
	case err != nil:
		return err
	case !ok:
		return s.putWork(system, it, nil, &work{DueMillis: dueMillis})
	case k.Issued:
		had := k
		k.Again = true
		return s.putWork(system, it, &had, &k)
	case k.Attempts > 0 || k.DueMillis <= dueMillis:
		return nil
	}
	had := k
	k.DueMillis = dueMillis
	return s.putWork(system, it, &had, &k)
}

// later puts an item back after its attempts-th failure, at least wait from
// now and longer with every attempt.
func (s *step) later(system string, it item, attempts uint64, wait time.Duration) error {
	k, ok, err := s.work(system, it)
	if err != nil {
		return err
	}
	var had *work
	if ok {
		had = &k
	}
	backoff := min(s.cfg.backoffMin()<<min(attempts, 20), s.cfg.backoffMax())
	due := s.now + max(max(backoff, wait).Milliseconds(), 1)
	return s.putWork(system, it, had, &work{DueMillis: due, Attempts: attempts + 1})
}

// returned ends a Read: the item leaves the list, or comes back at once if
// something changed meanwhile. It returns the work as it was.
func (s *step) returned(system string, it item) (work, error) {
	k, ok, err := s.work(system, it)
	if err != nil || !ok || !k.Issued {
		return k, err
	}
	if err := s.flight(system, -1); err != nil {
		return k, err
	}
	had := k
	if k.Again || k.Void {
		return k, s.putWork(system, it, &had, &work{DueMillis: s.now})
	}
	return k, s.putWork(system, it, &had, nil)
}

// void makes a Read under way worthless: something newer was taken in.
func (s *step) void(system string, key connectors.Key) error {
	k, ok, err := s.work(system, keyItem(key))
	if err != nil || !ok || !k.Issued {
		return err
	}
	had := k
	k.Void = true
	return s.putWork(system, keyItem(key), &had, &k)
}

// schedule starts what is due in one system, as far as its limit allows.
func (s *step) schedule(system string) error {
	feed, err := inbox.GetFeed(s.tx, s.cfg.Systems[system].Binding.Pact())
	if err != nil || !feed.Met || s.pactOf(system) == nil {
		return err
	}
	for range startedMax {
		st, err := systemOf(s.tx, system)
		if err != nil || st.InFlight >= s.cfg.inFlightMax() {
			return err // an answer will come, and with it the next turn
		}
		it, due, ok, err := s.next(system)
		if err != nil {
			return err
		}
		later := due > s.now && due <= s.now+dueMax.Milliseconds()
		if ok && later {
			s.emit(Wake{AtMillis: due})
		}
		if !ok || later {
			return s.turn(system)
		}
		if err := s.start(system, it); err != nil {
			return err
		}
	}
	s.emit(Wake{AtMillis: s.now})
	return nil
}

func (s *step) next(system string) (it item, due int64, ok bool, err error) {
	err = s.tx.Scan(pack.Key(tableDue, system), nil, func(key, _ []byte) error {
		parts, err := pack.Parts(key, 3)
		if err != nil {
			return err
		}
		if len(parts[1]) != 8 {
			return fmt.Errorf("work order: %w", pack.ErrCorrupt)
		}
		due, ok = int64(binary.BigEndian.Uint64([]byte(parts[1]))), true
		if it, err = itemOf(parts[2]); err != nil {
			return err
		}
		return store.ErrStop
	})
	return it, due, ok, err
}

func (s *step) start(system string, it item) error {
	k, _, err := s.work(system, it)
	if err != nil {
		return err
	}
	had := k
	if it.kind == itemRecord {
		if err := s.putWork(system, it, &had, nil); err != nil {
			return err
		}
		return s.bring(system, crdt.RecordID([]byte(it.name)), k.Attempts, false)
	}
	if busy, err := s.writing(system, connectors.Key(it.name)); err != nil {
		return err
	} else if busy { // a read beside a write may show either side of it
		k.DueMillis = s.now + s.cfg.backoffMin().Milliseconds()
		return s.putWork(system, it, &had, &k)
	}
	k.Issued, k.Again, k.Void, k.DueMillis = true, false, false, s.now
	s.emit(Read{System: system, Key: connectors.Key(it.name)})
	return errors.Join(s.flight(system, 1), s.putWork(system, it, &had, &k))
}

// writing reports whether a write to a local record is under way.
func (s *step) writing(system string, key connectors.Key) (bool, error) {
	id, linked, err := s.linked(system, key)
	if err != nil || !linked {
		return false, err
	}
	in, err := s.intent(system, id)
	return in != nil && in.busy(), err
}

// reissue puts everything that was under way back on the list.
func (s *step) reissue(system string) error {
	issued, err := s.items(system, func(_ item, k work) bool { return k.Issued })
	if err != nil {
		return err
	}
	for _, it := range issued {
		if err := s.putWork(system, it, &work{Issued: true}, &work{DueMillis: s.now}); err != nil {
			return err
		}
	}
	return s.changeSystem(system, func(st *systemState) { st.InFlight = 0 })
}

// items lists the work of a system that is wanted.
func (s *step) items(system string, wanted func(item, work) bool) ([]item, error) {
	var out []item
	err := s.tx.Scan(pack.Key(tableWork, system), nil, func(key, b []byte) error {
		k, err := decodeWork(b)
		if err != nil {
			return err
		}
		parts, err := pack.Parts(key, 2)
		if err != nil {
			return err
		}
		it, err := itemOf(parts[1])
		if err == nil && wanted(it, k) {
			out = append(out, it)
		}
		return err
	})
	return out, err
}
