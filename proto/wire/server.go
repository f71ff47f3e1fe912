package wire

import (
	"context"

	"google.golang.org/grpc"

	"github.com/entente-sync/entente/crdt"
	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// Server is what a hub implements; RegisterServer puts it behind gRPC. Its
// methods are called from many goroutines at once, one per call or stream, and
// must return when ctx ends. The caller's certificate is in ctx: see
// grpc's peer and package identity.
//
// An *Error reaches the agent as it is. Any other error reaches it as
// ReasonHubInternal without its text: log it before returning it.
type Server interface {
	// Greet answers with one PactState per pact of h, in order.
	Greet(ctx context.Context, h Hello) (Welcome, error)
	// Publish answers each batch of s in order, until Recv gives io.EOF.
	Publish(ctx context.Context, s PublishStream) error
	// Subscribe sends the feed after cursor until ctx ends.
	Subscribe(ctx context.Context, pact crdt.Pact, cursor crdt.Position, s FeedStream) error
}

// PublishStream is one agent's stream of batches. Recv and Send may each be
// used by one goroutine at a time, side by side.
type PublishStream interface {
	// Recv returns the next batch, within all limits; io.EOF when the agent is
	// done. It waits while InFlightMax batches are unanswered. The ops alias
	// memory that belongs to the caller.
	Recv() (Batch, error)
	// Send answers the oldest unanswered batch.
	Send(BatchResult) error
}

// FeedStream is one subscriber.
type FeedStream interface {
	// Send waits for a credit of the subscriber, then sends s; it returns the
	// context's error if that ends first. The slice is not kept.
	Send(Slice) error
}

// RegisterServer serves s on r. BlobService stays unserved: it is reserved.
func RegisterServer(r grpc.ServiceRegistrar, s Server) {
	syncv1.RegisterSyncServiceServer(r, &adapter{server: s})
}

type adapter struct {
	syncv1.UnimplementedSyncServiceServer
	server Server
}

func (a *adapter) Greet(ctx context.Context, m *syncv1.GreetRequest) (*syncv1.GreetResponse, error) {
	h, err := decodeHello(m)
	if err != nil {
		return nil, toStatus(err)
	}
	w, err := a.server.Greet(ctx, h)
	if err != nil {
		return nil, toStatus(err)
	}
	return encodeWelcome(w), nil
}

func (a *adapter) Publish(stream syncv1.SyncService_PublishServer) error {
	s := &publishStream{stream: stream, slots: make(chan struct{}, InFlightMax)}
	return toStreamStatus(a.server.Publish(stream.Context(), s))
}

type publishStream struct {
	stream syncv1.SyncService_PublishServer
	slots  chan struct{} // one token per unanswered batch
}

func (s *publishStream) Recv() (Batch, error) {
	ctx := s.stream.Context()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	}
	m, err := s.stream.Recv()
	if err != nil {
		return Batch{}, fromStatus(err)
	}
	return decodeBatch(m)
}

func (s *publishStream) Send(r BatchResult) error {
	m, err := encodeResult(r)
	if err != nil {
		return err
	}
	if err := s.stream.Send(m); err != nil {
		return fromStatus(err)
	}
	select {
	case <-s.slots:
	default: // an answer to no batch; the client will say so
	}
	return nil
}

func (a *adapter) Subscribe(stream syncv1.SyncService_SubscribeServer) error {
	first, err := stream.Recv()
	if err != nil {
		return toStreamStatus(fromStatus(err))
	}
	pact, err := decodePact(first.GetPact())
	if err != nil {
		return toStatus(err)
	}
	n, err := decodeCredits(first)
	if err != nil {
		return toStatus(err)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	s := &feedStream{ctx: ctx, stream: stream, credits: newCredits()}
	s.credits.grant(n)
	go s.grants(cancel)
	err = a.server.Subscribe(ctx, pact, decodePosition(first.GetCursor()), s)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return toStreamStatus(err)
}

type feedStream struct {
	ctx     context.Context //nolint:containedctx // the stream's own, as in grpc
	stream  syncv1.SyncService_SubscribeServer
	credits *credits
}

// grants reads the subscriber's side until it closes or breaks, which ends the
// subscription. grpc makes Recv fail once the call has returned, so it never
// outlives the call for long.
func (s *feedStream) grants(cancel context.CancelCauseFunc) {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			cancel(fromStatus(err))
			return
		}
		n, err := decodeCredits(m)
		if err == nil && !s.credits.grant(n) {
			err = Errorf(ReasonCreditExcess, "more than %d credits granted and not used", CreditsMax)
		}
		if err != nil {
			cancel(err)
			return
		}
	}
}

func (s *feedStream) Send(slice Slice) error {
	m, err := encodeSlice(slice)
	if err != nil {
		return err
	}
	if err := s.credits.take(s.ctx); err != nil {
		return err
	}
	return fromStatus(s.stream.Send(m))
}
