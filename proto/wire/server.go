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
	// Offer answers each part of s in order, until Recv gives io.EOF.
	Offer(ctx context.Context, s OfferStream) error
	// OfferPact takes in that the caller's site accepted document.
	OfferPact(ctx context.Context, document []byte) (Acceptance, error)
	// Subscribe sends the feed after cursor until ctx ends.
	Subscribe(ctx context.Context, pact crdt.Pact, cursor crdt.Position, s FeedStream) error
	// History reads versions of a register.
	History(ctx context.Context, span Span) (Timeline, error)
	// AsOf reads a record as it was.
	AsOf(ctx context.Context, at Moment) (Past, error)
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

// OfferStream is one agent's stream of offers; as PublishStream.
type OfferStream interface {
	Recv() (Offer, error)
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
	s := &publishStream{stream: stream, slots: newSlots()}
	return toStreamStatus(a.server.Publish(stream.Context(), s))
}

// slots holds one token per unanswered message of a stream.
type slots chan struct{}

func newSlots() slots { return make(slots, InFlightMax) }

// take waits until a message may be read.
func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered gives a token back.
func (s slots) answered() {
	select {
	case <-s:
	default: // an answer to nothing; the client will say so
	}
}

type publishStream struct {
	stream syncv1.SyncService_PublishServer
	slots  slots
}

func (s *publishStream) Recv() (Batch, error) {
	if err := s.slots.take(s.stream.Context()); err != nil {
		return Batch{}, err
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
	s.slots.answered()
	return nil
}

func (a *adapter) Offer(stream syncv1.SyncService_OfferServer) error {
	s := &offerStream{stream: stream, slots: newSlots()}
	return toStreamStatus(a.server.Offer(stream.Context(), s))
}

type offerStream struct {
	stream syncv1.SyncService_OfferServer
	slots  slots
}

func (s *offerStream) Recv() (Offer, error) {
	if err := s.slots.take(s.stream.Context()); err != nil {
		return Offer{}, err
	}
	m, err := s.stream.Recv()
	if err != nil {
		return Offer{}, fromStatus(err)
	}
	return decodeOffer(m)
}

func (s *offerStream) Send(r BatchResult) error {
	m, err := encodeOfferResult(r)
	if err != nil {
		return err
	}
	if err := s.stream.Send(m); err != nil {
		return fromStatus(err)
	}
	s.slots.answered()
	return nil
}

func (a *adapter) OfferPact(ctx context.Context, m *syncv1.OfferPactRequest) (*syncv1.OfferPactResponse, error) {
	if err := checkDocument(m.GetDocument()); err != nil {
		return nil, toStatus(err)
	}
	accepted, err := a.server.OfferPact(ctx, m.GetDocument())
	if err != nil {
		return nil, toStatus(err)
	}
	return encodeAcceptance(accepted), nil
}

func (a *adapter) History(ctx context.Context, m *syncv1.HistoryRequest) (*syncv1.HistoryResponse, error) {
	span, err := decodeSpan(m)
	if err != nil {
		return nil, toStatus(err)
	}
	t, err := a.server.History(ctx, span)
	if err != nil {
		return nil, toStatus(err)
	}
	return encodeTimeline(&t), nil
}

func (a *adapter) AsOf(ctx context.Context, m *syncv1.AsOfRequest) (*syncv1.AsOfResponse, error) {
	at, err := decodeMoment(m)
	if err != nil {
		return nil, toStatus(err)
	}
	p, err := a.server.AsOf(ctx, at)
	if err != nil {
		return nil, toStatus(err)
	}
	return encodePast(&p), nil
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
