package wire

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/crdttest"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// pack is s with its entries packed.
func pack(s Slice) Slice {
	p := &Packed{}
	for i := range s.Entries {
		e := &s.Entries[i]
		p.Add(e.Offset, e.Register.Birth, &e.Register.Op)
	}
	s.Entries, s.Packed = nil, p
	return s
}

// sent reads what s is on the wire.
func sent(t *rapid.T, s Slice, into *syncv1.SubscribeResponse) {
	m, err := encodeSlice(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// Packed entries are on the wire what entries are.
func TestPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slice := slicesOf().Draw(t, "slice")
		if n := len(slice.Entries); n > 0 && rapid.Bool().Draw(t, "long") { // lengths of more than one byte
			op := &slice.Entries[n-1].Register.Op
			op.Value = make([]byte, rapid.SampledFrom([]int{60, 127, 128, 16_000, 16_384, 60_000}).Draw(t, "bytes"))
		}
		var got, want syncv1.SubscribeResponse
		sent(t, slice, &want)
		sent(t, pack(slice), &got)
		if !proto.Equal(&got, &want) {
			t.Fatalf("got %v, want %v", &got, &want)
		}
	})
}

// Limits hold for packed entries too, and a Packed can be used again.
func TestPackedLimits(t *testing.T) {
	op := crdttest.Op(1<<20, "acme", 3, "hello")
	var p Packed
	for i := range SliceEntriesMax + 1 {
		p.Add(crdt.Offset(i+1), crdt.Position{}, &op)
	}
	if _, err := encodeSlice(Slice{Packed: &p}); ReasonOf(err) != ReasonOversize {
		t.Errorf("%d entries: %v", p.Len(), err)
	}
	p.Reset()
	op.Value = make([]byte, 60_000)
	for i := range 18 {
		p.Add(crdt.Offset(i+5), crdt.Position{}, &op)
	}
	if _, err := encodeSlice(Slice{Packed: &p}); ReasonOf(err) != ReasonOversize {
		t.Errorf("%d bytes: %v", p.size, err)
	}
	if first, last := p.Span(); first != 5 || last != 22 {
		t.Errorf("offsets %d to %d", first, last)
	}
}

// One entry of a slice of 512 to the bytes of its message.
func BenchmarkSlice(b *testing.B) {
	var slice Slice
	for i := range 512 {
		op := crdttest.Op(crdt.StampOf(1000, uint16(i)), "acme", crdt.Seq(i+1), "a value of about a hundred bytes, as a title or a short description in a ticket system might be")
		slice.Entries = append(slice.Entries, Entry{
			Offset: crdt.Offset(i + 1), Register: crdt.NewRegister(op, crdt.Position{Epoch: 1, Offset: crdt.Offset(i + 1)}),
		})
	}
	for _, packed := range []bool{false, true} {
		name := map[bool]string{false: "entries", true: "packed"}[packed]
		b.Run(name, func(b *testing.B) {
			var p Packed
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s := slice
				if packed {
					p.Reset()
					for i := range slice.Entries {
						e := &slice.Entries[i]
						p.Add(e.Offset, e.Register.Birth, &e.Register.Op)
					}
					s = Slice{Packed: &p}
				}
				m, err := encodeSlice(s)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := proto.Marshal(m); err != nil {
					b.Fatal(err)
				}
				n += len(slice.Entries)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
		})
	}
}
