package state_test

import (
	"encoding/binary"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/codec"
	"github.com/entente-sync/entente/hub/command"
)

func sealed(body []byte) []byte {
	b := append([]byte(nil), body...)
	return binary.BigEndian.AppendUint32(b, codec.Checksum(b))
}

const (
	benchOps       = 256
	benchRegisters = 100_000
)

// batches are entries of 256 ops by one author, which walk over the registers
// and replace each version by one that had seen it.
type batches struct {
	seq  crdt.Seq
	last [benchRegisters]crdt.Seq
}

func (g *batches) next() command.Entry {
	a := author("acme", 1)
	c := &command.Publish{Site: "acme", Agent: "main", Pact: tickets, Epoch: epochOne, Ops: make([]crdt.Op, benchOps)}
	if g.seq > 0 {
		c.After = crdt.OpID{Author: a, Seq: g.seq}
	}
	for i := range c.Ops {
		n := (uint64(g.seq) * 2_654_435_761) % benchRegisters
		g.seq++
		k := key(1, "title")
		binary.BigEndian.PutUint64(k.Record[:], n)
		op := edit(a, g.seq, k, 0, "a value of about a hundred bytes, as a title or a short description in a ticket system might be")
		op.Stamp = crdt.Stamp(uint64(op.Stamp) + uint64(g.seq))
		if g.last[n] != 0 {
			op.Base.Pred = crdt.OpID{Author: a, Seq: g.last[n]}
		}
		g.last[n] = g.seq
		c.Ops[i] = op
	}
	return command.Entry{TimeMillis: now, DriftMaxMillis: driftMax, Commands: []command.Command{c}}
}

// BenchmarkApply measures the merge of decoded entries; BenchmarkDecodeApply
// what the replica does for each raft entry. Figures are per op.
func BenchmarkApply(b *testing.B)       { bench(b, false) }
func BenchmarkDecodeApply(b *testing.B) { bench(b, true) }

func bench(b *testing.B, decode bool) {
	l := newLog(b)
	g := &batches{}
	for range benchRegisters/benchOps + 1 {
		l.index++
		l.m.Apply(l.index, g.next())
	}
	const ahead = 64
	var entries [ahead]command.Entry
	var raw [ahead][]byte
	var decoder command.Decoder
	b.ReportAllocs()
	b.ResetTimer()
	for i := range (b.N + benchOps - 1) / benchOps {
		if i%ahead == 0 {
			b.StopTimer()
			l.m.TakeDirty()
			for j := range entries {
				entries[j] = g.next()
				raw[j] = entries[j].Encode()
			}
			b.StartTimer()
		}
		e := entries[i%ahead]
		if decode {
			var err error
			if e, err = decoder.Decode(raw[i%ahead]); err != nil {
				b.Fatal(err)
			}
		}
		l.index++
		l.m.Apply(l.index, e)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkFeed(b *testing.B) {
	l := newLog(b)
	g := &batches{}
	for range benchRegisters/benchOps + 1 {
		l.index++
		l.m.Apply(l.index, g.next())
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for after := (crdt.Position{}); ; {
			s, err := l.m.Feed(tickets, after, 512, 512<<10)
			check(b, err)
			n += len(s.Versions)
			if after = s.Cursor; after.Offset == s.Head {
				break
			}
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "registers/s")
}
