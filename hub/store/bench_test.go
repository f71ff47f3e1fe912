package store

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

const benchRegisters = 50_000

func benchHub(b *testing.B) *hub {
	h := newHub(b)
	for i := range benchRegisters {
		h.edit(b, "acme", i, "a value of about a hundred bytes, as a title or a short description in a ticket system might be")
	}
	return h
}

func perRegister(b *testing.B) {
	b.ReportMetric(float64(b.N)*benchRegisters/b.Elapsed().Seconds(), "registers/s")
}

func BenchmarkCheckpoint(b *testing.B) {
	img := benchHub(b).TakeDirty()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		s, err := Open(b.TempDir(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := s.Checkpoint(img); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
	perRegister(b)
}

func BenchmarkLoadRestore(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Checkpoint(benchHub(b).TakeDirty()); err != nil {
		b.Fatal(err)
	}
	before := heap()
	var m *state.Machine
	b.ResetTimer()
	for range b.N {
		m = state.New()
		if err = s.LoadInto(m, s); err != nil {
			b.Fatal(err)
		}
	}
	perRegister(b)
	b.ReportMetric(float64(heap()-before)/benchRegisters, "heap-B/register")
	if r, err := m.Get(crdt.Key{}); r != nil || err != nil { // keeps m alive to here
		b.Fatal("a register without a key")
	}
}

func heap() uint64 {
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapAlloc
}

func BenchmarkSnapshot(b *testing.B) {
	h := benchHub(b)
	var buf bytes.Buffer
	b.Run("write", func(b *testing.B) {
		for range b.N {
			buf.Reset()
			if err := WriteSnapshot(&buf, h.Image()); err != nil {
				b.Fatal(err)
			}
		}
		perRegister(b)
	})
	b.Run("read", func(b *testing.B) {
		for range b.N {
			if _, err := restored(buf.Bytes()); err != nil {
				b.Fatal(err)
			}
		}
		perRegister(b)
	})
}
