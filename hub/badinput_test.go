package hub_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// frame is a message as it travels: wire's own client would refuse to send it.
type frame []byte

// frames is a codec that sends frames as they are.
type frames struct{}

func (frames) Name() string                  { return "proto" }
func (frames) Marshal(v any) ([]byte, error) { return *v.(*frame), nil }
func (frames) Unmarshal(b []byte, v any) error {
	*v.(*frame) = bytes.Clone(b)
	return nil
}

// sendFrame publishes one frame and returns how the stream ends.
func sendFrame(t *testing.T, conn *grpc.ClientConn, f frame) error {
	t.Helper()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(t.Context(), desc, "/entente.sync.v1.SyncService/Publish", grpc.ForceCodec(frames{}))
	if err != nil {
		t.Fatal(err)
	}
	err = stream.SendMsg(&f)
	var answer frame
	if ended := stream.RecvMsg(&answer); ended != nil {
		return ended
	}
	return errors.Join(err, errors.New("the frame was answered"))
}

// publishFrame is a batch of pact "tickets" with these ops, in the protocol's bytes.
func publishFrame(epoch crdt.Epoch, ops ...[]byte) frame {
	b := protowire.AppendTag(nil, 2, protowire.BytesType)
	b = protowire.AppendString(b, "tickets")
	b = protowire.AppendTag(b, 3, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(epoch))
	for _, op := range ops {
		b = protowire.AppendTag(b, 5, protowire.BytesType)
		b = protowire.AppendBytes(b, op)
	}
	return b
}

// opFrame is an op whose record id and value have these sizes.
func opFrame(recordBytes, valueBytes int) []byte {
	var b []byte
	for number, content := range map[protowire.Number][]byte{
		1: []byte("ticket"), 2: make([]byte, recordBytes), 3: []byte("title"), 12: make([]byte, valueBytes),
	} {
		b = protowire.AppendTag(b, number, protowire.BytesType)
		b = protowire.AppendBytes(b, content)
	}
	return b
}

// A frame that breaks a rule ends its stream with a reason, and what the limit
// is; nothing of it gets into the log, and the hub serves on.
func TestBadFrames(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	conn := c.Dial(leader, acme)
	for _, tc := range []struct {
		name  string
		frame frame
		want  string
	}{
		{"oversize op", publishFrame(epoch, opFrame(16, crdt.ValueBytesMax+1)), "value of 65537 bytes, limit 65536"},
		{"oversize batch", publishFrame(epoch, bytesOf(17, opFrame(16, crdt.ValueBytesMax))...), "bytes, limit 1048576"},
		{"too many ops", publishFrame(epoch, bytesOf(1025, opFrame(16, 1))...), "1025 ops, limit 1024"},
		{"oversize frame", make(frame, wire.MessageBytesMax+1), "(4194305 vs. 4194304)"},
		{"short record id", publishFrame(epoch, opFrame(15, 1)), "record id of 15 bytes, want 16"},
		{"no ops", publishFrame(epoch), "a batch without ops"},
		{"garbage", frame("\xff\xff\xff\xff"), "unmarshal"},
	} {
		if err := sendFrame(t, conn, tc.frame); !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if head := headOf(t, c); head != 0 {
		t.Errorf("the feed's head is %d", head)
	}
	p := newPublisher(c, acme)
	if err := p.publish(t.Context(), 1, 1); err != nil {
		t.Error(err)
	}
}

func bytesOf(n int, b []byte) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// A malformed op that any frame can carry is refused for good and takes its seq;
// its neighbours are applied.
func TestMalformedOps(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), nil)
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(t, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	spoils := map[string]func(*crdt.Op){
		"no stamp":        func(o *crdt.Op) { o.Stamp = 0 },
		"last stamp":      func(o *crdt.Op) { o.Stamp = crdt.StampMax },
		"no value":        func(o *crdt.Op) { o.Value = nil },
		"no record":       func(o *crdt.Op) { o.Key.Record = crdt.RecordID{} },
		"no evidence":     func(o *crdt.Op) { o.Evidence.Class = 0 },
		"control bytes":   func(o *crdt.Op) { o.Key.Field = "a\x00b" },
		"conflict record": func(o *crdt.Op) { o.Key.Field = crdt.LostField("title", crdt.Digest{1}) },
		"life of noise":   func(o *crdt.Op) { o.Key.Field, o.Value = crdt.FieldLife, []byte{1, 2, 3} },
		"own predecessor": func(o *crdt.Op) { o.Base.Pred = o.ID() },
		"nobody's birth":  func(o *crdt.Op) { o.Base.Birth = crdt.Position{Epoch: epoch, Offset: 1 << 60} },
	}
	agent := 0
	for name, spoil := range spoils {
		agent++
		who := identity.Agent{Site: "acme", Name: crdt.AgentName("agent-" + string(rune('a'+agent)))}
		b := batch(who, epoch, 1, 3)
		for i := range b.Ops {
			b.Ops[i].Key.Record[1] = byte(agent)
		}
		spoil(&b.Ops[1])
		result, err := publishOnce(t.Context(), c.Client(leader, who), b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, want := range []wire.Outcome{wire.OutcomeApplied, wire.OutcomeRefused, wire.OutcomeApplied} {
			if r := result.Results[i]; r.Outcome != want {
				t.Errorf("%s: op %d is answered with %s %q", name, i+1, r.Outcome, r.Reason)
			}
		}
		again, err := publishOnce(t.Context(), c.Client(leader, who), b)
		if err != nil || again.Results[1] != result.Results[1] {
			t.Errorf("%s: sent again: %+v, %v; at first %+v", name, again.Results, err, result.Results[1])
		}
	}
	if err := leader.Exited(); err != nil {
		t.Error(err)
	}
}
