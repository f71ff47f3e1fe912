package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	"github.com/entente-sync/entente/crdt"
	storagev1 "github.com/entente-sync/entente/proto/entente/storage/v1"
)

// StorageFormat is the first byte of every row at rest. Version 1 is the first.
const StorageFormat = 1

// Bytes at rest: see storage.proto. Each EncodeX returns one row, whose bytes
// depend on its content alone; each DecodeX reads one, never panics, and gives
// an error that wraps crdt.ErrNewer for a row of a newer format and
// crdt.ErrMalformed for a damaged one. What is decoded may alias the row.

// StoredRegister is the newest version of one register and its place in the feed.
type StoredRegister struct {
	Register crdt.Register
	Offset   crdt.Offset
}

// RefusedRun is a run of seqs that were refused for one reason; To is inclusive.
type RefusedRun struct {
	From, To crdt.Seq
	Reason   Reason
}

// StoredAuthor is everything known of one author of one pact.
type StoredAuthor struct {
	Pact    crdt.Pact
	State   AuthorState
	Refused []RefusedRun // ascending
}

// StoredPact is a pact without its registers and authors.
type StoredPact struct {
	Pact     crdt.Pact
	Document []byte // canonical bytes of package pact
	Lineage  crdt.Lineage
}

// SnapshotHeader says what a state is.
type SnapshotHeader struct {
	Index        uint64
	Hub          [16]byte // zero before the hub was founded
	Epoch        crdt.Epoch
	Digests      []byte // in the encoding of hub/command
	AuditIndex   uint64
	AuditDigests []byte
}

// SnapshotRecord is one row of a state; exactly one pointer is set.
type SnapshotRecord struct {
	Pact     *StoredPact
	Author   *StoredAuthor
	Register *StoredRegister
}

// SnapshotTrailer ends a snapshot.
type SnapshotTrailer struct {
	Index   uint64
	Records uint64
	SHA256  [32]byte
}

// EncodeRegister returns the row of s; Register.Digest is not stored.
func EncodeRegister(s *StoredRegister) []byte { return seal(registerMessage(s)) }

// DecodeRegister reads what EncodeRegister wrote and hashes the op.
func DecodeRegister(row []byte) (StoredRegister, error) {
	var m storagev1.StoredRegister
	if err := open(row, &m); err != nil {
		return StoredRegister{}, err
	}
	return registerOf(&m)
}

// EncodeAuthor returns the row of a.
func EncodeAuthor(a *StoredAuthor) []byte { return seal(authorMessage(a)) }

// DecodeAuthor reads what EncodeAuthor wrote.
func DecodeAuthor(row []byte) (StoredAuthor, error) {
	var m storagev1.AuthorState
	if err := open(row, &m); err != nil {
		return StoredAuthor{}, err
	}
	return authorOf(&m), nil
}

// EncodePact returns the row of p.
func EncodePact(p *StoredPact) []byte { return seal(pactMessage(p)) }

// DecodePact reads what EncodePact wrote.
func DecodePact(row []byte) (StoredPact, error) {
	var m storagev1.PactHead
	if err := open(row, &m); err != nil {
		return StoredPact{}, err
	}
	return pactOf(&m), nil
}

// EncodeHeader returns the row of h.
func EncodeHeader(h *SnapshotHeader) []byte {
	m := &storagev1.SnapshotHeader{
		Index: h.Index, Epoch: uint64(h.Epoch), Digests: h.Digests,
		AuditIndex: h.AuditIndex, AuditDigests: h.AuditDigests,
	}
	if h.Hub != [16]byte{} {
		m.Hub = h.Hub[:]
	}
	return seal(m)
}

// DecodeHeader reads what EncodeHeader wrote.
func DecodeHeader(row []byte) (SnapshotHeader, error) {
	var m storagev1.SnapshotHeader
	if err := open(row, &m); err != nil {
		return SnapshotHeader{}, err
	}
	h := SnapshotHeader{
		Index: m.GetIndex(), Epoch: crdt.Epoch(m.GetEpoch()), Digests: m.GetDigests(),
		AuditIndex: m.GetAuditIndex(), AuditDigests: m.GetAuditDigests(),
	}
	if n := len(m.GetHub()); n != 0 && n != len(h.Hub) {
		return SnapshotHeader{}, fmt.Errorf("snapshot header: %w: hub id of %d bytes", crdt.ErrMalformed, n)
	}
	copy(h.Hub[:], m.GetHub())
	return h, nil
}

// EncodeRecord returns the row of r within a snapshot.
func EncodeRecord(r SnapshotRecord) []byte {
	m := &storagev1.SnapshotRecord{}
	switch {
	case r.Pact != nil:
		m.Row = &storagev1.SnapshotRecord_Pact{Pact: pactMessage(r.Pact)}
	case r.Author != nil:
		m.Row = &storagev1.SnapshotRecord_Author{Author: authorMessage(r.Author)}
	case r.Register != nil:
		m.Row = &storagev1.SnapshotRecord_Register{Register: registerMessage(r.Register)}
	}
	return seal(m)
}

// DecodeRecord reads what EncodeRecord wrote.
func DecodeRecord(row []byte) (SnapshotRecord, error) {
	var m storagev1.SnapshotRecord
	if err := open(row, &m); err != nil {
		return SnapshotRecord{}, err
	}
	switch r := m.GetRow().(type) {
	case *storagev1.SnapshotRecord_Pact:
		p := pactOf(r.Pact)
		return SnapshotRecord{Pact: &p}, nil
	case *storagev1.SnapshotRecord_Author:
		a := authorOf(r.Author)
		return SnapshotRecord{Author: &a}, nil
	case *storagev1.SnapshotRecord_Register:
		s, err := registerOf(r.Register)
		return SnapshotRecord{Register: &s}, err
	}
	return SnapshotRecord{}, fmt.Errorf("snapshot record: %w: empty", crdt.ErrMalformed)
}

// EncodeTrailer returns the row of t.
func EncodeTrailer(t *SnapshotTrailer) []byte {
	return seal(&storagev1.SnapshotTrailer{Index: t.Index, Records: t.Records, Sha256: t.SHA256[:]})
}

// DecodeTrailer reads what EncodeTrailer wrote.
func DecodeTrailer(row []byte) (SnapshotTrailer, error) {
	var m storagev1.SnapshotTrailer
	if err := open(row, &m); err != nil {
		return SnapshotTrailer{}, err
	}
	t := SnapshotTrailer{Index: m.GetIndex(), Records: m.GetRecords()}
	if copy(t.SHA256[:], m.GetSha256()) != len(t.SHA256) || len(m.GetSha256()) != len(t.SHA256) {
		return SnapshotTrailer{}, fmt.Errorf("snapshot trailer: %w: digest of %d bytes", crdt.ErrMalformed, len(m.GetSha256()))
	}
	return t, nil
}

const checksumBytes = 4

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// seal puts format and checksum around m.
func seal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{StorageFormat}, m)
	if err != nil {
		// Only text that is not UTF-8 gets here, and every name was parsed.
		panic(fmt.Sprintf("wire: a row that cannot be encoded: %v", err))
	}
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// open checks format, then checksum, then reads m.
func open(row []byte, m proto.Message) error {
	if len(row) < 1+checksumBytes {
		return fmt.Errorf("stored row: %w: %d bytes", crdt.ErrMalformed, len(row))
	}
	if row[0] > StorageFormat {
		return fmt.Errorf("stored row: %w: format %d, known up to %d", crdt.ErrNewer, row[0], StorageFormat)
	}
	body, sum := row[:len(row)-checksumBytes], binary.LittleEndian.Uint32(row[len(row)-checksumBytes:])
	if row[0] != StorageFormat || checksum(body) != sum {
		return fmt.Errorf("stored row: %w: checksum", crdt.ErrMalformed)
	}
	if err := proto.Unmarshal(body[1:], m); err != nil {
		return fmt.Errorf("stored row: %w: %w", crdt.ErrMalformed, err)
	}
	return nil
}

func registerMessage(s *StoredRegister) *storagev1.StoredRegister {
	return &storagev1.StoredRegister{
		Op: s.Register.Op.AppendCanonical(nil), Offset: uint64(s.Offset),
		BirthEpoch: uint64(s.Register.Birth.Epoch), BirthOffset: uint64(s.Register.Birth.Offset),
	}
}

func registerOf(m *storagev1.StoredRegister) (StoredRegister, error) {
	op, err := crdt.DecodeOp(m.GetOp())
	if err != nil {
		return StoredRegister{}, fmt.Errorf("stored register: %w", err)
	}
	birth := crdt.Position{Epoch: crdt.Epoch(m.GetBirthEpoch()), Offset: crdt.Offset(m.GetBirthOffset())}
	return StoredRegister{Register: crdt.NewRegister(op, birth), Offset: crdt.Offset(m.GetOffset())}, nil
}

func authorMessage(a *StoredAuthor) *storagev1.AuthorState {
	m := &storagev1.AuthorState{
		Pact: string(a.Pact), Site: string(a.State.Author.Site), Agent: string(a.State.Author.Agent),
		Incarnation: a.State.Author.Incarnation, Seen: uint64(a.State.Seen), Applied: uint64(a.State.Applied),
	}
	for _, r := range a.Refused {
		m.Refused = append(m.Refused, &storagev1.RefusedRun{From: uint64(r.From), To: uint64(r.To), Reason: string(r.Reason)})
	}
	return m
}

func authorOf(m *storagev1.AuthorState) StoredAuthor {
	a := StoredAuthor{
		Pact: crdt.Pact(m.GetPact()),
		State: AuthorState{
			Author: crdt.Author{
				Site: crdt.Site(m.GetSite()), Agent: crdt.AgentName(m.GetAgent()), Incarnation: m.GetIncarnation(),
			},
			Seen: crdt.Seq(m.GetSeen()), Applied: crdt.Seq(m.GetApplied()),
		},
	}
	for _, r := range m.GetRefused() {
		a.Refused = append(a.Refused, RefusedRun{From: crdt.Seq(r.GetFrom()), To: crdt.Seq(r.GetTo()), Reason: Reason(r.GetReason())})
	}
	return a
}

func pactMessage(p *StoredPact) *storagev1.PactHead {
	m := &storagev1.PactHead{Pact: string(p.Pact), Document: p.Document}
	for _, f := range p.Lineage {
		m.Lineage = append(m.Lineage, &storagev1.Fork{Child: uint64(f.Child), Parent: uint64(f.Parent), At: uint64(f.At)})
	}
	return m
}

func pactOf(m *storagev1.PactHead) StoredPact {
	p := StoredPact{Pact: crdt.Pact(m.GetPact()), Document: m.GetDocument()}
	for _, f := range m.GetLineage() {
		p.Lineage = append(p.Lineage, crdt.Fork{
			Child: crdt.Epoch(f.GetChild()), Parent: crdt.Epoch(f.GetParent()), At: crdt.Offset(f.GetAt()),
		})
	}
	return p
}
