package state

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/entente-sync/entente/crdt"
)

// DayMillis is what a day of a pact's history_days means.
const DayMillis int64 = 24 * 60 * 60 * 1000

// Archive is history: messages HistoryVersion of storage.proto, in any order.
type Archive interface {
	// Each calls visit with every message, which is valid until visit returns.
	Each(visit func(message []byte) error) error
}

// messages is an Archive in memory.
type messages [][]byte

// unsourced is the history of a state that has no source; nil if there is none.
func (f *Frozen) unsourced() Archive {
	if f.Meta.ClockMillis == 0 || f.archive == nil && len(f.history) == 0 {
		return nil
	}
	return unsourced{f}
}

type unsourced struct{ *Frozen }

// Each implements Archive.
func (u unsourced) Each(visit func(message []byte) error) error { return u.History(visit) }

// Each implements Archive.
func (m messages) Each(visit func(message []byte) error) error {
	for _, message := range m {
		if err := visit(message); err != nil {
			return err
		}
	}
	return nil
}

// Cut says what of a pact's history may go: versions whose successor is older
// than Millis, and those at or below Head. The horizon of a pact never goes back, so
// replicas that prune at different moments answer alike.
type Cut struct {
	Pact   crdt.Pact
	Millis int64
	Head   crdt.Offset
}

// history is what one pact keeps of its versions until a checkpoint has them.
// Versions in it are never read by the rule, nor counted in a digest.
type history struct {
	since int64       // nothing is answered about times before: see horizon
	head  crdt.Offset // newest when the history began: it has nothing up to there
	days  int64

	fresh *keptSet   // since the Changes before
	taken []*keptSet // by Changes that are not durable yet, oldest first
}

// keptSet is the versions of one checkpoint interval. Apply appends; what is in it
// does not change.
type keptSet struct {
	index    uint64 // of the Changes that took it
	versions []kept
	newest   map[uint32]uint32 // by row: its newest in versions, counted from 1
}

// kept is one version of a register that became current.
type kept struct {
	message  []byte // as a page has it: tag, length, StoredRegister
	at       int64
	offset   crdt.Offset
	replaced crdt.Offset // 0: it was the first
	before   uint32      // in the same set: the register's version before, counted from 1; 0 is none
}

// keptBytes is about what a kept version costs beside its page's bytes.
const keptBytes = 96

func newHistory(since int64, head crdt.Offset, days int) *history {
	return &history{since: since, head: head, days: int64(days), fresh: newKeptSet()}
}

func newKeptSet() *keptSet { return &keptSet{newest: map[uint32]uint32{}} }

// tick begins an entry.
func (m *Machine) tick(millis int64) {
	m.now, m.grown = millis, 0
	if m.keepers > 0 {
		m.clock = max(m.clock, millis)
	}
}

// keepHistory begins or ends a pact's history as its next document says. Another
// number of days does not bring back what may be gone.
func (m *Machine) keepHistory(p *pactState, days int) {
	switch {
	case days <= 0 && p.history != nil:
		p.history = nil
		if m.keepers--; m.keepers == 0 {
			m.clock = 0
		}
	case days > 0 && p.history == nil:
		m.keepers++
		m.clock = max(m.clock, m.now, 1)
		p.history = newHistory(m.clock, p.head, days)
	case days > 0:
		p.history.since = p.history.horizon(m.clock)
		p.history.days = int64(days)
	}
}

// horizon is the oldest time that can be asked about. What was replaced before may
// be gone.
func (h *history) horizon(clock int64) int64 { return max(h.since, clock-h.days*DayMillis) }

// keep adds a version, which is in a row, and returns about what it costs.
func (h *history) keep(row uint32, v kept) int {
	s := h.fresh
	v.before = s.newest[row]
	s.versions = append(s.versions, v)
	s.newest[row] = uint32(len(s.versions))
	return len(v.message) + keptBytes
}

// unsaved returns what no checkpoint has; h may be nil.
func (h *history) unsaved(pact crdt.Pact) (out []Kept) {
	if h == nil {
		return nil
	}
	for _, s := range append(slices.Clip(h.taken), h.fresh) {
		if len(s.versions) > 0 {
			out = append(out, Kept{pact, slices.Clip(s.versions)})
		}
	}
	return out
}

// persisted forgets what is in the checkpoint of index; h may be nil.
func (h *history) persisted(index uint64) {
	if h != nil {
		h.taken = slices.DeleteFunc(h.taken, func(s *keptSet) bool { return s.index <= index })
	}
}

// takeHistory adds what pacts keep, and may drop, to c.
func (m *Machine) takeHistory(c *Changes) {
	if m.archive != nil && !m.archived && m.index > m.taken { // else a store would not write it
		c.Archive, m.archived = m.archive, true
	}
	for _, name := range m.names() {
		h := m.pacts[name].history
		if h == nil {
			continue
		}
		c.Cuts = append(c.Cuts, Cut{name, h.horizon(m.clock), h.head})
		if len(h.fresh.versions) == 0 {
			continue
		}
		c.Kept = append(c.Kept, Kept{name, h.fresh.versions})
		if m.source != nil { // else nobody tells when it is durable, nor reads it back
			h.fresh.index = m.index
			h.taken = append(h.taken, h.fresh)
		}
		h.fresh = newKeptSet()
	}
}

// Cut returns what may go of a pact's history; ok is false if all may.
func (c *Changes) Cut(pact crdt.Pact) (cut Cut, ok bool) {
	i, ok := slices.BinarySearchFunc(c.Cuts, pact, func(c Cut, pact crdt.Pact) int { return cmp.Compare(c.Pact, pact) })
	if !ok {
		return Cut{}, false
	}
	return c.Cuts[i], true
}

// Kept is versions of one pact that join its history.
type Kept struct {
	Pact     crdt.Pact
	versions []kept
}

// Each calls visit with each version's message (HistoryVersion of storage.proto),
// in the order of offsets. The message is valid until visit returns.
func (k *Kept) Each(visit func(message []byte) error) error {
	var buf []byte
	for i := range k.versions {
		buf = k.versions[i].append(buf[:0])
		if err := visit(buf); err != nil {
			return err
		}
	}
	return nil
}

const (
	tagKeptAt       = 2 << 3 // of HistoryVersion, both varints; its first field is tagged as a page's entry
	tagKeptReplaced = 3 << 3
)

// append appends the message.
func (k *kept) append(b []byte) []byte {
	b = append(b, k.message...)
	if k.at > 0 {
		b = binary.AppendUvarint(append(b, tagKeptAt), uint64(k.at))
	}
	if k.replaced > 0 {
		b = binary.AppendUvarint(append(b, tagKeptReplaced), uint64(k.replaced))
	}
	return b
}

// KeptVersion is a message of history, read.
type KeptVersion struct {
	Millis   int64
	Offset   crdt.Offset
	Replaced crdt.Offset // 0: it was the register's first
	op       []byte
	birth    crdt.Position
}

// ReadKept reads a message HistoryVersion but for its op. It refuses, as damage,
// every form that is not written here. The result aliases message.
func ReadKept(message []byte) (KeptVersion, error) {
	e, rest, err := nextEntry(message)
	if err != nil {
		return KeptVersion{}, err
	}
	v := KeptVersion{Offset: e.offset, op: e.op, birth: e.birth}
	var at uint64
	var ok bool
	if len(rest) > 0 && rest[0] == tagKeptAt {
		if at, rest, ok = number[uint64](rest, tagKeptAt); !ok || at == 0 || int64(at) < 0 {
			return KeptVersion{}, errKept
		}
	}
	if len(rest) > 0 {
		if v.Replaced, rest, ok = number[crdt.Offset](rest, tagKeptReplaced); !ok || v.Replaced == 0 {
			return KeptVersion{}, errKept
		}
	}
	if len(rest) > 0 || v.Replaced >= v.Offset {
		return KeptVersion{}, errKept
	}
	v.Millis = int64(at)
	return v, nil
}

var errKept = fmt.Errorf("%w: a version of the history is malformed", ErrDamaged)

// Op decodes the version's op, with names that several share.
func (v *KeptVersion) Op(op *crdt.Op, names *crdt.Names) error {
	if err := names.DecodeOp(op, v.op); err != nil {
		return fmt.Errorf("%w: version %d of the history: %w", ErrDamaged, v.Offset, err)
	}
	return nil
}

// History calls visit with every message of history, in any order. The message is
// valid until visit returns.
func (f *Frozen) History(visit func(message []byte) error) error {
	if f.Meta.ClockMillis == 0 {
		return nil // no pact keeps any
	}
	if f.archive != nil {
		if err := f.archive.Each(visit); err != nil {
			return err
		}
	}
	if f.source != nil {
		if err := f.source.AllKept(f.saved, visit); err != nil {
			return err
		}
	}
	for i := range f.history {
		if err := f.history[i].Each(visit); err != nil {
			return err
		}
	}
	return nil
}
