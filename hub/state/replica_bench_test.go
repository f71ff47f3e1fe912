package state_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/crdt/value"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/pact"
)

// BenchmarkReplica measures what a replica does for each op of an entry, with a
// million registers in records of eight: decode, prepare, apply. That is more than
// any cache holds.
func BenchmarkReplica(b *testing.B) {
	r := newReplicaBench()
	for n := 0; n < replicaRegisters+len(r.authors)*benchOps; n += benchOps {
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

// replicaBench makes entries of four authors in turn, and applies them.
type replicaBench struct {
	log     *log
	authors [4]replicaAuthor
	turn    int
	random  *rand.Rand
	value   []byte
	decoder command.Decoder
}

// replicaAuthor first writes each of its registers once, and then drawn ones.
type replicaAuthor struct {
	seq  crdt.Seq
	last [replicaRegisters / 4]crdt.Seq
}

const replicaRegisters = 1_000_000

var replicaFields = [8]crdt.Field{"alpha", "bravo", "delta", "gamma", "kappa", "omega", "sigma", "theta"}

func newReplicaBench() *replicaBench {
	r := &replicaBench{
		log: &log{m: state.New()}, random: rand.New(rand.NewPCG(1, 1)),
		value: crdt.Plain(value.Text("a value of about a hundred bytes, as a title or a short description in a ticket system might be")),
	}
	p := &pact.Pact{Name: tickets, Version: 1, Members: []crdt.Site{"acme", "globex"}, Record: "ticket"}
	for _, f := range replicaFields {
		p.Fields = append(p.Fields, pact.Field{Name: f, Type: pact.TypeText})
	}
	r.log.apply(&command.Found{Hub: hubID, Epoch: epochOne}, &command.PutPact{Document: p.Encode()})
	return r
}

func (r *replicaBench) next() []byte {
	i := r.turn
	r.turn = (i + 1) % len(r.authors)
	w, a := &r.authors[i], author("acme", uint64(i+1))
	c := &command.Publish{Site: a.Site, Agent: a.Agent, Pact: tickets, Epoch: epochOne, Ops: make([]crdt.Op, benchOps)}
	if w.seq > 0 {
		c.After = crdt.OpID{Author: a, Seq: w.seq}
	}
	for j := range c.Ops {
		n := int(w.seq)
		if n >= len(w.last) {
			n = r.random.IntN(len(w.last))
		}
		w.seq++
		register := uint64(n*len(r.authors) + i)
		k := key(1, replicaFields[register%8])
		binary.BigEndian.PutUint64(k.Record[:], (register/8+1)*0x9e3779b97f4a7c15)
		op := edit(a, w.seq, k, 0, "")
		op.Value, op.Stamp = r.value, op.Stamp+crdt.Stamp(w.seq)
		if w.last[n] != 0 {
			op.Base.Pred = crdt.OpID{Author: a, Seq: w.last[n]}
		}
		w.last[n] = w.seq
		c.Ops[j] = op
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
