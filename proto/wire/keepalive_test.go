package wire_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/wire"
)

// An idle subscription outlives ten minutes of pings: a server of grpc's own
// settings ends it, since clients must not ping more than every five minutes.
func TestIdleStreamLives(t *testing.T) {
	idle := func(t *testing.T, options []grpc.ServerOption) (dials int32, err error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			h := hub{subscribe: func(ctx context.Context, _ crdt.Pact, _ crdt.Position, s wire.FeedStream) error {
				select {
				case <-time.After(10 * time.Minute):
					return s.Send(wire.Slice{Head: 7})
				case <-ctx.Done():
					return ctx.Err()
				}
			}}
			var count atomic.Int32
			listener := bufconn.Listen(1 << 16)
			server := grpc.NewServer(options...)
			wire.RegisterServer(server, h)
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			conn, dialErr := grpc.NewClient("passthrough:///hub", append(wire.DialOptions(),
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
					count.Add(1)
					return listener.Dial()
				}))...)
			if dialErr != nil {
				t.Fatal(dialErr)
			}
			feed, dialErr := wire.NewClient(conn).Subscribe(t.Context(), helpdesk, crdt.Position{})
			if dialErr != nil {
				t.Fatal(dialErr)
			}
			_, err = feed.Recv()
			dials = count.Load()
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			server.Stop()
			if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				t.Error(err)
			}
		})
		return dials, err
	}
	if dials, err := idle(t, wire.ServerOptions()); err != nil || dials != 1 {
		t.Errorf("with our settings: %v after %d dials", err, dials)
	}
	if _, err := idle(t, nil); wire.ReasonOf(err) != wire.ReasonHubUnreachable {
		t.Errorf("with grpc's settings the stream lived on (%v): this test proves nothing", err)
	}
}
