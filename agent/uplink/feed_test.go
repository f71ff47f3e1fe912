package uplink

import (
	"testing"
	"time"

	"github.com/entente-sync/entente/agent/core"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// fedEngine keeps what it was fed.
type fedEngine struct{ fed []core.Fed }

func (e *fedEngine) Step(build func(int64) core.Event) error {
	if fed, ok := build(1).(core.Fed); ok {
		e.fed = append(e.fed, fed)
	}
	return nil
}

// A slice of the protocol's size would not fit into one transaction of a small
// store. Each portion carries the place that it reaches.
func TestLargeSlicesAreFedInPortions(t *testing.T) {
	engine := &fedEngine{}
	l := New(Config{Engine: engine, Now: time.Now})
	slice := wire.Slice{Cursor: crdt.Position{Epoch: 7, Offset: 2000}, Head: 3000}
	for i := range 600 {
		value := make([]byte, 10)
		if i%100 == 0 {
			value = make([]byte, crdt.ValueBytesMax)
		}
		slice.Entries = append(slice.Entries, wire.Entry{
			Offset: crdt.Offset(1000 + i), Register: crdt.Register{Op: crdt.Op{Value: value}},
		})
	}
	if err := l.feed("p", &slice); err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, fed := range engine.fed {
		bytes := 0
		for j := range fed.Entries {
			bytes += wire.OpBytes(&fed.Entries[j].Op)
		}
		total += len(fed.Entries)
		want := crdt.Position{Epoch: 7, Offset: crdt.Offset(1000 + total - 1)}
		if i == len(engine.fed)-1 {
			want = slice.Cursor
		}
		if bytes > fedBytesMax || len(fed.Entries) > fedEntriesMax || fed.Cursor != want || fed.Head != 3000 {
			t.Errorf("portion %d: %d entries, %d bytes, cursor %v, want %v", i, len(fed.Entries), bytes, fed.Cursor, want)
		}
	}
	if total != 600 || len(engine.fed) < 3 {
		t.Errorf("%d entries in %d portions", total, len(engine.fed))
	}
	engine.fed = nil
	if err := l.feed("p", &wire.Slice{Cursor: slice.Cursor, Head: 3001}); err != nil || len(engine.fed) != 1 {
		t.Errorf("a heartbeat was fed %d times, %v", len(engine.fed), err)
	}
}
