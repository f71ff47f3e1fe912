package command_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/proto/pact"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func op(seq crdt.Seq, valueBytes int) crdt.Op {
	a := crdt.Author{Site: "acme", Agent: "main", Incarnation: 2}
	return crdt.Op{
		Key:   crdt.Key{Pact: "tickets", Type: "ticket", Record: crdt.RecordID{15: 1}, Field: "title"},
		Stamp: crdt.StampOf(1_800_000_000_000, 7), Author: a, Seq: seq,
		Base:        crdt.Base{Pred: crdt.OpID{Author: a, Seq: seq - 1}, Birth: crdt.Position{Epoch: 0xe1, Offset: 9}},
		PactVersion: 1, Binding: 3, Evidence: crdt.Evidence{Class: crdt.EvidenceCommit, UncertaintyMillis: 5},
		Value: bytes.Repeat([]byte{'v'}, valueBytes),
	}
}

func entry() command.Entry {
	var sum crdt.Multiset
	sum.Add(crdt.Digest{1, 2, 3})
	after := crdt.OpID{Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: 1}, Seq: 41}
	return command.Entry{
		TimeMillis: 1_800_000_000_123, DriftMaxMillis: 60_000,
		Commands: []command.Command{
			&command.Found{Hub: command.HubID{1, 2, 3}, Epoch: 0xe1},
			&command.Fork{Parent: 0xe1, Child: 0xe2},
			&command.PutPact{Document: []byte("document")},
			&command.Publish{
				Site: "acme", Agent: "main", Pact: "tickets", Epoch: 0xe2, After: after,
				Ops: []crdt.Op{op(2, 3), op(3, 40)},
			},
			&command.Audit{Index: 77, Pacts: []command.PactDigest{{
				Pact: "tickets", Version: 3, Head: 12, Registers: sum,
				Authors: command.AuthorSum{Count: 2, Seen: 300, Refused: 1},
			}}},
		},
	}
}

// nodeEntry holds the commands about nodes, in every act.
func nodeEntry() command.Entry {
	return command.Entry{
		TimeMillis: 1_800_000_000_123, DriftMaxMillis: 60_000,
		Commands: []command.Command{
			&command.Token{
				Act: command.TokenIssue, ID: command.TokenID{1, 2}, Node: "n4", Replaces: "n2",
				Secret: [32]byte{3}, ExpiresMillis: 1_800_000_900_000,
			},
			&command.Token{Act: command.TokenSpend, ID: command.TokenID{1, 2}, Key: [32]byte{4}},
			&command.Node{Act: command.NodeAdmit, Name: "n5"},
			&command.Node{
				Act: command.NodeTell, Name: "n4", Nodes: "n4.hub.example:7444", Agents: "n4.hub.example:7443",
				Software: "v1.2.3", Speaks: command.KindToken, ExpiresMillis: 1_830_000_000_000,
			},
			&command.Node{Act: command.NodeReplace, Name: "n5", Replaces: "n3"},
			&command.Node{Act: command.NodeRemove, Name: "n2", Why: "its disk died"},
		},
	}
}

// offers is an entry of what version 1 learned later.
func offers() command.Entry {
	birth, last := crdt.Position{Epoch: 0xe1, Offset: 300}, op(9, 1)
	return command.Entry{
		TimeMillis: 1_800_000_000_123, DriftMaxMillis: 60_000,
		Commands: []command.Command{
			&command.Offer{
				Site: "acme", Agent: "main", Pact: "tickets", Epoch: 0xe2,
				Lineage:   crdt.Lineage{{Child: 0xe1, Parent: 0xe0, At: 7, From: 200}},
				Registers: []command.Offered{{Op: op(2, 3), Birth: birth}, {Op: op(3, 40), Birth: birth, Place: crdt.Position{Epoch: 0xe3, Offset: 5}}},
			},
			&command.Offer{
				Site: "acme", Agent: "main", Pact: "tickets", Epoch: 0xe2, Registers: []command.Offered{},
				End: &command.OfferEnd{
					After: last.ID(), Held: []crdt.Position{birth, {Epoch: 0xe0, Offset: 7}},
				},
			},
			&command.OfferPact{Sites: []crdt.Site{"acme", "globex"}, Document: []byte("document")},
		},
	}
}

// golden are the bytes that must stay readable.
func golden() map[string]command.Entry {
	return map[string]command.Entry{"entry-v1.hex": entry(), "entry-v1-nodes.hex": nodeEntry(), "offers-v1.hex": offers()}
}

func TestRoundTrip(t *testing.T) {
	for name, e := range golden() {
		got, err := command.Decode(e.Encode())
		if err != nil || !reflect.DeepEqual(bare(got), e) {
			t.Errorf("%s: got %+v (%v), want %+v", name, got, err, e)
		}
	}
}

// bare is e without the encoded bytes that decoding keeps of it, after comparing
// them with the ops.
func bare(e command.Entry) command.Entry {
	for _, c := range e.Commands {
		p, ok := c.(*command.Publish)
		if !ok {
			continue
		}
		for op, canonical := range p.All() {
			if !bytes.Equal(op.AppendCanonical(nil), canonical) {
				panic(fmt.Sprintf("op %s has other bytes in the entry", op.ID()))
			}
		}
		command.Forget(p)
	}
	return e
}

// Bytes that version 1 wrote are read for ever, and written alike.
func TestOldEntry(t *testing.T) {
	for name, e := range golden() {
		t.Run(name, func(t *testing.T) { oldEntry(t, filepath.Join("testdata", name), e) })
	}
}

func oldEntry(t *testing.T, file string, e command.Entry) {
	t.Helper()
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, []byte(hex.EncodeToString(e.Encode())+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	old, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := command.Decode(old)
	if err != nil || !reflect.DeepEqual(bare(got), e) {
		t.Fatalf("old bytes are read as %+v (%v)", got, err)
	}
	if !bytes.Equal(e.Encode(), old) {
		t.Fatal("the format changed without a new version")
	}
}

// sealed gives b a right checksum, as a newer or a wrong program would.
func sealed(b []byte) []byte { return binary.BigEndian.AppendUint32(b, codec.Checksum(b)) }

func TestRefused(t *testing.T) {
	for name, e := range golden() {
		t.Run(name, func(t *testing.T) { refused(t, e) })
	}
}

func refused(t *testing.T, e command.Entry) {
	good := e.Encode()
	body := good[:len(good)-4]
	first := len(body) // where the commands begin
	for _, c := range e.Commands {
		single := command.Entry{Commands: []command.Command{c}}
		empty := command.Entry{}
		first -= len(single.Encode()) - len(empty.Encode())
	}
	edited := func(f func(b []byte) []byte) []byte { return sealed(f(bytes.Clone(body))) }
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, command.ErrMalformed},
		{"oversize", make([]byte, command.EntryBytesMax+1), command.ErrMalformed},
		{"newer format", edited(func(b []byte) []byte { b[0] = command.Format + 1; return b }), command.ErrNewer},
		{"format zero", edited(func(b []byte) []byte { b[0] = 0; return b }), command.ErrMalformed},
		{"unknown command", edited(func(b []byte) []byte { b[first] = 99; return b }), command.ErrKind},
		{"command cut off", edited(func(b []byte) []byte { return b[:len(b)-1] }), command.ErrMalformed},
		{"command too long", edited(func(b []byte) []byte { b[first+4]++; return b }), command.ErrMalformed},
		{"newer body", sealedNode(command.KindNode, 2, 1), command.ErrNewer},
		{"body of format zero", sealedNode(command.KindToken, 0, 1), command.ErrMalformed},
		{"node cut off", sealedNode(command.KindNode, 1, 4, 2, 'n'), command.ErrMalformed},
		{"long reason", sealedNode(command.KindNode, append(make([]byte, 17), 0x81, 2)...), command.ErrMalformed},
		{"trailing byte", edited(func(b []byte) []byte { return append(b, 1) }), command.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := command.Decode(c.b)
			for _, known := range []error{command.ErrMalformed, command.ErrNewer, command.ErrKind, command.ErrChecksum} {
				if errors.Is(err, known) != (known == c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
			}
		})
	}
}

// sealedNode is an entry of one command with that body.
// keeping is a pact that keeps history for so many days.
func keeping(days int) []byte {
	p := &pact.Pact{
		Name: "tickets", Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket",
		Fields: []pact.Field{{Name: "title", Type: pact.TypeText}}, Limits: pact.Limits{HistoryDays: days},
	}
	return p.Encode()
}

// What one program wrote must not stop or divide another: see Needs.
func TestNeeds(t *testing.T) {
	for _, tc := range []struct {
		c    command.Command
		want command.Kind
	}{
		{&command.Publish{}, command.KindPublish},
		{&command.Tally{}, command.KindTally},
		{&command.PutPact{}, command.KindPutPact},
		{&command.PutPact{Document: []byte{1, 2}}, command.KindPutPact},
		{&command.PutPact{Document: []byte{2, 1}}, command.KindLevel},
		{&command.OfferPact{Document: []byte{1}}, command.KindLevel},
		{&command.PutPact{Document: keeping(30)}, command.KindHistory},
		{&command.OfferPact{Document: keeping(30)}, command.KindHistory},
		{&command.PutPact{Document: keeping(pact.HistoryNone)}, command.KindLevel},
		{&command.Offer{}, command.KindLevel},
	} {
		if got := command.Needs(tc.c); got != tc.want {
			t.Errorf("%s needs %s, want %s", tc.c.Kind(), got, tc.want)
		}
	}
	if pact.Format != command.LevelPactFormat {
		t.Errorf("pacts of format %d need a level of their own: nobody who says %s is known to read them", pact.Format, command.KindLevel)
	}
}

func sealedNode(kind command.Kind, body ...byte) []byte {
	empty := command.Entry{}
	b := empty.Encode()
	b = append(b[:len(b)-4], byte(kind))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return sealed(append(b, body...))
}

// Every flipped bit is found, and named as damage rather than as a version.
func TestFlippedBits(t *testing.T) {
	e := entry()
	good := e.Encode()
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, err := command.Decode(b); !errors.Is(err, command.ErrChecksum) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

func TestBuilderFillsAnEntry(t *testing.T) {
	b := command.NewBuilder(1, 2)
	p := &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: 1, Ops: []crdt.Op{op(2, 1000)}}
	n := 0
	for b.Add(p) {
		n++
	}
	raw := b.Bytes()
	e, err := command.Decode(raw)
	if err != nil || len(e.Commands) != n || n != b.Count() || n < 200 {
		t.Fatalf("%d commands in %d bytes: %v", n, len(raw), err)
	}
	if len(raw) > command.EntryBytesMax || len(raw) < command.EntryBytesMax-1200 {
		t.Fatalf("an entry of %d bytes", len(raw))
	}
}

// Split keeps every op in order, chains the parts, and each part fits.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: 1}
		first := op(1, 1)
		p.After = first.ID()
		for i := range rapid.IntRange(0, 40).Draw(t, "ops") {
			p.Ops = append(p.Ops, op(crdt.Seq(i+2), rapid.IntRange(1, 3000).Draw(t, "bytes")))
		}
		limit := rapid.IntRange(500, 9000).Draw(t, "limit")
		var ops []crdt.Op
		after := p.After
		for _, part := range p.Split(limit) {
			e := command.Entry{Commands: []command.Command{part}}
			if n := len(e.Encode()); len(part.Ops) > 1 && n > limit {
				t.Fatalf("%d ops take %d bytes, limit %d", len(part.Ops), n, limit)
			}
			if part.After != after || part.Site != p.Site || part.Epoch != p.Epoch {
				t.Fatalf("part %+v does not follow %s", part, after)
			}
			if _, err := command.Decode(e.Encode()); err != nil {
				t.Fatal(err)
			}
			bare(e)
			if len(part.Ops) > 0 {
				after = part.Ops[len(part.Ops)-1].ID()
			}
			ops = append(ops, part.Ops...)
		}
		if !reflect.DeepEqual(ops, p.Ops) {
			t.Fatal("the parts are not the whole")
		}
	})
}

// The same of an offer, whose end comes with the last part alone.
func TestSplitOffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &command.Offer{
			Site: "acme", Agent: "main", Pact: "tickets", Epoch: 1,
			Lineage: crdt.Lineage{{Child: 9, Parent: 8, At: 1}},
			End:     &command.OfferEnd{Held: []crdt.Position{{Epoch: 9, Offset: 1}}},
		}
		for i := range rapid.IntRange(0, 40).Draw(t, "registers") {
			o.Registers = append(o.Registers, command.Offered{
				Op: op(crdt.Seq(i+2), rapid.IntRange(1, 3000).Draw(t, "bytes")), Birth: crdt.Position{Epoch: 9, Offset: 1},
			})
		}
		limit := rapid.IntRange(500, 9000).Draw(t, "limit")
		var all []command.Offered
		parts := o.Split(limit)
		for i, part := range parts {
			e := command.Entry{Commands: []command.Command{part}}
			if n := len(e.Encode()); len(part.Registers) > 1 && n > limit {
				t.Fatalf("%d registers take %d bytes, limit %d", len(part.Registers), n, limit)
			}
			if last := i == len(parts)-1; last != (part.End != nil) || (i == 0) != (part.Lineage != nil) || part.Site != o.Site || part.Epoch != o.Epoch {
				t.Fatalf("part %d of %d: %+v", i, len(parts), part)
			}
			all = append(all, part.Registers...)
		}
		if !reflect.DeepEqual(all, o.Registers) {
			t.Fatal("the parts are not the whole")
		}
	})
}

// FuzzDecode: an entry that is read encodes to the same bytes; everything else
// is a typed error. The input gets its checksum here, else nothing would pass.
func FuzzDecode(f *testing.F) {
	for _, e := range golden() {
		good := e.Encode()
		f.Add(good[:len(good)-4])
		for _, c := range e.Commands {
			one := command.Entry{TimeMillis: -1, Commands: []command.Command{c}}
			b := one.Encode()
			f.Add(b[:len(b)-4])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := sealed(bytes.Clone(body))
		e, err := command.Decode(b)
		if err != nil {
			if !errors.Is(err, command.ErrMalformed) && !errors.Is(err, command.ErrNewer) && !errors.Is(err, command.ErrKind) {
				t.Fatalf("untyped error: %v", err)
			}
			return
		}
		if e = bare(e); !bytes.Equal(e.Encode(), b) {
			t.Fatalf("% x is read, and written as % x", b, e.Encode())
		}
	})
}

// A Decoder that reads entry after entry reads each as a new one would.
func TestDecoderIsReused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d command.Decoder
		for range rapid.IntRange(1, 6).Draw(t, "entries") {
			e := command.Entry{DriftMaxMillis: 1}
			for range rapid.IntRange(0, 4).Draw(t, "commands") {
				p := &command.Publish{Site: "acme", Agent: "main", Pact: "tickets", Epoch: 1}
				for range rapid.IntRange(0, 5).Draw(t, "ops") {
					o := op(crdt.Seq(rapid.IntRange(2, 9).Draw(t, "seq")), rapid.IntRange(1, 9).Draw(t, "bytes"))
					o.Key.Field = rapid.SampledFrom([]crdt.Field{"title", "notes", "a", "b", "labels/x"}).Draw(t, "field")
					o.Key.Type = rapid.SampledFrom([]crdt.Type{"ticket", "ticket.comments"}).Draw(t, "type")
					o.Author.Site = rapid.SampledFrom([]crdt.Site{"acme", "ecma", "globex"}).Draw(t, "site")
					p.Ops = append(p.Ops, o)
				}
				e.Commands = append(e.Commands, p)
			}
			b := e.Encode()
			if rapid.IntRange(0, 4).Draw(t, "damaged") == 0 {
				b = sealed(b[:len(b)-rapid.IntRange(4, len(b)).Draw(t, "cut")])
			}
			got, err := d.Decode(b)
			want, wantErr := command.Decode(b)
			got, want = bare(got), bare(want)
			if (err == nil) != (wantErr == nil) || !bytes.Equal(got.Encode(), want.Encode()) {
				t.Fatalf("%+v %v, want %+v %v", got, err, want, wantErr)
			}
		}
	})
}
