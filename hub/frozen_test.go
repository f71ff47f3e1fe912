package hub_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/entente-sync/entente/hub"
	"github.com/entente-sync/entente/hub/admin"
	"github.com/entente-sync/entente/hub/hubtest"
	"github.com/entente-sync/entente/hub/replica"
	"github.com/entente-sync/entente/proto/identity"
)

// frozen takes connections as a node of the hub, and never answers.
func frozen(t *testing.T, c *hubtest.Cluster) (address string) {
	t.Helper()
	settings := c.TLS(identity.Node{Hub: c.ID(), Name: "n9"})
	settings.NextProtos = []string{replica.ProtocolNode}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn) // until the caller goes
			}()
		}
	}()
	return listener.Addr().String()
}

// A node that takes a call and falls silent, as a frozen process does, holds up
// neither what a node says of itself, nor a token, nor an order that is handed on.
func TestFrozenNodeHoldsUpNobody(t *testing.T) {
	c := hubtest.Start(t, 1, tickets(), func(cfg *hub.Config) { hub.Hurry(cfg, 50*time.Millisecond) })
	h, address := c.Leader().Hub(), frozen(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), hubtest.WaitMax)
	defer cancel()
	client := hub.Ask(h, address)
	if err := client.Tell(ctx, admin.Tell{Node: "n1"}); err == nil || ctx.Err() != nil {
		t.Fatalf("telling: %v, %v", err, ctx.Err())
	}
	if err := client.Spend(ctx, admin.Spend{}); err == nil || ctx.Err() != nil {
		t.Fatalf("spending: %v, %v", err, ctx.Err())
	}
	order := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/members/remove", http.NoBody)
	if err := hub.Forward(h, address, httptest.NewRecorder(), order); codeOf(err) != "leader.lost" || ctx.Err() != nil {
		t.Fatalf("handing on: %v, %v", err, ctx.Err())
	}
}
