package wire

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

func offers() *rapid.Generator[Offer] {
	return rapid.Custom(func(t *rapid.T) Offer {
		o := Offer{
			ID: rapid.Uint64().Draw(t, "id"), Pact: testPact, Epoch: crdt.Epoch(rapid.Uint64().Draw(t, "epoch")),
			Registers: []Offered{}, Lineage: lineages().Draw(t, "lineage"),
		}
		for range rapid.IntRange(0, 6).Draw(t, "registers") {
			o.Registers = append(o.Registers, Offered{Op: ops().Draw(t, "op"), Birth: births().Draw(t, "birth"), Place: crdttest.Positions().Draw(t, "place")})
		}
		if len(o.Registers) == 0 || rapid.Bool().Draw(t, "ends") {
			o.End = &OfferEnd{After: ids().Draw(t, "after")}
			for range rapid.IntRange(0, 3).Draw(t, "held") {
				o.End.Held = append(o.End.Held, births().Draw(t, "held"))
			}
		}
		return o
	})
}

func births() *rapid.Generator[crdt.Position] {
	return rapid.Custom(func(t *rapid.T) crdt.Position {
		return crdt.Position{
			Epoch:  crdt.Epoch(rapid.Uint64Min(1).Draw(t, "epoch")),
			Offset: crdt.Offset(rapid.Uint64Min(1).Draw(t, "offset")),
		}
	})
}

func sameOffered(a, b Offered) bool {
	return a.Birth == b.Birth && a.Place == b.Place && sameOp(a.Op, b.Op)
}

func TestOfferRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := offers().Draw(t, "offer")
		m, err := encodeOffer(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeOffer(over(t, m, &syncv1.OfferRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != want.ID || got.Pact != want.Pact || got.Epoch != want.Epoch ||
			!slices.EqualFunc(got.Registers, want.Registers, sameOffered) || !reflect.DeepEqual(got.End, want.End) ||
			!slices.Equal(got.Lineage, want.Lineage) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		r := results().Draw(t, "result")
		answer, err := encodeOfferResult(r)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeOfferResult(over(t, answer, &syncv1.OfferResponse{})); err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("got %+v, %v, want %+v", back, err, r)
		}
	})
}

func TestAcceptanceRoundTrip(t *testing.T) {
	for _, want := range []Acceptance{{}, {Version: 3}, {Version: 2, Missing: []crdt.Site{"acme", "globex"}}} {
		got, err := decodeAcceptance(over(t, encodeAcceptance(want), &syncv1.OfferPactResponse{}))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for name, m := range map[string]*syncv1.OfferPactResponse{
		"no name": {Missing: []string{"No Name"}}, "too many": {Missing: slices.Repeat([]string{"acme"}, MissingMax+1)},
	} {
		if _, err := decodeAcceptance(m); ReasonOf(err) != ReasonMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func validOffer() *syncv1.OfferRequest {
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	op.Key.Pact = testPact
	at := crdt.Position{Epoch: 8, Offset: 5}
	m, err := encodeOffer(Offer{
		ID: 1, Pact: testPact, Epoch: 9, Registers: []Offered{{Op: op, Birth: at}},
		Lineage: crdt.Lineage{{Child: 8, Parent: 7, At: 3, From: 2}},
		End:     &OfferEnd{After: op.ID(), Held: []crdt.Position{at}},
	})
	if err != nil {
		panic(err)
	}
	return m
}

func TestMalformedOffers(t *testing.T) {
	long := strings.Repeat("a", 300)
	register := func(m *syncv1.OfferRequest) *syncv1.OfferedRegister { return m.Registers[0] }
	more := func(m *syncv1.OfferRequest, n int) { m.Registers = slices.Repeat(m.Registers[:1], n) }
	cases := map[string]struct {
		spoil  func(m *syncv1.OfferRequest)
		reason Reason
	}{
		"valid":       {func(*syncv1.OfferRequest) {}, ""},
		"end alone":   {func(m *syncv1.OfferRequest) { m.Registers = nil }, ""},
		"no end":      {func(m *syncv1.OfferRequest) { m.End = nil }, ""},
		"nothing":     {func(m *syncv1.OfferRequest) { m.End, m.Registers = nil, nil }, ReasonMalformed},
		"pact":        {func(m *syncv1.OfferRequest) { m.Pact = "Not A Name" }, ReasonMalformed},
		"no register": {func(m *syncv1.OfferRequest) { m.Registers[0] = nil }, ReasonOpMalformed},
		"no op":       {func(m *syncv1.OfferRequest) { register(m).Op = nil }, ReasonOpMalformed},
		"no birth":    {func(m *syncv1.OfferRequest) { register(m).Birth = nil }, ReasonOpMalformed},
		"no epoch":    {func(m *syncv1.OfferRequest) { register(m).Birth.Epoch = 0 }, ReasonOpMalformed},
		"no offset":   {func(m *syncv1.OfferRequest) { register(m).Birth.Offset = 0 }, ReasonOpMalformed},
		"long site":   {func(m *syncv1.OfferRequest) { register(m).Op.Author.Site = long }, ReasonOpMalformed},
		"long after":  {func(m *syncv1.OfferRequest) { m.End.After.Author.Agent = long }, ReasonOpMalformed},
		"value limit + 1": {
			func(m *syncv1.OfferRequest) { register(m).Op.Value = make([]byte, crdt.ValueBytesMax+1) }, ReasonOpOversize,
		},
		"record limit": {func(m *syncv1.OfferRequest) {
			register(m).Op.Field = "~lost/title/0123456789abcdef0123456789abcdef"
			register(m).Op.Value = make([]byte, crdt.LostBytesMax)
		}, ""},
		"registers limit":     {func(m *syncv1.OfferRequest) { more(m, BatchOpsMax) }, ""},
		"registers limit + 1": {func(m *syncv1.OfferRequest) { more(m, BatchOpsMax+1) }, ReasonBatchOversize},
		"bytes": {func(m *syncv1.OfferRequest) {
			register(m).Op.Value = make([]byte, crdt.ValueBytesMax)
			more(m, BatchBytesMax/crdt.ValueBytesMax)
		}, ReasonBatchOversize},
		"held limit":        {func(m *syncv1.OfferRequest) { m.End.Held = slices.Repeat(m.End.Held, HeldMax) }, ""},
		"held limit + 1":    {func(m *syncv1.OfferRequest) { m.End.Held = slices.Repeat(m.End.Held, HeldMax+1) }, ReasonMalformed},
		"lineage limit":     {func(m *syncv1.OfferRequest) { m.Lineage = slices.Repeat(m.Lineage, LineageMax) }, ""},
		"lineage limit + 1": {func(m *syncv1.OfferRequest) { m.Lineage = slices.Repeat(m.Lineage, LineageMax+1) }, ReasonMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := validOffer()
			c.spoil(m)
			o, err := decodeOffer(m)
			if ReasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
				t.Fatalf("got %v, want reason %q", err, c.reason)
			}
			if err == nil {
				return
			}
			if _, err := encodeOffer(o); len(o.Registers) > 0 && ReasonOf(err) != c.reason {
				t.Errorf("the sender says %v, the hub %s", err, c.reason)
			}
		})
	}
}

// An offered register must fit a message as OpBytes counts it.
func TestOpBytesBoundsOfferedRegisters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := ops().Draw(t, "op")
		m := &syncv1.OfferedRegister{Op: encodeOp(&op), Birth: &syncv1.Position{Epoch: 1, Offset: 1<<64 - 1}}
		m.Place = m.GetBirth()
		const tagAndLength = 1 + 3
		if size := proto.Size(m) + tagAndLength; size > OpBytes(&op) {
			t.Fatalf("%d bytes in a message, OpBytes %d", size, OpBytes(&op))
		}
	})
}

func FuzzDecodeOffer(f *testing.F) {
	b, err := proto.Marshal(validOffer())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m syncv1.OfferRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		offer, err := decodeOffer(&m)
		if err != nil {
			if e := new(Error); !errors.As(err, &e) || !e.Reason.Known() {
				t.Fatalf("an error without a known reason: %v", err)
			}
			return
		}
		again, err := encodeOffer(offer)
		if err != nil {
			t.Fatalf("decoded, but not encoded again: %v", err)
		}
		twice, err := decodeOffer(again)
		if err != nil || !slices.EqualFunc(twice.Registers, offer.Registers, sameOffered) || !reflect.DeepEqual(twice.End, offer.End) {
			t.Fatalf("round trip: %v", err)
		}
	})
}
