package wire

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/entente-sync/entente/crdt"
	storagev1 "github.com/entente-sync/entente/proto/entente/storage/v1"
)

// Bytes at rest: see storage.proto. AppendX appends one message, whose bytes
// depend on its content alone; ReadX reads one, all of b, keeps none of b, never
// panics, and gives an error that wraps crdt.ErrMalformed or, for an op of a newer
// format, crdt.ErrNewer. Frames, checksums and versions are hub/store's.

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
	// Where the pact's history begins; zero if it keeps none.
	HistoryMillis int64
	HistoryHead   crdt.Offset
}

// StateMeta sums up a state at Index.
type StateMeta struct {
	Index      uint64
	Hub        [16]byte // zero before the hub was founded
	Epoch      crdt.Epoch
	Pacts      []PactDigest // sorted
	AuditIndex uint64
	AuditPacts []PactDigest
	Roster     [sha256.Size]byte // zero while the roster is empty
	// Pages and PagesSum say which pages a checkpoint has.
	Pages, PagesSum uint64
	// History and HistorySum say which old versions a checkpoint has.
	History, HistorySum uint64
	ClockMillis         int64 // 0 while no pact keeps history
}

// PactDigest sums up one pact.
type PactDigest struct {
	Pact           crdt.Pact
	Version        uint32
	Head           crdt.Offset
	Registers      crdt.Multiset
	Authors        uint64
	AuthorsSeen    uint64
	AuthorsRefused uint64
}

// SnapshotTrailer ends a snapshot.
type SnapshotTrailer struct {
	Records uint64
	SHA256  [sha256.Size]byte
}

// BackupHeader says what a backup holds.
type BackupHeader struct {
	Hub            [16]byte
	Epoch          crdt.Epoch
	Index, Term    uint64
	Node, Software string
	CreatedMillis  int64
	Voters         []string
	Sealed         bool
}

// AppendRegister appends s. It is the one that is written by the million, so it
// does without a message in memory.
func AppendRegister(b []byte, s *StoredRegister) []byte {
	var buf [2048]byte
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, s.Register.Op.AppendCanonical(buf[:0]))
	b = appendVarint(b, 2, uint64(s.Offset))
	if e := uint64(s.Register.Birth.Epoch); e != 0 {
		b = protowire.AppendTag(b, 3, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, e)
	}
	return appendVarint(b, 4, uint64(s.Register.Birth.Offset))
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// ReadRegister reads what AppendRegister wrote, and hashes the op.
func ReadRegister(b []byte) (StoredRegister, error) {
	var m storagev1.StoredRegister
	if err := unmarshal(b, &m); err != nil {
		return StoredRegister{}, err
	}
	return storedRegister(&m)
}

func storedRegister(m *storagev1.StoredRegister) (StoredRegister, error) {
	op, err := crdt.DecodeOp(m.GetOp())
	if err != nil {
		return StoredRegister{}, fmt.Errorf("stored register: %w", err)
	}
	return StoredRegister{
		Register: crdt.Register{
			Op: op, Digest: sha256.Sum256(m.GetOp()),
			Birth: crdt.Position{Epoch: crdt.Epoch(m.GetBirthEpoch()), Offset: crdt.Offset(m.GetBirthOffset())},
		},
		Offset: crdt.Offset(m.GetOffset()),
	}, nil
}

// ReadPage reads a page, all of its versions. Package hub/state, which writes
// pages by the million, reads them by hand; this is what they mean.
func ReadPage(b []byte) ([]StoredRegister, error) {
	var m storagev1.RegisterPage
	if err := unmarshal(b, &m); err != nil {
		return nil, err
	}
	out := make([]StoredRegister, len(m.GetRegisters()))
	for i, r := range m.GetRegisters() {
		var err error
		if out[i], err = storedRegister(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AppendAuthor appends a.
func AppendAuthor(b []byte, a *StoredAuthor) []byte {
	m := &storagev1.AuthorState{
		Pact: string(a.Pact), Site: string(a.State.Author.Site), Agent: string(a.State.Author.Agent),
		Incarnation: a.State.Author.Incarnation, Seen: uint64(a.State.Seen), Applied: uint64(a.State.Applied),
		Heard: uint64(a.State.Heard),
	}
	for _, r := range a.Refused {
		m.Refused = append(m.Refused, &storagev1.RefusedRun{From: uint64(r.From), To: uint64(r.To), Reason: string(r.Reason)})
	}
	return marshal(b, m)
}

// ReadAuthor reads what AppendAuthor wrote.
func ReadAuthor(b []byte) (StoredAuthor, error) {
	var m storagev1.AuthorState
	if err := unmarshal(b, &m); err != nil {
		return StoredAuthor{}, err
	}
	a := StoredAuthor{
		Pact: crdt.Pact(m.GetPact()),
		State: AuthorState{
			Author: crdt.Author{
				Site: crdt.Site(m.GetSite()), Agent: crdt.AgentName(m.GetAgent()), Incarnation: m.GetIncarnation(),
			},
			Seen: crdt.Seq(m.GetSeen()), Applied: crdt.Seq(m.GetApplied()), Heard: crdt.Seq(m.GetHeard()),
		},
	}
	last := crdt.Seq(0)
	for _, r := range m.GetRefused() {
		run := RefusedRun{From: crdt.Seq(r.GetFrom()), To: crdt.Seq(r.GetTo()), Reason: Reason(r.GetReason())}
		if run.From <= last || run.To < run.From || run.To > a.State.Seen {
			return StoredAuthor{}, fmt.Errorf("stored author: %w: refused seqs %d to %d", crdt.ErrMalformed, run.From, run.To)
		}
		last = run.To
		a.Refused = append(a.Refused, run)
	}
	return a, nil
}

// AppendPact appends p.
func AppendPact(b []byte, p *StoredPact) []byte {
	m := &storagev1.PactHead{
		Pact: string(p.Pact), Document: p.Document,
		HistorySinceMs: uint64(p.HistoryMillis), HistoryHead: uint64(p.HistoryHead),
	}
	for _, f := range p.Lineage {
		m.Lineage = append(m.Lineage, &storagev1.Fork{
			Child: uint64(f.Child), Parent: uint64(f.Parent), At: uint64(f.At), From: uint64(f.From),
		})
	}
	return marshal(b, m)
}

// ReadPact reads what AppendPact wrote.
func ReadPact(b []byte) (StoredPact, error) {
	var m storagev1.PactHead
	if err := unmarshal(b, &m); err != nil {
		return StoredPact{}, err
	}
	p := StoredPact{
		Pact: crdt.Pact(m.GetPact()), Document: m.GetDocument(),
		HistoryMillis: int64(m.GetHistorySinceMs()), HistoryHead: crdt.Offset(m.GetHistoryHead()),
	}
	if p.HistoryMillis < 0 {
		return StoredPact{}, fmt.Errorf("stored pact: %w: history since %d", crdt.ErrMalformed, p.HistoryMillis)
	}
	for _, f := range m.GetLineage() {
		p.Lineage = append(p.Lineage, crdt.Fork{
			Child: crdt.Epoch(f.GetChild()), Parent: crdt.Epoch(f.GetParent()),
			At: crdt.Offset(f.GetAt()), From: crdt.Offset(f.GetFrom()),
		})
	}
	return p, nil
}

// AppendMeta appends s.
func AppendMeta(b []byte, s *StateMeta) []byte {
	m := &storagev1.StateMeta{
		Index: s.Index, Epoch: uint64(s.Epoch), Pacts: encodeDigests(s.Pacts),
		AuditIndex: s.AuditIndex, AuditPacts: encodeDigests(s.AuditPacts), Pages: s.Pages, PagesSum: s.PagesSum,
		History: s.History, HistorySum: s.HistorySum, ClockMs: uint64(s.ClockMillis),
	}
	if s.Hub != [16]byte{} {
		m.Hub = s.Hub[:]
	}
	if s.Roster != [sha256.Size]byte{} {
		m.Roster = s.Roster[:]
	}
	return marshal(b, m)
}

// ReadMeta reads what AppendMeta wrote.
func ReadMeta(b []byte) (StateMeta, error) {
	var m storagev1.StateMeta
	if err := unmarshal(b, &m); err != nil {
		return StateMeta{}, err
	}
	s := StateMeta{
		Index: m.GetIndex(), Epoch: crdt.Epoch(m.GetEpoch()), AuditIndex: m.GetAuditIndex(),
		Pages: m.GetPages(), PagesSum: m.GetPagesSum(), History: m.GetHistory(), HistorySum: m.GetHistorySum(),
		ClockMillis: int64(m.GetClockMs()),
	}
	if s.ClockMillis < 0 {
		return StateMeta{}, fmt.Errorf("state meta: %w: a clock of %d ms", crdt.ErrMalformed, s.ClockMillis)
	}
	if n := len(m.GetHub()); n != 0 && n != len(s.Hub) {
		return StateMeta{}, fmt.Errorf("state meta: %w: hub id of %d bytes", crdt.ErrMalformed, n)
	}
	copy(s.Hub[:], m.GetHub())
	if n := len(m.GetRoster()); n != 0 && n != len(s.Roster) {
		return StateMeta{}, fmt.Errorf("state meta: %w: digest of the roster of %d bytes", crdt.ErrMalformed, n)
	}
	copy(s.Roster[:], m.GetRoster())
	var err error
	if s.Pacts, err = decodeDigests(m.GetPacts()); err != nil {
		return StateMeta{}, err
	}
	s.AuditPacts, err = decodeDigests(m.GetAuditPacts())
	return s, err
}

func encodeDigests(ds []PactDigest) []*storagev1.PactDigest {
	var out []*storagev1.PactDigest
	for i := range ds {
		sum := ds[i].Registers.Bytes()
		out = append(out, &storagev1.PactDigest{
			Pact: string(ds[i].Pact), Version: ds[i].Version, Head: uint64(ds[i].Head), Registers: sum[:],
			Authors: ds[i].Authors, AuthorsSeen: ds[i].AuthorsSeen, AuthorsRefused: ds[i].AuthorsRefused,
		})
	}
	return out
}

func decodeDigests(ms []*storagev1.PactDigest) ([]PactDigest, error) {
	var out []PactDigest
	for _, m := range ms {
		if len(m.GetRegisters()) != crdt.MultisetBytes {
			return nil, fmt.Errorf("pact digest: %w: %d bytes", crdt.ErrMalformed, len(m.GetRegisters()))
		}
		out = append(out, PactDigest{
			Pact: crdt.Pact(m.GetPact()), Version: m.GetVersion(), Head: crdt.Offset(m.GetHead()),
			Registers: crdt.MultisetFrom([crdt.MultisetBytes]byte(m.GetRegisters())),
			Authors:   m.GetAuthors(), AuthorsSeen: m.GetAuthorsSeen(), AuthorsRefused: m.GetAuthorsRefused(),
		})
	}
	return out, nil
}

// AppendTrailer appends t.
func AppendTrailer(b []byte, t *SnapshotTrailer) []byte {
	return marshal(b, &storagev1.SnapshotTrailer{Records: t.Records, Sha256: t.SHA256[:]})
}

// ReadTrailer reads what AppendTrailer wrote.
func ReadTrailer(b []byte) (SnapshotTrailer, error) {
	var m storagev1.SnapshotTrailer
	if err := unmarshal(b, &m); err != nil {
		return SnapshotTrailer{}, err
	}
	if n := len(m.GetSha256()); n != sha256.Size {
		return SnapshotTrailer{}, fmt.Errorf("snapshot trailer: %w: digest of %d bytes", crdt.ErrMalformed, n)
	}
	return SnapshotTrailer{Records: m.GetRecords(), SHA256: [sha256.Size]byte(m.GetSha256())}, nil
}

// AppendBackupHeader appends h, whose texts must be UTF-8.
func AppendBackupHeader(b []byte, h *BackupHeader) []byte {
	return marshal(b, &storagev1.BackupHeader{
		Hub: h.Hub[:], Epoch: uint64(h.Epoch), Index: h.Index, Term: h.Term, Node: h.Node, Software: h.Software,
		CreatedMillis: h.CreatedMillis, Voters: h.Voters, Sealed: h.Sealed,
	})
}

// ReadBackupHeader reads what AppendBackupHeader wrote.
func ReadBackupHeader(b []byte) (BackupHeader, error) {
	var m storagev1.BackupHeader
	if err := unmarshal(b, &m); err != nil {
		return BackupHeader{}, err
	}
	h := BackupHeader{
		Epoch: crdt.Epoch(m.GetEpoch()), Index: m.GetIndex(), Term: m.GetTerm(), Node: m.GetNode(), Software: m.GetSoftware(),
		CreatedMillis: m.GetCreatedMillis(), Voters: m.GetVoters(), Sealed: m.GetSealed(),
	}
	if n := len(m.GetHub()); n != len(h.Hub) {
		return BackupHeader{}, fmt.Errorf("backup header: %w: hub id of %d bytes", crdt.ErrMalformed, n)
	}
	copy(h.Hub[:], m.GetHub())
	return h, nil
}

func marshal(b []byte, m proto.Message) []byte {
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
	if err != nil { // only text that is not UTF-8; every name was parsed before it got into a state
		panic(fmt.Sprintf("wire: a row that cannot be encoded: %v", err))
	}
	return out
}

func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%s: %w: %w", m.ProtoReflect().Descriptor().Name(), crdt.ErrMalformed, err)
	}
	return nil
}
