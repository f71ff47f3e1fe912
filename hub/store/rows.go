package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
)

// Kinds of rows: the first byte of a key, and the kind of a snapshot's record.
const (
	kindMeta     = 'm'
	kindPact     = 'p'
	kindAuthor   = 'a'
	kindRegister = 'r'
)

const (
	nameMax   = crdt.NameBytesMax + 1
	reasonMax = 64
	uint64Max = 1<<64 - 1
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

// registerKey keeps the registers of one record together.
func registerKey(k *crdt.Key) []byte {
	b := make([]byte, 0, 3+len(k.Pact)+len(k.Type)+len(k.Record)+len(k.Field))
	b = append(append(b, kindRegister), k.Pact...)
	b = append(append(b, 0), k.Type...)
	b = append(append(b, 0), k.Record[:]...)
	return append(b, k.Field...)
}

func appendPact(b []byte, row *state.PactRow) []byte {
	b = codec.AppendBytes(b, row.Pact)
	b = codec.AppendUvarint(b, uint64(len(row.Lineage)))
	for _, f := range row.Lineage {
		b = codec.AppendFixed64(b, uint64(f.Child))
		b = codec.AppendFixed64(b, uint64(f.Parent))
		b = codec.AppendUvarint(b, uint64(f.At))
	}
	return append(b, row.Document...)
}

// readPact copies what it keeps of b; so do the other readers.
func readPact(b []byte) (state.PactRow, error) {
	r := codec.NewReader(b)
	row := state.PactRow{Pact: crdt.Pact(r.String(nameMax))}
	for range r.Uvarint(uint64(r.Len())) {
		row.Lineage = append(row.Lineage, crdt.Fork{
			Child: crdt.Epoch(r.Fixed64()), Parent: crdt.Epoch(r.Fixed64()), At: crdt.Offset(r.Uvarint(uint64Max)),
		})
	}
	row.Document = bytes.Clone(r.Take(r.Len()))
	return row, done(r, "pact")
}

func appendAuthor(b []byte, row *state.AuthorRow) []byte {
	b = codec.AppendBytes(b, row.Pact)
	b = command.AppendAuthor(b, row.State.Author)
	b = codec.AppendUvarint(b, uint64(row.State.Seen))
	b = codec.AppendUvarint(b, uint64(row.State.Applied))
	for _, run := range row.Refused {
		b = codec.AppendUvarint(b, uint64(run.From))
		b = codec.AppendUvarint(b, uint64(run.To-run.From))
		b = codec.AppendBytes(b, run.Reason)
	}
	return b
}

func readAuthor(b []byte) (state.AuthorRow, error) {
	r := codec.NewReader(b)
	row := state.AuthorRow{Pact: crdt.Pact(r.String(nameMax))}
	row.State.Author = command.ReadAuthor(r)
	row.State.Seen = crdt.Seq(r.Uvarint(uint64Max))
	row.State.Applied = crdt.Seq(r.Uvarint(uint64(row.State.Seen)))
	for r.Ok() && r.Len() > 0 {
		run := state.RefusedRun{From: crdt.Seq(r.Uvarint(uint64(row.State.Seen)))}
		run.To = run.From + crdt.Seq(r.Uvarint(uint64(row.State.Seen-run.From)))
		run.Reason = state.Reason(r.String(reasonMax))
		row.Refused = append(row.Refused, run)
	}
	return row, done(r, "author")
}

func appendRegister(b []byte, s *state.Stored) []byte {
	b = codec.AppendUvarint(b, uint64(s.Offset))
	b = codec.AppendFixed64(b, uint64(s.Register.Birth.Epoch))
	b = codec.AppendUvarint(b, uint64(s.Register.Birth.Offset))
	return s.Register.Op.AppendCanonical(b)
}

func readRegister(b []byte, names *interner) (*state.Stored, error) {
	r := codec.NewReader(b)
	s := &state.Stored{Offset: crdt.Offset(r.Uvarint(uint64Max))}
	s.Register.Birth.Epoch = crdt.Epoch(r.Fixed64())
	s.Register.Birth.Offset = crdt.Offset(r.Uvarint(uint64Max))
	raw := r.Take(r.Len())
	if err := done(r, "register"); err != nil {
		return nil, err
	}
	op, err := crdt.DecodeOp(raw)
	switch {
	case errors.Is(err, crdt.ErrNewer):
		return nil, fmt.Errorf("%w: %w", ErrNewer, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	op.Value = bytes.Clone(op.Value)
	names.share(&op)
	s.Register.Op, s.Register.Digest = op, sha256.Sum256(raw)
	return s, nil
}

func appendMeta(b []byte, m *state.Meta) []byte {
	b = codec.AppendUvarint(b, m.Index)
	b = append(b, m.Hub[:]...)
	b = codec.AppendFixed64(b, uint64(m.Epoch))
	b = appendDigests(b, m.Pacts)
	b = codec.AppendUvarint(b, m.AuditIndex)
	return appendDigests(b, m.AuditPacts)
}

func readMeta(b []byte) (state.Meta, error) {
	r := codec.NewReader(b)
	m := state.Meta{Index: r.Uvarint(uint64Max)}
	copy(m.Hub[:], r.Take(len(m.Hub)))
	m.Epoch = crdt.Epoch(r.Fixed64())
	m.Pacts = readDigests(r)
	m.AuditIndex = r.Uvarint(uint64Max)
	m.AuditPacts = readDigests(r)
	return m, done(r, "meta")
}

func appendDigests(b []byte, list []command.PactDigest) []byte {
	b = codec.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = list[i].Append(b)
	}
	return b
}

func readDigests(r *codec.Reader) []command.PactDigest {
	var list []command.PactDigest
	for range r.Uvarint(uint64(r.Len())) {
		if !r.Ok() {
			break
		}
		list = append(list, command.ReadPactDigest(r))
	}
	return list
}

func done(r *codec.Reader, what string) error {
	if !r.Done() {
		return fmt.Errorf("%w: malformed %s row", ErrDamaged, what)
	}
	return nil
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
