package sim

import (
	"context"
	"errors"
	"time"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/admission"
	"github.com/entente-sync/entente/hub/command"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/hub/state"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// driftMaxMillis is how far stamps may be ahead of the hub's clock.
const driftMaxMillis = 5000

// hub is the real admission and state over a log that is a slice of bytes.
type hub struct {
	w         *world
	log       [][]byte
	machine   *state.Machine
	admission *admission.Admission
	image     *state.Image // checkpoint, nil before the first
	backup    int          // entries of the log that a backup has; 0: none
	epochs    uint64

	ops    map[crdt.OpID]crdt.Digest // every op that ever came, by name
	stamps map[crdt.OpID]crdt.Stamp
}

func newHub(w *world) *hub {
	h := &hub{w: w, epochs: 1, ops: map[crdt.OpID]crdt.Digest{}, stamps: map[crdt.OpID]crdt.Stamp{}}
	h.boot(state.New())
	h.commit(&command.Found{Hub: command.HubID{1}, Epoch: 1}, &command.PutPact{Document: w.agreed.document})
	return h
}

// boot begins a life of the hub's process around a state.
func (h *hub) boot(m *state.Machine) {
	h.machine = m
	h.admission = admission.New(admission.Config{
		Log: h, State: m, Now: func() time.Time { return time.UnixMilli(h.w.nowMillis) }, Self: "n1",
		AgentAddress: func(string) string { return "" }, Site: admission.Rate{Ops: 1 << 20, Bytes: 1 << 30}, Pact: admission.Rate{Ops: 1 << 20, Bytes: 1 << 30}, Answered: func(wire.BatchResult) {},
		Offered: func(wire.BatchResult, bool) {},
	})
}

// Leader implements admission.Log.
func (h *hub) Leader() string { return "n1" }

// errLost is an answer that was lost within the hub: the entry may be applied.
var errLost = errors.New("leadership lost while the entry was on its way")

// Start implements admission.Log: the command is committed and applied at once,
// but the leader may lose sight of it, or take none.
func (h *hub) Start(c command.Command) (func(context.Context) (state.CommandResult, error), error) {
	if h.w.stormy(h.w.plan.network, 40) {
		return nil, replica.ErrBusy
	}
	res := h.commit(c).Commands[0]
	var err error
	if h.w.stormy(h.w.plan.network, 40) {
		err = errLost
	}
	return func(context.Context) (state.CommandResult, error) { return res, err }, nil
}

// commit puts commands into one entry of the log and applies it as a replica
// does: from its bytes.
func (h *hub) commit(commands ...command.Command) state.Result {
	b := command.NewBuilder(h.w.nowMillis, driftMaxMillis)
	for _, c := range commands {
		if p, ok := c.(*command.Publish); ok {
			h.named(p)
		}
		if !b.Add(c) {
			h.w.fail("hub", nil, "a command does not fit an entry")
		}
	}
	h.log = append(h.log, b.Bytes())
	h.w.trace.mix(uint64(len(h.log)), h.log[len(h.log)-1])
	h.w.private(h.log[len(h.log)-1])
	res := h.apply(h.machine, len(h.log))
	for i, c := range commands {
		if p, ok := c.(*command.Publish); ok {
			h.causal(p, res.Commands[i].Ops)
		}
	}
	return res
}

// apply applies entry n, counted from 1.
func (h *hub) apply(m *state.Machine, n int) state.Result {
	e, err := command.Decode(h.log[n-1])
	if err != nil {
		h.w.fail("hub", nil, "entry %d: %v", n, err)
	}
	return m.Apply(uint64(n), e)
}

// named checks that a name stands on one op for ever.
func (h *hub) named(p *command.Publish) {
	for i := range p.Ops {
		op := &p.Ops[i]
		digest := op.Digest()
		if known, ok := h.ops[op.ID()]; ok && known != digest {
			h.w.fail("12 one name, one op", []string{short(op.Key.Record)}, "%s stands on two ops, now on %s", op.ID(), op.Key)
		}
		if _, known := h.ops[op.ID()]; !known {
			h.w.echoed(op)
		}
		h.ops[op.ID()] = digest
	}
}

// causal checks that an op that was made on another has the greater stamp.
func (h *hub) causal(p *command.Publish, results []state.OpResult) {
	for i := range p.Ops {
		op := &p.Ops[i]
		if results[i].Outcome != state.OutcomeApplied {
			continue
		}
		h.stamps[op.ID()] = op.Stamp
		if before, ok := h.stamps[op.Base.Pred]; ok && op.Stamp <= before {
			h.w.fail("10 causality", []string{short(op.Key.Record)}, "%s on %s was made on %s and has no greater stamp",
				op.ID(), op.Key, op.Base.Pred)
		}
	}
}

// greet answers an agent that connects.
func (h *hub) greet(a *agent) (state.PactInfo, []state.AuthorState) {
	info, err := h.machine.Pact(pactName)
	if err != nil {
		h.w.fail("hub", nil, "greet: %v", err)
	}
	return info, h.machine.Authors(pactName, a.cfg.Site, a.cfg.Agent)
}

// publish answers a batch.
func (h *hub) publish(site crdt.Site, b wire.Batch) wire.BatchResult {
	return h.admission.Admit(identity.Agent{Site: site, Name: agentName}, b).Wait(context.Background())
}

// offer answers a part of an offer.
func (h *hub) offer(site crdt.Site, o wire.Offer) wire.BatchResult {
	return h.admission.AdmitOffer(identity.Agent{Site: site, Name: agentName}, o).Wait(context.Background())
}

// feed reads a slice and holds it against the laws of feeds.
func (h *hub) feed(cursor crdt.Position, entriesMax int) (state.Slice, []*state.Stored, error) {
	slice, err := h.machine.Feed(pactName, cursor, entriesMax, 1<<20)
	if err != nil {
		return slice, nil, err
	}
	entries, err := slice.Decode()
	if err != nil {
		return slice, nil, err
	}
	last := cursor.Offset
	for _, e := range entries {
		cur, err := h.machine.Get(e.Register.Op.Key)
		if err != nil {
			return slice, nil, err
		}
		if e.Offset <= last || e.Offset > slice.Head || cur == nil || cur.Offset != e.Offset {
			h.w.fail("11 feed", []string{short(e.Register.Op.Key.Record)},
				"entry %d of %s behind %d, head %d: out of order, doubled or not current", e.Offset, e.Register.Op.Key, last, slice.Head)
		}
		last = e.Offset
	}
	if slice.Cursor.Offset < last || slice.Cursor.Offset > slice.Head {
		h.w.fail("11 feed", nil, "cursor %d behind entry %d, head %d", slice.Cursor.Offset, last, slice.Head)
	}
	return slice, entries, nil
}

// checkpoint keeps an image, as the store does.
func (h *hub) checkpoint() { h.image = h.machine.Image() }

// restart loses the process: the state comes back from the checkpoint and the
// tail of the log, and equals what was lost.
func (h *hub) restart() {
	was := h.machine
	h.boot(h.recovered(h.image, len(h.log)))
	h.equal(was, "a restart")
}

func (h *hub) recovered(image *state.Image, entries int) *state.Machine {
	m := state.New()
	if image != nil {
		if err := m.Restore(image); err != nil {
			h.w.fail("7 atomic apply", nil, "checkpoint: %v", err)
		}
	}
	for n := 1; n <= entries; n++ { // what the image has is skipped
		h.apply(m, n)
	}
	return m
}

func (h *hub) equal(was *state.Machine, after string) {
	index, digests := h.machine.Digests()
	wasIndex, wasDigests := was.Digests()
	same := index == wasIndex && len(digests) == len(wasDigests)
	for i := range digests {
		same = same && digests[i] == wasDigests[i]
	}
	if !same {
		h.w.fail("7 atomic apply", nil, "after %s the state at %d is not the one at %d", after, index, wasIndex)
	}
}

// restore goes back to the backup and begins an epoch of its own.
func (h *hub) restore() {
	h.log, h.image = h.log[:h.backup], nil
	h.boot(h.recovered(nil, h.backup))
	_, parent := h.machine.Hub()
	h.epochs++
	if res := h.commit(&command.Fork{Parent: parent, Child: crdt.Epoch(h.epochs)}); res.Commands[0].Reason != "" {
		h.w.fail("hub", nil, "fork refused: %s", res.Commands[0].Reason)
	}
}

// recompute checks the digest against a replay of the whole log, and against
// the sum over the registers that the feed shows.
func (h *hub) recompute() {
	was := h.machine
	h.machine = h.recovered(nil, len(h.log))
	h.equal(was, "a replay of the log")
	var sum crdt.Multiset
	seen := map[crdt.Key]bool{}
	cursor := crdt.Position{}
	for {
		slice, entries, err := h.feed(cursor, 16)
		if err != nil {
			h.w.fail("11 feed", nil, "from the start: %v", err)
		}
		for _, e := range entries {
			sum.Add(e.Register.Op.Digest())
			seen[e.Register.Op.Key] = true
		}
		if cursor = slice.Cursor; cursor.Offset == slice.Head {
			break
		}
	}
	info, err := h.machine.Pact(pactName)
	if want := info.Digest.Registers; err != nil || want.Bytes() != sum.Bytes() || uint64(len(seen)) != sum.Count() {
		h.w.fail("7 atomic apply", nil, "the digest is not the sum of the %d registers that the feed shows (%v)", len(seen), err)
	}
}
