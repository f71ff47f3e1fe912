package hub_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/proto/wire"
)

// methods of the agents' port; what changes the state comes first.
var methods = []string{
	"SyncService/Publish", "SyncService/Offer", "SyncService/OfferPact", "SyncService/Greet",
	"SyncService/Subscribe", "SyncService/History", "SyncService/AsOf", "BlobService/Put", "BlobService/Get",
}

const (
	writing    = 3 // of methods
	answersMax = 4 // read of a call, before it is left: a feed never ends
)

// errKept is what a keeper ends each call with.
var errKept = errors.New("kept")

// keeper is a connection that sends nothing and keeps what wire's client said.
type keeper struct {
	grpc.ClientStream
	said *[]byte
}

func (k keeper) keep(m any) error {
	raw, err := proto.Marshal(m.(proto.Message))
	*k.said = raw
	return errors.Join(err, errKept)
}

func (k keeper) Invoke(_ context.Context, _ string, m, _ any, _ ...grpc.CallOption) error {
	return k.keep(m)
}

func (k keeper) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return k, nil
}
func (k keeper) SendMsg(m any) error { return k.keep(m) }
func (k keeper) CloseSend() error    { return nil }

// honest are messages of methods, in their order, as an agent of acme says them.
func honest(f *testing.F, epoch crdt.Epoch) (out [][]byte) {
	said := func(say func(*wire.Client) error) {
		var raw []byte
		if err := say(wire.NewClient(keeper{said: &raw})); err == nil || raw == nil {
			f.Fatalf("nothing was said: %v", err)
		}
		out = append(out, raw)
	}
	ctx, known := f.Context(), op(globex, 1, "title").Key
	said(func(c *wire.Client) error {
		s, err := c.Publish(ctx)
		return errors.Join(err, s.Send(batch(acme, epoch, 1, 2)))
	})
	said(func(c *wire.Client) error {
		s, err := c.Offer(ctx)
		o := op(acme, 9, "title")
		at := crdt.Position{Epoch: epoch, Offset: 1}
		return errors.Join(err, s.Send(wire.Offer{ID: 1, Pact: "tickets", Epoch: epoch, Registers: []wire.Offered{{Op: o, Birth: at, Place: at}}}))
	})
	said(func(c *wire.Client) error {
		_, err := c.OfferPact(ctx, []byte("pact: tickets\nversion: 2\n"))
		return err
	})
	said(func(c *wire.Client) error {
		_, err := c.Greet(ctx, wire.Hello{Pacts: []crdt.Pact{"tickets", "others"}})
		return err
	})
	said(func(c *wire.Client) error {
		_, err := c.Subscribe(ctx, "tickets", crdt.Position{Epoch: epoch})
		return err
	})
	said(func(c *wire.Client) error { _, err := c.History(ctx, wire.Span{Key: known}); return err })
	said(func(c *wire.Client) error {
		_, err := c.AsOf(ctx, wire.Moment{Key: known, Millis: time.Now().UnixMilli()})
		return err
	})
	return append(out, []byte{}, []byte{})
}

// call sends two messages to a method and counts the answers.
func call(ctx context.Context, conn *grpc.ClientConn, method string, messages ...[]byte) (answers int, err error) {
	ctx, cancel := context.WithTimeout(ctx, hubtest.WaitMax)
	defer cancel()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, "/entente.sync.v1."+method, grpc.ForceCodec(frames{}))
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		f := frame(m)
		if err := stream.SendMsg(&f); err != nil {
			break // the answer says why
		}
	}
	for feed := strings.HasSuffix(method, "Subscribe"); answers < answersMax; answers++ {
		if !feed || answers > 0 { // closing ends a feed: not before it was answered
			if err := stream.CloseSend(); err != nil {
				return answers, err
			}
		}
		var answer frame
		if err := stream.RecvMsg(&answer); err != nil {
			return answers, err
		}
	}
	return answers, nil
}

// Whatever bytes an agent sends as messages of whatever method: the node lives, an
// agent beside it is served, each call ends, and what is refused moves nothing.
func FuzzAgentPort(f *testing.F) {
	c := hubtest.Start(f, 1, tickets(), func(cfg *hub.Config) { cfg.Timing.FeedBeat = 10 * time.Millisecond })
	leader, epoch := c.Leader(), epochOf(c)
	hubtest.Eventually(f, "readiness", func() bool { return leader.Hub().Readyz() == nil })
	conn := c.Dial(leader, acme)
	beside, err := c.Client(leader, globex).Publish(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	serves := func(t testing.TB) {
		if err := beside.Send(batch(globex, epoch, 1, 1)); err != nil {
			t.Fatal(err)
		}
		if r, err := beside.Recv(); err != nil || r.Results[0].Outcome != wire.OutcomeApplied {
			t.Fatalf("the agent beside is answered %+v, %v", r.Results, err)
		}
	}
	serves(f)
	for i, m := range honest(f, epoch) {
		answers, err := call(f.Context(), conn, methods[i], m)
		if answered := []int{0, 1, 3, 4}; slices.Contains(answered, i) && answers == 0 {
			f.Fatalf("%s does not answer what an agent says: %v", methods[i], err)
		}
		f.Add(byte(i), m, []byte{})
		f.Add(byte(i), m, m)
		f.Add(byte(i), []byte("\xff\xff\xff\xff"), m)
		f.Add(byte(i), m[:len(m)/2], m)
	}
	f.Fuzz(func(t *testing.T, which byte, first, second []byte) {
		i := int(which) % len(methods)
		_, before := leader.Hub().State().Digests()
		answers, err := call(t.Context(), conn, methods[i], first, second)
		if errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "DeadlineExceeded") {
			t.Fatalf("%s does not end: %v", methods[i], err)
		}
		if err != nil && !errors.Is(err, io.EOF) && strings.Contains(err.Error(), "Unavailable") {
			t.Fatalf("%s broke the connection: %v", methods[i], err)
		}
		_, after := leader.Hub().State().Digests()
		if (i >= writing || answers == 0) && !reflect.DeepEqual(before, after) {
			t.Errorf("%s, %d answers, %v: the state was %+v and is %+v", methods[i], answers, err, before, after)
		}
		serves(t)
		if err := leader.Exited(); err != nil {
			t.Fatal(err)
		}
	})
}
