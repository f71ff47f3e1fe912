package hub_test

import (
	"testing"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/pact"
	"github.com/entente-sync/entente/proto/wire"
)

// rewrites writes one title of pact kept so often. Some of it is in a checkpoint,
// some is not.
func rewrites(t *testing.T, c *hubtest.Cluster, n int) (ops []crdt.Op) {
	t.Helper()
	client := c.Client(c.Leader(), acme)
	stream, err := client.Publish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := range crdt.Seq(n) {
		o := op(acme, seq+1, "title")
		o.Key.Pact, o.Key.Record = "kept", crdt.RecordID{15: 1}
		if seq > 0 {
			o.Base.Pred = ops[seq-1].ID()
		}
		ops = append(ops, o)
		b := wire.Batch{ID: uint64(seq + 1), Pact: "kept", Epoch: epochOf(c), Ops: []crdt.Op{o}}
		if seq > 0 {
			b.After = ops[seq-1].ID()
		}
		if err := stream.Send(b); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || r.Results[0].Outcome != wire.OutcomeApplied {
			t.Fatalf("op %d: %+v, %v", seq+1, r, err)
		}
		if int(seq) == n/2 {
			for _, n := range c.Nodes() {
				if err := n.Hub().Checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return ops
}

// Every node answers alike about what a register was, members only, with a code
// where nothing is kept.
func TestHistoryOverTheWire(t *testing.T) {
	kept := *tickets()[0]
	kept.Name, kept.Limits = "kept", pact.Limits{HistoryDays: 30}
	plain := tickets()[0]
	c := hubtest.Start(t, 3, []*pact.Pact{plain, &kept}, nil)
	ctx := t.Context()
	hubtest.Eventually(t, "the pact to be in force", func() bool {
		_, err := c.Leader().Hub().State().Pact("kept")
		return err == nil
	})
	ops := rewrites(t, c, 5)
	key := ops[0].Key
	for _, n := range c.Nodes() {
		client := c.Client(n, globex)
		hubtest.Eventually(t, n.Name+" to have all", func() bool {
			got, err := client.History(ctx, wire.Span{Key: key})
			return err == nil && len(got.Versions) == 5
		})
		var all []wire.Version
		span := wire.Span{Key: key, Limit: 2}
		for {
			page, err := client.History(ctx, span)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Versions...)
			if span.After = page.Next; span.After == 0 {
				break
			}
		}
		for i, v := range all {
			if v.Register.Op.ID() != ops[i].ID() {
				t.Fatalf("%s: version %d is op %s", n.Name, i, v.Register.Op.ID())
			}
			was, err := client.AsOf(ctx, wire.Moment{Key: crdt.Key{Pact: key.Pact, Type: key.Type, Record: key.Record}, Millis: v.Millis})
			if err != nil || len(was.Versions) != 1 || was.Versions[0].Offset < v.Offset || was.Versions[0].Millis != v.Millis {
				t.Fatalf("%s: as of version %d: %+v, %v", n.Name, i, was, err)
			}
		}
		refusesHistory(t, c, n, key, all[4].Millis)
	}
}

// refusesHistory asks a node what it must not answer.
func refusesHistory(t *testing.T, c *hubtest.Cluster, n *hubtest.Node, key crdt.Key, now int64) {
	t.Helper()
	ctx, client := t.Context(), c.Client(n, globex)
	none := key
	none.Pact = "tickets"
	before := wire.Moment{Key: key, Millis: 1}
	if _, err := client.AsOf(ctx, before); wire.ReasonOf(err) != wire.ReasonHistoryBefore {
		t.Errorf("before the history: %v", err)
	}
	if _, err := client.History(ctx, wire.Span{Key: none}); wire.ReasonOf(err) != wire.ReasonHistoryNone {
		t.Errorf("a pact without history: %v", err)
	}
	if _, err := c.Client(n, other).History(ctx, wire.Span{Key: key}); wire.ReasonOf(err) != wire.ReasonPactNotMember {
		t.Errorf("a site that is no member: %v", err)
	}
	if _, err := c.Client(n, other).AsOf(ctx, wire.Moment{Key: key, Millis: now}); wire.ReasonOf(err) != wire.ReasonPactNotMember {
		t.Errorf("a site that is no member: %v", err)
	}
	none.Pact = "nothing"
	if _, err := client.History(ctx, wire.Span{Key: none}); wire.ReasonOf(err) != wire.ReasonPactUnknown {
		t.Errorf("an unknown pact: %v", err)
	}
}
