// Package load is what a hub works for: publishers that send as an agent's uplink
// does, the same bytes again until they are answered for good, and subscribers on
// every node. All of it is told to a ledger. The values, the registers and the
// order of writes come from a seed; when which answer comes does not.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/entente-sync/entente/crdt"
	"github.com/entente-sync/entente/proto/identity"
	"github.com/entente-sync/entente/proto/wire"
)

// Peer is one node as agents reach it.
type Peer struct {
	Name    string
	Address string
}

// silenceMax is how long an answer or a heartbeat may stay away before the
// connection counts as dead: an agent's 30 s, scaled to nodes that beat faster.
const silenceMax = 1500 * time.Millisecond

// dial connects as an agent does; close the connection.
func dial(settings *tls.Config, address string) (*grpc.ClientConn, error) {
	options := append(wire.DialOptions(), grpc.WithTransportCredentials(credentials.NewTLS(settings)))
	return grpc.NewClient(address, options...)
}

// rest waits, unless ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// errSilent ends a session whose other side says nothing.
var errSilent = errors.New("silent")

// watched calls cancel when nobody calls heard for silenceMax.
func watched(cancel context.CancelCauseFunc) (heard func(), stop func()) {
	timer := time.AfterFunc(silenceMax, func() { cancel(errSilent) })
	return func() { timer.Reset(silenceMax) }, func() { timer.Stop() }
}

// patience is how often a question at rest is put again to a node that cannot
// answer just now: an election may come at any time.
const patience = 100

// temporary reports errors after which the same question may be answered.
func temporary(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Retryable() || errors.Is(err, context.DeadlineExceeded)
}

// greet asks one node where a pact stands for an agent.
func greet(ctx context.Context, settings *tls.Config, address string, pact crdt.Pact) (wire.Welcome, error) {
	conn, err := dial(settings, address)
	if err != nil {
		return wire.Welcome{}, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, silenceMax)
	defer cancel()
	return wire.NewClient(conn).Greet(ctx, wire.Hello{Software: "crash", Incarnation: 1, Pacts: []crdt.Pact{pact}})
}

// Author names an agent's incarnation.
func author(who identity.Agent, incarnation uint64) crdt.Author {
	return crdt.Author{Site: who.Site, Agent: who.Name, Incarnation: incarnation}
}
