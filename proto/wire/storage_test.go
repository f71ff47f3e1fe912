package wire

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	storagev1 "github.com/entente-sync/entente/proto/entente/storage/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The one message that is written by hand has the bytes of the schema.
func TestRegisterHasTheBytesOfItsSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := StoredRegister{
			Register: crdt.NewRegister(crdttest.WideOps().Draw(t, "op"), crdttest.Positions().Draw(t, "birth")),
			Offset:   crdt.Offset(rapid.Uint64().Draw(t, "offset")),
		}
		want := marshal([]byte("head"), &storagev1.StoredRegister{
			Op: s.Register.Op.AppendCanonical(nil), Offset: uint64(s.Offset),
			BirthEpoch: uint64(s.Register.Birth.Epoch), BirthOffset: uint64(s.Register.Birth.Offset),
		})
		got := AppendRegister([]byte("head"), &s)
		if !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
		back, err := ReadRegister(got[len("head"):])
		if err != nil || back.Offset != s.Offset || !crdttest.SameRegister(&back.Register, &s.Register) {
			t.Fatalf("got %+v, %v, want %+v", back, err, s)
		}
	})
}

func storedExamples() (StoredAuthor, StoredPact, StateMeta, SnapshotTrailer) {
	author := StoredAuthor{
		Pact: testPact, State: AuthorState{Author: crdt.Author{Site: "acme", Agent: "desk", Incarnation: 2}, Seen: 9, Applied: 7},
		Refused: []RefusedRun{{From: 3, To: 3, Reason: ReasonPactWriter}, {From: 8, To: 9, Reason: ReasonStampFuture}},
	}
	pact := StoredPact{Pact: testPact, Document: []byte{1, 2, 3}, Lineage: crdt.Lineage{{Child: 5, Parent: 4, At: 77}}}
	var sum crdt.Multiset
	sum.Add(crdt.Digest{1, 2, 3})
	digest := PactDigest{
		Pact: testPact, Version: 3, Head: 12, Registers: sum,
		Authors: 1, AuthorsSeen: 9, AuthorsRefused: 3,
	}
	meta := StateMeta{
		Index: 40, Hub: [16]byte{0xab}, Epoch: 5, Pacts: []PactDigest{digest},
		AuditIndex: 39, AuditPacts: []PactDigest{digest},
	}
	return author, pact, meta, SnapshotTrailer{Records: 4, SHA256: [32]byte{0xcd}}
}

func rosterExample() Roster {
	return Roster{
		Nodes: []RosterNode{{
			Name: "n1", Nodes: "n1:1", Agents: "n1:2", Software: "v1", Speaks: 9, ExpiresMillis: 5, Replaces: "n0", ActedMillis: 6,
		}, {Name: "n2", Removed: true, Why: "dead", ActedMillis: 7}},
		Tokens: []RosterToken{
			{ID: [8]byte{1}, Node: "n3", Replaces: "n1", Secret: [32]byte{2}, ExpiresMillis: 8},
			{ID: [8]byte{2}, Node: "n4", Secret: [32]byte{3}, ExpiresMillis: 9, Key: [32]byte{4}},
		},
	}
}

func TestStoredRowsRoundTrip(t *testing.T) {
	author, pact, meta, trailer := storedExamples()
	gotAuthor, err := ReadAuthor(AppendAuthor(nil, &author))
	check(t, gotAuthor, author, err)
	gotPact, err := ReadPact(AppendPact(nil, &pact))
	check(t, gotPact, pact, err)
	gotMeta, err := ReadMeta(AppendMeta(nil, &meta))
	check(t, gotMeta, meta, err)
	roster := rosterExample()
	gotRoster, err := ReadRoster(AppendRoster(nil, &roster))
	check(t, gotRoster, roster, err)
	meta.Roster = [32]byte{1}
	gotMeta, err = ReadMeta(AppendMeta(nil, &meta))
	check(t, gotMeta, meta, err)
	gotMeta, err = ReadMeta(AppendMeta(nil, &StateMeta{}))
	check(t, gotMeta, StateMeta{}, err)
	gotTrailer, err := ReadTrailer(AppendTrailer(nil, &trailer))
	check(t, gotTrailer, trailer, err)
	header := BackupHeader{
		Hub: [16]byte{0xab}, Epoch: 5, Index: 40, Term: 3, Node: "n1", Software: "entente/v1", CreatedMillis: 1_800_000_000_000,
		Voters: []string{"n1", "n2"}, Sealed: true,
	}
	gotHeader, err := ReadBackupHeader(AppendBackupHeader(nil, &header))
	check(t, gotHeader, header, err)
}

func check[T any](t *testing.T, got, want T, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// Bytes at rest stay readable for ever: the golden files are never rewritten
// for version 1.
func TestStoredBytesAreFixed(t *testing.T) {
	author, pact, meta, trailer := storedExamples()
	register := StoredRegister{
		Register: crdt.NewRegister(crdttest.Op(1<<20, "acme", 3, "hello"), crdt.Position{Epoch: 5, Offset: 8}), Offset: 11,
	}
	roster := rosterExample()
	for name, got := range map[string][]byte{
		"roster":   AppendRoster(nil, &roster),
		"register": AppendRegister(nil, &register), "author": AppendAuthor(nil, &author), "pact": AppendPact(nil, &pact),
		"meta": AppendMeta(nil, &meta), "trailer": AppendTrailer(nil, &trailer),
	} {
		file := filepath.Join("testdata", "storage1_"+name+".bin")
		if *update {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
}

func TestDamagedRows(t *testing.T) {
	author, _, meta, trailer := storedExamples()
	author.Refused[1].To = 10 // beyond what was seen
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	newer := op.AppendCanonical(nil)
	newer[0] = crdt.OpFormat + 1
	read := map[string]struct {
		err  error
		want error
	}{
		"author's runs": {second(ReadAuthor(AppendAuthor(nil, &author))), crdt.ErrMalformed},
		"op of a newer format": {
			second(ReadRegister(marshal(nil, &storagev1.StoredRegister{Op: newer}))), crdt.ErrNewer,
		},
		"no op":           {second(ReadRegister(nil)), crdt.ErrMalformed},
		"hub id":          {second(ReadMeta(marshal(nil, &storagev1.StateMeta{Hub: []byte{1}}))), crdt.ErrMalformed},
		"cut meta":        {second(ReadMeta(AppendMeta(nil, &meta)[:9])), crdt.ErrMalformed},
		"pact digest":     {second(ReadMeta(marshal(nil, &storagev1.StateMeta{Pacts: []*storagev1.PactDigest{{}}}))), crdt.ErrMalformed},
		"cut trailer":     {second(ReadTrailer(AppendTrailer(nil, &trailer)[:9])), crdt.ErrMalformed},
		"no digest":       {second(ReadTrailer(nil)), crdt.ErrMalformed},
		"roster's digest": {second(ReadMeta(marshal(nil, &storagev1.StateMeta{Roster: []byte{1}}))), crdt.ErrMalformed},
		"node speaks 256": {
			second(ReadRoster(marshal(nil, &storagev1.Roster{Nodes: []*storagev1.RosterNode{{Speaks: 256}}}))), crdt.ErrMalformed,
		},
		"token without id": {
			second(ReadRoster(marshal(nil, &storagev1.Roster{Tokens: []*storagev1.RosterToken{{Secret: make([]byte, 32)}}}))), crdt.ErrMalformed,
		},
		"cut document": {second(ReadPact([]byte{0x12, 9, 1})), crdt.ErrMalformed},
	}
	for name, c := range read {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzReadRegister(f *testing.F) {
	s := StoredRegister{Register: crdt.NewRegister(crdttest.Op(1<<20, "acme", 3, "hello"), crdt.Position{Epoch: 5, Offset: 8})}
	f.Add(AppendRegister(nil, &s))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ReadRegister(b)
		if err != nil {
			return
		}
		if s.Register.Digest != s.Register.Op.Digest() {
			t.Fatal("digest does not belong to the op")
		}
		again := AppendRegister(nil, &s)
		var m storagev1.StoredRegister
		if err := proto.Unmarshal(again, &m); err != nil {
			t.Fatal(err)
		}
	})
}
