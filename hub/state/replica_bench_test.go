package state_test

import (
	"testing"

	"github.com/entente-sync/entente/bench/workload"
	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// BenchmarkReplica measures what a replica does for each op of an entry, with a
// million registers in records of eight: decode, prepare, apply. That is more than
// any cache holds.
func BenchmarkReplica(b *testing.B) {
	r := newReplicaBench(b)
	for n := 0; n < r.shape.Registers+r.shape.Writers*benchOps; n += benchOps {
		r.step(b, r.next())
	}
	const ahead = 64
	var raw [ahead][]byte
	b.ReportAllocs()
	b.ResetTimer()
	for i := range (b.N + benchOps - 1) / benchOps {
		if i%ahead == 0 {
			b.StopTimer()
			r.log.m.TakeDirty()
			for j := range raw {
				raw[j] = r.next()
			}
			b.StartTimer()
		}
		r.step(b, raw[i%ahead])
	}
}

// replicaBench makes entries of the workload's writers in turn, and applies them.
type replicaBench struct {
	shape   workload.Shape
	log     *log
	writers []*workload.Writer
	last    []crdt.OpID
	turn    int
	decoder command.Decoder
}

func newReplicaBench(b *testing.B) *replicaBench {
	r := &replicaBench{shape: workload.Shape{Registers: 1_000_000, Writers: 4, Seed: 1}, log: &log{m: state.New()}}
	p := &pact.Pact{Name: workload.Pact, Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: workload.Type}
	for _, f := range workload.Fields() {
		p.Fields = append(p.Fields, pact.Field{Name: crdt.Field(f), Type: pact.TypeText})
	}
	r.log.apply(&command.Found{Hub: hubID, Epoch: epochOne}, &command.PutPact{Document: p.Encode()})
	for i := range r.shape.Writers {
		r.writers = append(r.writers, r.shape.Writer(i))
	}
	r.last = make([]crdt.OpID, r.shape.Writers)
	return r
}

func (r *replicaBench) next() []byte {
	i := r.turn
	r.turn = (i + 1) % r.shape.Writers
	a := crdt.Author{Site: "acme", Agent: "main", Incarnation: uint64(i + 1)}
	c := &command.Publish{Site: a.Site, Agent: a.Agent, Pact: workload.Pact, Epoch: epochOne, After: r.last[i], Ops: make([]crdt.Op, benchOps)}
	for j := range c.Ops {
		c.Ops[j] = r.shape.CRDT(r.writers[i].Next(), a, crdt.Position{})
		r.last[i] = c.Ops[j].ID()
	}
	e := command.Entry{TimeMillis: now, DriftMaxMillis: driftMax, Commands: []command.Command{c}}
	return e.Encode()
}

func (r *replicaBench) step(b *testing.B, raw []byte) {
	e, err := r.decoder.Decode(raw)
	if err != nil {
		b.Fatal(err)
	}
	done, err := r.log.m.Prepare(e)
	if err != nil {
		b.Fatal(err)
	}
	r.log.index++
	res := r.log.m.Apply(r.log.index, e)
	done()
	if got := res.Commands[0].Ops[0]; got.Outcome != state.OutcomeApplied {
		b.Fatal(got)
	}
}
