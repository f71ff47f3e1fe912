package state

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// Errors of reading history, to be matched with errors.Is.
var (
	// ErrHistoryNone: the pact keeps no history.
	ErrHistoryNone = errors.New("the pact keeps no history")
	// ErrHistoryBefore: the time is before what the pact's history reaches back to.
	ErrHistoryBefore = errors.New("the time is before the pact's history")
)

// Dated is a version of a register that is or was current.
type Dated struct {
	Stored
	// Millis is when it became current by the leader's clock of the log, which never
	// goes back; 0: before the pact's history began.
	Millis   int64
	Replaced crdt.Offset // of the version before; 0: it was the first, or Millis is 0
}

// Reach is what a pact's history knows about at one moment.
type Reach struct {
	// Horizon is the oldest time that may be asked about, Clock the newest that the
	// log has; Unix milliseconds. Answers about times before Clock stay the same on
	// every replica for as long as the horizon has not passed them.
	Horizon, Clock int64
	Head           crdt.Offset
}

// Span asks for versions of one register.
type Span struct {
	Key crdt.Key
	// From and To bound, in Unix milliseconds, when a version was current; the upper
	// bound is included. 0 is as far back as is known, or up to now.
	From, To int64
	After    crdt.Offset // a cursor: versions behind it; 0 is none
	// At most Limit versions, at least 1, and BytesMax bytes of ops, which one alone
	// may exceed.
	Limit, BytesMax int
}

// Versions is one page of a register's versions.
type Versions struct {
	Reach
	Versions []Dated     // ascending by offset
	Next     crdt.Offset // cursor for the next page; 0: there is none
}

// History reads the versions of a register that were current between two times,
// in the order in which they became current. One that has not changed since the
// history began has the current version alone. Errors are ErrPactUnknown,
// ErrHistoryNone, ErrHistoryBefore, or say that a version could not be read.
func (m *Machine) History(span Span) (Versions, error) {
	for try := 0; ; try++ {
		v, err := m.history(&span)
		if !errors.Is(err, ErrPageGone) || try == triesMax {
			return v, err
		}
	}
}

func (m *Machine) history(span *Span) (Versions, error) {
	key := span.Key
	lines, err := m.lines(key.Pact, span.From, func(p *pactState) []crdt.Key { return []crdt.Key{key} })
	if err != nil {
		return Versions{}, err
	}
	out := Versions{Reach: lines.Reach}
	if len(lines.of) == 0 {
		return out, nil
	}
	line := &lines.of[0]
	first, ok, err := line.last(&lines.reader, max(span.From, lines.Horizon))
	if err != nil {
		return Versions{}, err
	}
	from := max(span.After+1, first.Offset)
	if !ok && span.After == 0 {
		untouched, err := line.untouched(&lines.reader)
		if err != nil {
			return Versions{}, err
		}
		if untouched {
			v, err := line.now(&lines.reader)
			out.Versions = []Dated{v}
			return out, err
		}
	}
	return out, line.page(&lines.reader, span, from, &out)
}

// page reads versions from an offset on into out.
func (l *line) page(r *reader, span *Span, from crdt.Offset, out *Versions) error {
	bytes := 0
	return l.each(r, from, func(k *KeptVersion) (bool, error) {
		if span.To > 0 && k.Millis > span.To {
			return false, nil
		}
		n := len(out.Versions)
		if n > 0 && (n >= span.Limit || bytes+len(k.op) > span.BytesMax) {
			out.Next = out.Versions[n-1].Offset
			return false, nil
		}
		bytes += len(k.op)
		k.op = slices.Clone(k.op)
		v, err := l.version(r, k)
		if err == nil {
			out.Versions = append(out.Versions, v)
		}
		return true, err
	})
}

// Moment asks for a record, or one register of it, as it was.
type Moment struct {
	Pact   crdt.Pact
	Type   crdt.Type
	Record crdt.RecordID
	Field  crdt.Field // empty: all of the record's registers
	Millis int64
	After  crdt.Field // a cursor: registers behind it, by name; empty is none
	// At most Limit registers, at least 1, and BytesMax bytes of values, which one
	// alone may exceed.
	Limit, BytesMax int
}

// Registers is one page of a record's registers as they were.
type Registers struct {
	Reach
	Versions []Dated // by the names of their fields
	// Unknown names registers of which it is not known what was current: it came
	// before the history began and was replaced since.
	Unknown []crdt.Field
	Next    crdt.Field // cursor for the next page; empty: there is none
}

// AsOf reads what was current at a time, conflict records included: of registers
// too that were last changed long before. A register that was not there yet is
// not in the answer. At a time from Clock on the answer is what is current now.
// Errors are those of History.
func (m *Machine) AsOf(at Moment) (Registers, error) {
	for try := 0; ; try++ {
		r, err := m.asOf(&at)
		if !errors.Is(err, ErrPageGone) || try == triesMax {
			return r, err
		}
	}
}

func (m *Machine) asOf(at *Moment) (Registers, error) {
	var more bool
	lines, err := m.lines(at.Pact, max(at.Millis, 1), func(p *pactState) (keys []crdt.Key) {
		keys, more = p.fieldsOf(at)
		return keys
	})
	if err != nil {
		return Registers{}, err
	}
	out := Registers{Reach: lines.Reach}
	bytes := 0
	for i := range lines.of {
		line := &lines.of[i]
		v, found, err := line.asOf(&lines.reader, at.Millis)
		switch {
		case errors.Is(err, errUnknown):
			out.Unknown = append(out.Unknown, line.key.Field)
		case err != nil:
			return Registers{}, err
		case found:
			if bytes += len(v.Register.Op.Value); i > 0 && bytes > at.BytesMax {
				out.Next = lines.of[i-1].key.Field
				return out, nil
			}
			out.Versions = append(out.Versions, v)
		}
		if more && i == len(lines.of)-1 {
			out.Next = line.key.Field
		}
	}
	return out, nil
}

// fieldsOf returns the registers that a page of at is about, by name.
func (p *pactState) fieldsOf(at *Moment) (keys []crdt.Key, more bool) {
	if at.Field != "" {
		return []crdt.Key{{Pact: at.Pact, Type: at.Type, Record: at.Record, Field: at.Field}}, false
	}
	rec := p.find(at.Type, at.Record)
	if rec == 0 {
		return nil, false
	}
	for _, ref := range p.records.registers(p.records.rows.at(rec)) {
		if field := crdt.Field(p.fields.text(ref.field)); field > at.After {
			keys = append(keys, crdt.Key{Pact: at.Pact, Type: at.Type, Record: at.Record, Field: field})
		}
	}
	slices.SortFunc(keys, func(a, b crdt.Key) int { return a.Compare(b) })
	limit := max(at.Limit, 1)
	return keys[:min(limit, len(keys))], len(keys) > limit
}

// lines is the history of some registers of one pact as of one index, to be read
// outside of the lock.
type lines struct {
	Reach
	reader
	of []line
}

// line is one register's history.
type line struct {
	key     crdt.Key
	begins  crdt.Offset // what the source has below is of a history that ended
	pending []kept      // that the source lacks, ascending
	current view        // page of the current version
	offset  crdt.Offset
}

// lines takes what is known of registers that pick names; those that do not exist
// are left out. from is the oldest time that is asked about; 0 asks about none.
func (m *Machine) lines(pact crdt.Pact, from int64, pick func(p *pactState) []crdt.Key) (*lines, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p, ok := m.pacts[pact]
	switch {
	case !ok:
		return nil, ErrPactUnknown
	case p.history == nil:
		return nil, ErrHistoryNone
	}
	reach := Reach{Horizon: p.history.horizon(m.clock), Clock: m.clock, Head: p.head}
	if from != 0 && from < reach.Horizon {
		return nil, fmt.Errorf("%w, which reaches back to %d", ErrHistoryBefore, reach.Horizon)
	}
	out := &lines{Reach: reach, reader: m.reader(pact)}
	for _, key := range pick(p) {
		at := p.at(p.find(key.Type, key.Record), p.fields.id(string(key.Field)))
		if at == 0 {
			continue
		}
		row := p.rows.at(at)
		g := p.feed.pages[row.page]
		out.of = append(out.of, line{
			key: key, begins: p.history.head + 1, pending: p.history.pending(at), current: view{first: g.first, data: g.data}, offset: row.offset,
		})
	}
	return out, nil
}

// pending returns what no checkpoint has of a row, ascending.
func (h *history) pending(row uint32) (out []kept) {
	for i := len(h.taken); i >= 0; i-- {
		s := h.fresh
		if i < len(h.taken) {
			s = h.taken[i]
		}
		for n := s.newest[row]; n != 0; n = s.versions[n-1].before {
			out = append(out, s.versions[n-1])
		}
	}
	slices.Reverse(out)
	return out
}

// each calls visit with the versions from an offset on, ascending, until visit
// says that it is enough.
func (l *line) each(r *reader, from crdt.Offset, visit func(k *KeptVersion) (bool, error)) error {
	enough := false
	from = max(from, l.begins)
	if r.source != nil && (len(l.pending) == 0 || from < l.pending[0].offset) {
		err := r.source.Kept(&l.key, from, r.index, func(message []byte) (bool, error) {
			k, err := ReadKept(message)
			if err != nil {
				return false, err
			}
			more, err := visit(&k)
			enough = !more
			return more, err
		})
		if err != nil {
			return err
		}
	}
	for i := 0; i < len(l.pending) && !enough; i++ {
		if l.pending[i].offset < from {
			continue
		}
		k, err := ReadKept(l.pending[i].append(nil))
		if err != nil {
			return err
		}
		more, err := visit(&k)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// from returns the first version from an offset on.
func (l *line) from(r *reader, offset crdt.Offset) (found KeptVersion, ok bool, err error) {
	err = l.each(r, offset, func(k *KeptVersion) (bool, error) {
		found, ok = *k, true
		found.op = slices.Clone(k.op)
		return false, nil
	})
	return found, ok, err
}

// last returns the newest version that was current at a time: clocks ascend with
// offsets, so that halving finds it.
func (l *line) last(r *reader, millis int64) (best KeptVersion, ok bool, err error) {
	if n := len(l.pending); n > 0 && l.pending[n-1].at <= millis {
		best, err := ReadKept(l.pending[n-1].append(nil))
		return best, true, err
	}
	lo, hi := l.begins, l.offset+1
	for lo < hi {
		mid := lo + (hi-lo)/2
		k, found, err := l.from(r, mid)
		switch {
		case err != nil:
			return best, false, err
		case !found, k.Millis > millis:
			hi = mid
		default:
			best, ok, lo = k, true, k.Offset+1
		}
	}
	return best, ok, nil
}

// errUnknown: what was current came before the history, and was replaced since.
var errUnknown = errors.New("not known")

// asOf returns the version at a time that is not before the horizon.
func (l *line) asOf(r *reader, millis int64) (v Dated, found bool, err error) {
	k, ok, err := l.last(r, millis)
	if err != nil {
		return v, false, err
	}
	if ok {
		v, err = l.version(r, &k)
		return v, true, err
	}
	first, ok, err := l.from(r, 1)
	switch {
	case err != nil:
		return v, false, err
	case !ok:
		v, err = l.now(r)
		return v, true, err
	case first.Replaced != 0:
		return v, false, errUnknown
	}
	return v, false, nil
}

// untouched reports whether the register has no version since its pact's history
// began.
func (l *line) untouched(r *reader) (bool, error) {
	_, ok, err := l.from(r, 1)
	return !ok, err
}

// now reads the current version, which is older than the history.
func (l *line) now(r *reader) (v Dated, err error) {
	data, err := r.bytes(l.current.first, l.current.data)
	if err != nil {
		return v, err
	}
	e, err := findEntry(data, l.offset)
	if err != nil {
		return v, err
	}
	current := Version{Op: e.op, Offset: e.offset, Birth: e.birth}
	stored, err := current.Decode(nil)
	if err == nil {
		v.Stored = *stored
	}
	return v, err
}

// version decodes k.
func (l *line) version(r *reader, k *KeptVersion) (v Dated, err error) {
	if err := k.Op(&v.Register.Op, nil); err != nil {
		return v, err
	}
	if v.Register.Op.Key != l.key {
		return v, fmt.Errorf("%w: version %d of the history is of another register", ErrDamaged, k.Offset)
	}
	v.Register.Digest, v.Register.Birth, v.Offset = sha256.Sum256(k.op), k.birth, k.Offset
	v.Millis, v.Replaced = k.Millis, k.Replaced
	return v, nil
}
