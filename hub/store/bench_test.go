package store

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
)

const (
	benchRegisters = 50_000
	benchTitle     = "a value of about a hundred bytes, as a title or a short description in a ticket system might be"
)

func benchHub(b *testing.B) *hub {
	h := newHub(b)
	for i := range benchRegisters {
		h.edit(b, "acme", i, benchTitle)
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

// BenchmarkFeed reads a feed whose pages are all in the store, as a subscriber
// does that has nothing yet.
func BenchmarkFeed(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Checkpoint(benchHub(b).TakeDirty()); err != nil {
		b.Fatal(err)
	}
	m := state.New()
	if err = s.LoadInto(m, s); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for after := (crdt.Position{}); ; {
			slice, err := m.Feed("tickets", after, 512, 512<<10)
			if err != nil {
				b.Fatal(err)
			}
			n += len(slice.Versions)
			if after = slice.Cursor; after.Offset == slice.Head {
				break
			}
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "registers/s")
}

// BenchmarkMillion tells what a million registers take once a checkpoint has them:
// of the heap and of the process, the pages that are kept included; and how far the
// process has grown with the store, whose buffers do not grow with the registers.
func BenchmarkMillion(b *testing.B) {
	const registers, checkpoint = 1_000_000, 100_000
	for b.Loop() {
		base := resident(b)
		s, err := Open(b.TempDir(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		m := state.New()
		if err := s.LoadInto(m, s); err != nil {
			b.Fatal(err)
		}
		h := found(b, m)
		for i := range registers {
			h.edit(b, "acme", i, benchTitle)
			if (i+1)%checkpoint == 0 {
				clear(h.last) // of the test, not of the state
				c := h.TakeDirty()
				if err := s.Checkpoint(c); err != nil {
					b.Fatal(err)
				}
				h.Persisted(c)
			}
		}
		h.last = nil
		b.ReportMetric((resident(b)-base)/registers, "RSS-with-store-B/register")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		full, all := heap(), resident(b)
		runtime.KeepAlive(h)
		b.ReportMetric(float64(full-heap())/registers, "heap-B/register")
		b.ReportMetric((all-resident(b))/registers, "RSS-B/register")
	}
}

// resident returns the bytes of memory that the process has, without garbage and
// without files that are mapped, which the kernel takes back when it needs room.
func resident(b *testing.B) float64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	var size, all, mapped float64
	if _, err := fmt.Sscan(string(text), &size, &all, &mapped); err != nil {
		b.Fatal(err)
	}
	return (all - mapped) * float64(os.Getpagesize())
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
