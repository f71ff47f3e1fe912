package fanout

import (
	"sync"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/wire"
)

// packer makes slices into messages. It keeps its memory: subscribers take turns
// with it, and one that waits for its feed to grow holds none.
type packer struct {
	entries wire.Packed
	names   crdt.Names
	op      crdt.Op
}

var packers = sync.Pool{New: func() any { return new(packer) }}

// pass sends one slice. news is the lineage if the subscriber was not told it yet.
// Ops go from their canonical bytes into those of the message: the subscriber
// hashes them, and the node's own pages were checked when they were read.
func pass(s *state.Slice, news crdt.Lineage, send func(wire.Slice) error) error {
	p := packers.Get().(*packer)
	defer packers.Put(p)
	p.entries.Reset()
	for i := range s.Versions {
		v := &s.Versions[i]
		if err := v.DecodeOp(&p.names, &p.op); err != nil {
			return wire.Errorf(wire.ReasonHubBusy, "this node cannot read its feed: %w", err)
		}
		p.entries.Add(v.Offset, v.Birth, &p.op)
	}
	p.op = crdt.Op{}
	return send(wire.Slice{
		Packed: &p.entries, Cursor: s.Cursor, Head: s.Head, PactVersion: s.PactVersion, Lineage: news,
	})
}
