package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// Kinds of rows: the first byte of a key, and the kind of a snapshot's record.
const (
	kindMeta     = 'm'
	kindRoster   = 'n'
	kindPact     = 'p'
	kindAuthor   = 'a'
	kindRegister = 'r' // of format 1, and of snapshots
	kindPage     = 'v'
	kindKept     = 'h'
)

func pactKey(name crdt.Pact) []byte { return append([]byte{kindPact}, name...) }

// authorKey ends its names with a zero byte, which no name holds.
func authorKey(row *state.AuthorRow) []byte {
	a := row.State.Author
	b := append([]byte{kindAuthor}, row.Pact...)
	b = append(append(b, 0), a.Site...)
	b = append(append(b, 0), a.Agent...)
	return codec.AppendFixed64(append(b, 0), a.Incarnation)
}

// pageKey keeps the pages of a pact in the order of their offsets.
func pageKey(name state.PageName) []byte {
	b := append(append([]byte{kindPage}, name.Pact...), 0)
	return codec.AppendFixed64(b, uint64(name.First))
}

func pageName(key []byte) (state.PageName, bool) {
	n := len(key) - 9
	if n < 1 || key[0] != kindPage || key[n] != 0 {
		return state.PageName{}, false
	}
	return state.PageName{Pact: crdt.Pact(key[1:n]), First: crdt.Offset(binary.BigEndian.Uint64(key[n+1:]))}, true
}

// registerKey keeps the registers of one record together.
func registerKey(k *crdt.Key) []byte {
	b := make([]byte, 0, 3+len(k.Pact)+len(k.Type)+len(k.Record)+len(k.Field))
	b = append(append(b, kindRegister), k.Pact...)
	b = append(append(b, 0), k.Type...)
	b = append(append(b, 0), k.Record[:]...)
	return append(b, k.Field...)
}

func appendPact(b []byte, row *state.PactRow) []byte {
	return wire.AppendPact(b, (*wire.StoredPact)(row))
}

func readPact(b []byte) (state.PactRow, error) {
	row, err := wire.ReadPact(b)
	return state.PactRow(row), typed(err)
}

func appendAuthor(b []byte, row *state.AuthorRow) []byte {
	a := &wire.StoredAuthor{Pact: row.Pact, State: wire.AuthorState(row.State)}
	for _, r := range row.Refused {
		a.Refused = append(a.Refused, wire.RefusedRun{From: r.From, To: r.To, Reason: wire.Reason(r.Reason)})
	}
	return wire.AppendAuthor(b, a)
}

func readAuthor(b []byte) (state.AuthorRow, error) {
	a, err := wire.ReadAuthor(b)
	row := state.AuthorRow{Pact: a.Pact, State: state.AuthorState(a.State)}
	for _, r := range a.Refused {
		row.Refused = append(row.Refused, state.RefusedRun{From: r.From, To: r.To, Reason: state.Reason(r.Reason)})
	}
	return row, typed(err)
}

func appendRegister(b []byte, s *state.Stored) []byte {
	return wire.AppendRegister(b, (*wire.StoredRegister)(s))
}

func readRegister(b []byte, names *interner) (*state.Stored, error) {
	stored, err := wire.ReadRegister(b)
	if err != nil {
		return nil, typed(err)
	}
	op := &stored.Register.Op
	op.Value = bytes.Clone(op.Value) // it aliases the whole op
	names.share(op)
	return (*state.Stored)(&stored), nil
}

// appendMeta is the meta record of a snapshot; the meta row of a checkpoint says
// besides which pages and old versions there are.
func appendMeta(b []byte, m *state.Meta) []byte { return appendMetaRow(b, m, pageSum{}, pageSum{}) }

func appendMetaRow(b []byte, m *state.Meta, pages, kept pageSum) []byte {
	return wire.AppendMeta(b, &wire.StateMeta{
		Index: m.Index, Hub: m.Hub, Epoch: m.Epoch, Pacts: digestsOut(m.Pacts),
		AuditIndex: m.AuditIndex, AuditPacts: digestsOut(m.AuditPacts), Roster: m.Roster,
		Pages: pages.count, PagesSum: pages.sum, History: kept.count, HistorySum: kept.sum, ClockMillis: m.ClockMillis,
	})
}

func readMeta(b []byte) (state.Meta, error) {
	m, _, _, err := readMetaRow(b)
	return m, err
}

func readMetaRow(b []byte) (meta state.Meta, pages, kept pageSum, err error) {
	m, err := wire.ReadMeta(b)
	return state.Meta{
		Index: m.Index, Hub: m.Hub, Epoch: m.Epoch, Pacts: digestsIn(m.Pacts),
		AuditIndex: m.AuditIndex, AuditPacts: digestsIn(m.AuditPacts), Roster: m.Roster,
		ClockMillis: m.ClockMillis,
	}, pageSum{m.Pages, m.PagesSum}, pageSum{m.History, m.HistorySum}, typed(err)
}

func digestsOut(in []command.PactDigest) (out []wire.PactDigest) {
	for _, d := range in {
		out = append(out, wire.PactDigest{
			Pact: d.Pact, Version: d.Version, Head: d.Head, Registers: d.Registers,
			Authors: d.Authors.Count, AuthorsSeen: d.Authors.Seen, AuthorsRefused: d.Authors.Refused,
		})
	}
	return out
}

func digestsIn(in []wire.PactDigest) (out []command.PactDigest) {
	for _, d := range in {
		out = append(out, command.PactDigest{
			Pact: d.Pact, Version: d.Version, Head: d.Head, Registers: d.Registers,
			Authors: command.AuthorSum{Count: d.Authors, Seen: d.AuthorsSeen, Refused: d.AuthorsRefused},
		})
	}
	return out
}

// typed tells damage from a newer format.
func typed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, crdt.ErrNewer):
		return fmt.Errorf("%w: %w", ErrNewer, err)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// interner keeps one copy of each name while many ops are read.
type interner struct {
	pacts   map[crdt.Pact]crdt.Pact
	types   map[crdt.Type]crdt.Type
	authors map[crdt.Author]crdt.Author
}

func newInterner() *interner {
	return &interner{map[crdt.Pact]crdt.Pact{}, map[crdt.Type]crdt.Type{}, map[crdt.Author]crdt.Author{}}
}

func (n *interner) share(op *crdt.Op) {
	op.Key.Pact = one(n.pacts, op.Key.Pact)
	op.Key.Type = one(n.types, op.Key.Type)
	op.Author = one(n.authors, op.Author)
	op.Base.Pred.Author = one(n.authors, op.Base.Pred.Author)
}

func one[T comparable](known map[T]T, v T) T {
	if k, ok := known[v]; ok {
		return k
	}
	known[v] = v
	return v
}
