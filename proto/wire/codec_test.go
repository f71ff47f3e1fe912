package wire

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// over sends m through its bytes, as a connection does.
func over[M proto.Message](t interface{ Fatal(...any) }, m, empty M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, empty); err != nil {
		t.Fatal(err)
	}
	return empty
}

func sameOp(a, b crdt.Op) bool {
	return slices.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil))
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := batches().Draw(t, "batch")
		m, err := encodeBatch(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeBatch(over(t, m, &syncv1.PublishRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != want.ID || got.Pact != want.Pact || got.Epoch != want.Epoch || got.After != want.After ||
			!slices.EqualFunc(got.Ops, want.Ops, sameOp) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestSliceRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := slicesOf().Draw(t, "slice")
		m, err := encodeSlice(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeSlice(testPact, over(t, m, &syncv1.SubscribeResponse{}))
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b Entry) bool {
			return a.Offset == b.Offset && a.Register.Birth == b.Register.Birth &&
				a.Register.Digest == b.Register.Digest && sameOp(a.Register.Op, b.Register.Op)
		}
		if got.Cursor != want.Cursor || got.Head != want.Head || got.PactVersion != want.PactVersion || !slices.Equal(got.Lineage, want.Lineage) ||
			!slices.EqualFunc(got.Entries, want.Entries, same) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestGreetAndResultsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := welcomes().Draw(t, "welcome")
		gotWelcome, err := decodeWelcome(over(t, encodeWelcome(w), &syncv1.GreetResponse{}))
		if err != nil || !reflect.DeepEqual(gotWelcome, w) {
			t.Fatalf("got %+v, %v, want %+v", gotWelcome, err, w)
		}
		r := results().Draw(t, "result")
		m, err := encodeResult(r)
		if err != nil {
			t.Fatal(err)
		}
		gotResult, err := decodeResult(over(t, m, &syncv1.PublishResponse{}))
		if err != nil || !reflect.DeepEqual(gotResult, r) {
			t.Fatalf("got %+v, %v, want %+v", gotResult, err, r)
		}
		h := Hello{Protocol: Protocol, Software: "x", Incarnation: 7, Pacts: []crdt.Pact{"a", "~b"}}
		gotHello, err := decodeHello(over(t, encodeHello(h), &syncv1.GreetRequest{}))
		if err != nil || !reflect.DeepEqual(gotHello, h) {
			t.Fatalf("got %+v, %v, want %+v", gotHello, err, h)
		}
	})
}

// OpBytes must never be less than what an op takes in a message, or a batch
// within its limit could be larger than a message may be.
func TestOpBytesIsAnUpperBound(t *testing.T) {
	biggest := crdttest.Op(crdt.StampMax-1, crdt.Site(strings.Repeat("s", crdt.NameBytesMax)), 1<<64-1, "x")
	biggest.Author.Agent = crdt.AgentName(strings.Repeat("a", crdt.NameBytesMax))
	biggest.Author.Incarnation = 1<<64 - 1
	biggest.Base = crdt.Base{Pred: biggest.ID(), Birth: crdt.Position{Epoch: 1<<64 - 1, Offset: 1<<64 - 1}}
	biggest.PactVersion, biggest.Binding, biggest.Evidence.UncertaintyMillis = 1<<32-1, 1<<32-1, 1<<32-1
	biggest.Value = make([]byte, crdt.ValueBytesMax)
	check := func(t interface{ Fatalf(string, ...any) }, op crdt.Op) {
		entry := &syncv1.Entry{
			Offset: 1<<64 - 1, Birth: &syncv1.Position{Epoch: 1, Offset: 1<<64 - 1}, Op: encodeOp(&op),
		}
		const tagAndLength = 1 + 3
		if size := proto.Size(entry) + tagAndLength; size > OpBytes(&op) {
			t.Fatalf("%d bytes in a message, OpBytes %d", size, OpBytes(&op))
		}
	}
	check(t, biggest)
	rapid.Check(t, func(t *rapid.T) { check(t, ops().Draw(t, "op")) })
}

// valid returns a message that decodes; each case below breaks one thing.
func validBatch() *syncv1.PublishRequest {
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	op.Key.Pact = testPact
	m, err := encodeBatch(Batch{ID: 1, Pact: testPact, Epoch: 9, Ops: []crdt.Op{op}})
	if err != nil {
		panic(err)
	}
	return m
}

func TestMalformedBatches(t *testing.T) {
	long := strings.Repeat("a", 300)
	cases := map[string]struct {
		spoil  func(m *syncv1.PublishRequest)
		reason Reason
	}{
		"valid":           {func(*syncv1.PublishRequest) {}, ""},
		"no ops":          {func(m *syncv1.PublishRequest) { m.Ops = nil }, ReasonMalformed},
		"pact":            {func(m *syncv1.PublishRequest) { m.Pact = "Not A Name" }, ReasonMalformed},
		"after":           {func(m *syncv1.PublishRequest) { m.After = &syncv1.OpID{Author: &syncv1.Author{Site: long}} }, ReasonOpMalformed},
		"nil op":          {func(m *syncv1.PublishRequest) { m.Ops[0] = nil }, ReasonOpMalformed},
		"short record":    {func(m *syncv1.PublishRequest) { m.Ops[0].Record = m.Ops[0].Record[:15] }, ReasonOpMalformed},
		"long record":     {func(m *syncv1.PublishRequest) { m.Ops[0].Record = make([]byte, 17) }, ReasonOpMalformed},
		"no type":         {func(m *syncv1.PublishRequest) { m.Ops[0].Type = "" }, ReasonOpMalformed},
		"long type":       {func(m *syncv1.PublishRequest) { m.Ops[0].Type = long[:64] }, ReasonOpMalformed},
		"no field":        {func(m *syncv1.PublishRequest) { m.Ops[0].Field = "" }, ReasonOpMalformed},
		"long field":      {func(m *syncv1.PublishRequest) { m.Ops[0].Field = long[:256] }, ReasonOpMalformed},
		"long agent":      {func(m *syncv1.PublishRequest) { m.Ops[0].Author.Agent = long[:64] }, ReasonOpMalformed},
		"evidence":        {func(m *syncv1.PublishRequest) { m.Ops[0].Evidence = 5 }, ReasonOpMalformed},
		"evidence below":  {func(m *syncv1.PublishRequest) { m.Ops[0].Evidence = -1 }, ReasonOpMalformed},
		"value limit":     {func(m *syncv1.PublishRequest) { m.Ops[0].Value = make([]byte, crdt.ValueBytesMax) }, ""},
		"value limit + 1": {func(m *syncv1.PublishRequest) { m.Ops[0].Value = make([]byte, crdt.ValueBytesMax+1) }, ReasonOpOversize},
		"ops limit":       {func(m *syncv1.PublishRequest) { repeat(m, BatchOpsMax) }, ""},
		"ops limit + 1":   {func(m *syncv1.PublishRequest) { repeat(m, BatchOpsMax+1) }, ReasonBatchOversize},
		"bytes": {func(m *syncv1.PublishRequest) {
			m.Ops[0].Value = make([]byte, crdt.ValueBytesMax)
			repeat(m, BatchBytesMax/crdt.ValueBytesMax)
		}, ReasonBatchOversize},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := validBatch()
			c.spoil(m)
			_, err := decodeBatch(m)
			if ReasonOf(err) != c.reason || (err == nil) != (c.reason == "") {
				t.Fatalf("got %v, want reason %q", err, c.reason)
			}
		})
	}
}

func repeat(m *syncv1.PublishRequest, n int) {
	for len(m.Ops) < n {
		m.Ops = append(m.Ops, m.Ops[0])
	}
}

// An agent learns of a limit before it sends, with the reason that the hub
// would give.
func TestSenderRefusesTheSame(t *testing.T) {
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	op.Key.Pact = testPact
	big := op
	big.Value = make([]byte, crdt.ValueBytesMax+1)
	foreign := op
	foreign.Key.Pact = "other"
	for name, c := range map[string]struct {
		ops    []crdt.Op
		reason Reason
	}{
		"none":    {nil, ReasonMalformed},
		"many":    {slices.Repeat([]crdt.Op{op}, BatchOpsMax+1), ReasonBatchOversize},
		"big":     {[]crdt.Op{big}, ReasonOpOversize},
		"foreign": {[]crdt.Op{foreign}, ReasonOpMalformed},
	} {
		if _, err := encodeBatch(Batch{Pact: testPact, Ops: c.ops}); ReasonOf(err) != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
	if _, err := encodeResult(BatchResult{Results: []OpResult{{}}}); ReasonOf(err) != ReasonMalformed {
		t.Errorf("a result without outcome: %v", err)
	}
	entry := Entry{Offset: 1, Register: crdt.NewRegister(op, crdt.Position{})}
	if _, err := encodeSlice(Slice{Entries: slices.Repeat([]Entry{entry}, SliceEntriesMax+1)}); ReasonOf(err) != ReasonOversize {
		t.Errorf("a slice of too many: %v", err)
	}
}

func TestMalformedSlices(t *testing.T) {
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	op.Key.Pact = testPact
	entry := func(offset crdt.Offset) Entry {
		return Entry{Offset: offset, Register: crdt.NewRegister(op, crdt.Position{})}
	}
	for name, s := range map[string]Slice{
		"offset zero":   {Entries: []Entry{entry(0)}, Cursor: crdt.Position{Epoch: 1, Offset: 5}},
		"descending":    {Entries: []Entry{entry(3), entry(2)}, Cursor: crdt.Position{Epoch: 1, Offset: 5}},
		"twice":         {Entries: []Entry{entry(3), entry(3)}, Cursor: crdt.Position{Epoch: 1, Offset: 5}},
		"beyond cursor": {Entries: []Entry{entry(6)}, Cursor: crdt.Position{Epoch: 1, Offset: 5}},
	} {
		m, err := encodeSlice(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeSlice(testPact, m); ReasonOf(err) != ReasonMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPactStateIsBounded(t *testing.T) {
	for _, c := range []struct {
		forks, authors int
		ok             bool
	}{{LineageMax, AuthorsTold, true}, {LineageMax + 1, 0, false}, {0, AuthorsTold + 1, false}} {
		p := &PactState{Pact: testPact, Lineage: make(crdt.Lineage, c.forks)}
		for i := range c.authors {
			p.Authors = append(p.Authors, AuthorState{Author: crdt.Author{Site: "acme", Agent: "main", Incarnation: uint64(i + 1)}})
		}
		if _, err := decodePactState(encodePactState(p)); (err == nil) != c.ok {
			t.Errorf("%d forks, %d authors: %v", c.forks, c.authors, err)
		}
	}
}

func TestProtocolVersions(t *testing.T) {
	for version, reason := range map[uint32]Reason{0: ReasonVersionOlder, Protocol: "", Protocol + 1: ReasonVersionNewer} {
		if _, err := decodeHello(&syncv1.GreetRequest{Protocol: version}); ReasonOf(err) != reason {
			t.Errorf("hello of protocol %d: %v, want %q", version, err, reason)
		}
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]uint32{
		-time.Second: 0, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 1 << 62: 1<<32 - 1,
	} {
		if got := millisUp(d); got != want {
			t.Errorf("millisUp(%v) = %d, want %d", d, got, want)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	b, err := proto.Marshal(validBatch())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m syncv1.PublishRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		batch, err := decodeBatch(&m)
		if err != nil {
			if e := new(Error); !errors.As(err, &e) || !e.Reason.Known() {
				t.Fatalf("an error without a known reason: %v", err)
			}
			return
		}
		again, err := encodeBatch(batch)
		if err != nil {
			t.Fatalf("decoded, but not encoded again: %v", err)
		}
		twice, err := decodeBatch(again)
		if err != nil || !slices.EqualFunc(twice.Ops, batch.Ops, sameOp) || twice.After != batch.After {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func FuzzDecodeSlice(f *testing.F) {
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	m, err := encodeSlice(Slice{
		Entries: []Entry{{Offset: 4, Register: crdt.NewRegister(op, crdt.Position{})}},
		Cursor:  crdt.Position{Epoch: 1, Offset: 5}, Head: 9, PactVersion: 1,
	})
	if err != nil {
		f.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m syncv1.SubscribeResponse
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		s, err := decodeSlice(testPact, &m)
		if err != nil {
			if !ReasonOf(err).Known() {
				t.Fatalf("an error without a known reason: %v", err)
			}
			return
		}
		for i := range s.Entries {
			r := &s.Entries[i].Register
			if r.Digest != r.Op.Digest() {
				t.Fatal("digest does not belong to the op")
			}
		}
	})
}
